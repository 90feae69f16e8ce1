"""The messages of one invocation of `ingest`, and what is known of each so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from cloud.core.invariants import InvariantError
from cloud.core.ledger import Held, Ledger
from cloud.ingest.outcome import IngestOutcome, IngestStatus
from cloud.ports import BatchItem, InboundMessage, LedgerKey, Put, StoredHead, StoreError, Stores
from wire.batch import Batch, BatchKey
from wire.receipt import REASON_CHARS_MAX


@dataclass(slots=True)
class PendingMessage:
    """One message on its way. `status` is None until it is decided."""

    inbound: InboundMessage
    digest: str
    batch: Batch | None = None
    key: BatchKey | None = None  # only if the sender may send for this device
    reason: str | None = None
    status: IngestStatus | None = None
    copies: int = 1  # the same bytes may arrive several times in one invocation
    conflict: bool = False
    unnoted: bool = False  # it is in the batch store, and maybe in no ledger yet

    @property
    def ledger_key(self) -> LedgerKey | None:
        return LedgerKey(self.key.device, self.key.epoch) if self.key else None

    @property
    def item(self) -> BatchItem | None:
        return BatchItem(self.batch, self.inbound.data, self.digest) if self.batch else None

    @property
    def held(self) -> Held | None:
        if self.key is None or self.status is not IngestStatus.HELD:
            return None
        return Held(self.key.first, self.key.last, (self.reason or "")[:REASON_CHARS_MAX], self.digest)

    @property
    def outcome(self) -> IngestOutcome:
        return IngestOutcome(self.status or IngestStatus.FAILED, self.digest, self.key, self.reason)

    def fail(self, error: StoreError | InvariantError) -> None:
        self.status, self.reason = IngestStatus.FAILED, str(error)

    def refuse(self, reason: str) -> None:
        self.status, self.reason = (IngestStatus.HELD if self.key else IngestStatus.QUARANTINED), reason

    def settle(self, put: Put, head: StoredHead | None = None) -> None:
        """The status that follows from the verdict of the batch store; STORED and FAILED leave it open."""
        match put:
            case Put.SAME:
                self.status = IngestStatus.RESEND
            case Put.SUPERSEDED:
                self.status = IngestStatus.SUPERSEDED
            case Put.CONFLICT:
                stored = f" (stored: {head.first}..{head.last} rev {head.rev} {head.digest})" if head else ""
                self.refuse(f"conflict: other content is stored under these record numbers{stored}")
                self.conflict = True
            case Put.STORED | Put.FAILED:
                pass


@dataclass(frozen=True, slots=True)
class VersionedLedger:
    """A ledger and the version under which it is stored; 0 if it is not stored yet."""

    ledger: Ledger = field(default_factory=Ledger)
    version: int = 0


@dataclass(slots=True)
class Invocation:
    messages: list[PendingMessage]
    stores: Stores
    ledgers: dict[LedgerKey, VersionedLedger] = field(default_factory=dict)
    settled: set[LedgerKey] = field(default_factory=set)  # a receipt asked for earlier has become possible

    def having(self, *statuses: IngestStatus | None) -> list[PendingMessage]:
        return [message for message in self.messages if message.status in statuses]

    def ledger_of(self, message: PendingMessage) -> Ledger:
        """Empty if the message belongs to no ledger."""
        versioned = self.ledgers.get(message.ledger_key) if message.ledger_key else None
        return versioned.ledger if versioned else Ledger()

    def of_ledger(self, key: LedgerKey) -> list[PendingMessage]:
        return [message for message in self.messages if message.ledger_key == key]


@contextmanager
def failing(messages: Sequence[PendingMessage]) -> Iterator[None]:
    """If a store fails in here or an invariant is broken, `messages` fail and no others."""
    try:
        yield
    except (StoreError, InvariantError) as error:
        for message in messages:
            message.fail(error)

"""What `ingest` needs from the outside: the messages that come in, where batches are kept, and how each can fail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from wire.batch import Anchor, Batch, BatchKey

BESIDE_MAX = 16


class StoreError(Exception):
    """A store cannot do its part now. The text names operation, subject and cause; the message may be retried."""


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """Bytes as a door received them. The door vouches for `device`; `client_id` is None where the door has none."""

    device: str
    data: bytes
    door: str
    principal: str | None = None
    client_id: str | None = None
    trace: str | None = None


class Put(Enum):
    """The verdict of the batch store on one batch."""

    STORED = "stored"
    SAME = "same"  # the same bytes are already stored
    SUPERSEDED = "superseded"  # a lower rev of the same range is stored and stays
    CONFLICT = "conflict"  # other content is stored under the same record numbers
    FAILED = "failed"  # unknown: retry


@dataclass(frozen=True, slots=True)
class BatchItem:
    """A decoded batch with its bytes and their digest."""

    batch: Batch
    data: bytes
    digest: str

    @property
    def key(self) -> BatchKey:
        return self.batch.key


@dataclass(frozen=True, slots=True)
class StoredHead:
    """A stored batch without its bytes."""

    first: int
    last: int
    rev: int
    digest: str

    def verdict(self, key: BatchKey, digest: str) -> Put:
        """The verdict on a batch `key` that shares record numbers with this one; STORED means: replace this one."""
        if (self.first, self.last) != (key.first, key.last):
            return Put.CONFLICT
        if self.rev == key.rev:
            return Put.SAME if self.digest == digest else Put.CONFLICT
        return Put.STORED if key.rev < self.rev else Put.SUPERSEDED


@dataclass(frozen=True, slots=True)
class StoredBatch:
    device: str
    data: bytes


@dataclass(frozen=True, slots=True)
class LedgerKey:
    device: str
    epoch: bytes


@dataclass(frozen=True, slots=True)
class StoredLedger:
    """A ledger as its JSON text; version 0 and no text if none is stored yet."""

    text: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A message that cannot be stored as readings, with the reason."""

    message: InboundMessage
    digest: str
    reason: str


class Archive(Protocol):
    """The received bytes, kept for ever. Names are content hashes: writing an object that exists is success."""

    def put(self, name: str, data: bytes) -> None: ...


class Batches(Protocol):
    """The batches that can be queried. No record number is in two of them."""

    def overlapping(self, keys: Sequence[BatchKey]) -> list[StoredHead | None]:
        """For each key, one stored batch that shares record numbers with it."""

    def put(self, items: Sequence[BatchItem]) -> list[Put]:
        """Create each batch or replace a higher rev, independently. After `StoreError` no batch was tried."""

    def other(self, key: BatchKey) -> StoredHead | None:
        """A stored batch that shares record numbers with `key` and begins at another number."""

    def beside(self, key: BatchKey) -> list[bytes]:
        """All stored batches that share record numbers with `key`; none if there are more than `BESIDE_MAX`."""

    def withdraw(self, item: BatchItem) -> None:
        """Remove a batch that `put` stored and no ledger has noted; do nothing if it is not there."""

    def devices(self) -> Iterator[str]: ...

    def of(self, device: str) -> Iterator[StoredBatch]:
        """All batches of a device, ascending by (epoch, first)."""


class Anchors(Protocol):
    """The anchor of each boot, which dates the batches that were sealed before the clock was known."""

    def put(self, device: str, anchors: Mapping[bytes, Anchor]) -> None:
        """Boot -> anchor. The least uncertain anchor is kept, of equals the earlier `boot_utc_ms`."""

    def of(self, device: str) -> dict[bytes, Anchor]: ...


class Ledgers(Protocol):
    def load(self, keys: Sequence[LedgerKey]) -> list[StoredLedger]: ...

    def save(self, key: LedgerKey, text: str, version: int) -> bool:
        """Store as `version` + 1 if `version` is still the stored one; False if it is not."""

    def yield_to_others(self, attempt: int) -> None:
        """Wait before a refused `save` is tried again, so that competing writers do not stay in step."""


class Quarantine(Protocol):
    def put(self, entry: Quarantined) -> None:
        """Keep the bytes and the reason; the same bytes again are success."""

    def messages(self) -> Iterator[InboundMessage]:
        """All messages in quarantine, as they were received."""


class ReceiptSender(Protocol):
    def send(self, device: str, payload: bytes) -> None:
        """Send a receipt to the box and return when it is accepted for delivery. Raises `StoreError`."""


@dataclass(frozen=True, slots=True)
class Stores:
    archive: Archive
    batches: Batches
    anchors: Anchors
    ledgers: Ledgers
    quarantine: Quarantine

"""What `ingest` needs of the world: what comes in, where it is kept, and how each can fail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from cloud.core.ledger import Ledger
from wire.batch import Anchor, Batch, BatchKey

BESIDE_MAX = 16


class StoreError(Exception):
    """A store could not do its part now. The text names operation, subject and cause; the message may be retried."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Bytes as a door took them. `device` is who the door vouches for; `client_id` is None where the door has none."""

    device: str
    data: bytes
    door: str
    principal: str | None = None
    client_id: str | None = None
    trace: str | None = None


class Put(Enum):
    """What became of one batch at the readings store."""

    STORED = "stored"
    SAME = "same"  # these very bytes are there already
    SUPERSEDED = "superseded"  # a lower rev of the same range is there, and is kept
    CONFLICT = "conflict"  # other content is there under the same numbers
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
    """What the store knows of a batch without its bytes."""

    first: int
    last: int
    rev: int
    digest: str

    def verdict(self, key: BatchKey, digest: str) -> Put:
        """What a batch of `key` is beside this stored one, with which it shares numbers; STORED: it replaces this."""
        if (self.first, self.last) != (key.first, key.last):
            return Put.CONFLICT
        if self.rev == key.rev:
            return Put.SAME if self.digest == digest else Put.CONFLICT
        return Put.STORED if key.rev < self.rev else Put.SUPERSEDED


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Bytes that cannot be taken as readings, with the reason and where they came from."""

    delivery: Delivery
    digest: str
    reason: str


@dataclass(frozen=True, slots=True)
class LedgerKey:
    device: str
    epoch: bytes


@dataclass(frozen=True, slots=True)
class VersionedLedger:
    """`version` 0 means that nothing is stored yet."""

    ledger: Ledger = field(default_factory=Ledger)
    version: int = 0


@dataclass(frozen=True, slots=True)
class StoredBatch:
    device: str
    data: bytes


class Archive(Protocol):
    """The bytes as they came, for ever. Names are content hashes: writing what is there already is success."""

    def put(self, name: str, data: bytes) -> None: ...


class Readings(Protocol):
    """Batches in a form that can be queried, at most one for any record number."""

    def overlapping(self, keys: Sequence[BatchKey]) -> list[StoredHead | None]:
        """Per key, one stored batch that shares record numbers with it."""

    def put(self, items: Sequence[BatchItem]) -> list[Put]:
        """Each batch on its own: create, replace a higher rev, or say why not. `StoreError`: none was tried."""

    def other(self, key: BatchKey) -> StoredHead | None:
        """A stored batch that shares numbers with `key` and begins elsewhere."""

    def beside(self, key: BatchKey) -> list[bytes]:
        """All stored batches that share numbers with `key`; none of them where there are more than `BESIDE_MAX`."""

    def withdraw(self, item: BatchItem) -> None:
        """Take out a batch that `put` stored and that no ledger has noted; nothing where that is not there."""

    def put_anchors(self, device: str, anchors: Mapping[bytes, Anchor]) -> None:
        """Boot -> anchor; the one with the least uncertainty is kept (the earlier `boot_utc_ms` among equals)."""

    def devices(self) -> Iterator[str]: ...

    def batches(self, device: str) -> Iterator[StoredBatch]:
        """All batches of a device, ascending by (epoch, first)."""

    def anchors(self, device: str) -> dict[bytes, Anchor]: ...


class Ledgers(Protocol):
    def load(self, keys: Sequence[LedgerKey]) -> list[VersionedLedger]: ...

    def save(self, key: LedgerKey, ledger: Ledger, version: int) -> bool:
        """Store as `version` + 1 if `version` is still what is there; False if not."""

    def yield_to_others(self, attempt: int) -> None:
        """Before trying a refused save again: wait so that those who compete for one ledger do not stay in step."""


class Quarantine(Protocol):
    def put(self, entry: Quarantined) -> None:
        """Keep the bytes and the reason; the same bytes again are success."""

    def deliveries(self) -> Iterator[Delivery]:
        """All that lies here, as it came."""


class ReceiptSender(Protocol):
    def send(self, device: str, payload: bytes) -> None:
        """Towards the box, at least asked for. Raises `StoreError`."""


@dataclass(frozen=True, slots=True)
class Stores:
    archive: Archive
    readings: Readings
    ledgers: Ledgers
    quarantine: Quarantine

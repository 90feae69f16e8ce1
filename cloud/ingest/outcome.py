"""What `ingest` tells a door about each message."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cloud.core.answer import AddressedReceipt
from wire.batch import BatchKey


class IngestStatus(Enum):
    STORED = "stored"
    RESEND = "resend"  # the same bytes were stored before
    SUPERSEDED = "superseded"  # a lower rev, with more content, is stored
    HELD = "held"  # in quarantine, and the box is told
    QUARANTINED = "quarantined"  # in quarantine, and no box can be told
    FAILED = "failed"  # a store failed or an invariant is broken: try again


@dataclass(frozen=True, slots=True)
class IngestOutcome:
    """What became of one message; `key` is None if it could not be read."""

    status: IngestStatus
    digest: str
    key: BatchKey | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Ingested:
    """`outcomes` in the order of the messages; at most one receipt per device and epoch."""

    outcomes: tuple[IngestOutcome, ...]
    receipts: tuple[AddressedReceipt, ...]

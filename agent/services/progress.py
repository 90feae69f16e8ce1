"""How far the data has come: counters that the loops keep and `status` shows. Since the start, unless said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.adapters.buffer.outbox import Oldest
from agent.core.metering.lease import Lease
from agent.core.records import NewEvent
from drivers.meter import Sample
from wire.batch import Column, flag_names


@dataclass(slots=True)
class MeterProgress:
    """`columns` explain `last_sample` and `last_flags`; `error` is what the last read failed with, if it did.

    `since_ms` is when polling began, `flagged_values` counts since the start; `doubt` is the last event about a value
    that could not be true.
    """

    columns: tuple[Column, ...] = ()
    since_ms: int = 0

    readings: int = 0
    slots_missed: int = 0
    state: str = "not read yet"
    error: str | None = None
    last_ms: int | None = None
    last_sample: Sample | None = None
    last_flags: tuple[int, ...] = ()
    flagged_values: int = 0
    doubt: NewEvent | None = None

    def judged(self, flags: tuple[int, ...], events: Iterable[NewEvent]) -> None:
        """Note what the last reading was found to be."""
        self.last_flags = flags
        if flags:
            self.flagged_values += sum(map(bool, flags))
        for event in events:
            if event.kind == "implausible":
                self.doubt = event

    def last_quality(self) -> dict[str, list[str]]:
        """The names of the flags of the last reading, by measurand; only of values that have some."""
        return {c.measurand: flag_names(f) for c, f in zip(self.columns, self.last_flags, strict=False) if f}

    def last_values(self) -> dict[str, float | int | None]:
        """The last reading by measurand, in vocabulary units."""
        if self.last_sample is None:
            return {}
        pairs = zip(self.columns, self.last_sample.values, strict=True)
        return {c.measurand: None if n is None else c.resolution.to_number(n) for c, n in pairs}


@dataclass(slots=True)
class LineProgress:
    """`lent` is who has the line instead of the daemon."""

    port: str
    lent: Lease | None = None


@dataclass(slots=True)
class Progress:
    """`open_records`, `batches`, `batch_records`, `oldest` and `used_bytes` say what is on the disk now.

    `troubles` are the subjects that are not well now, each with its log line.
    """

    started_ms: int = 0
    meters: dict[str, MeterProgress] = field(default_factory=dict)
    lines: dict[str, LineProgress] = field(default_factory=dict)
    pending_records: int = 0
    open_records: int = 0
    batches: int = 0
    batch_records: int = 0
    committed: int = 0
    sealed: int = 0
    published: int = 0
    confirmed_records: int = 0
    dropped_records: int = 0
    held_batches: int = 0
    oldest: Oldest | None = None
    used_bytes: int = 0
    connected: bool = False
    connected_since_ms: int | None = None
    uplink_state: str = "not connected yet"
    receipt_ms: int | None = None
    troubles: dict[str, str] = field(default_factory=dict)

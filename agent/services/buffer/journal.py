"""Where every record goes in: it waits in memory for the next commit, for at most `durability_ms`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from agent.adapters.system.clock import Clock
from agent.core.buffer.pending import GROUP_MAX, PendingRecords
from agent.core.metering.slots import MeterSlots
from agent.core.records import NewEvent, NewRecord
from agent.core.system.watchdog import Watchdog
from agent.services.alarm import Alarm
from agent.services.progress import Progress

COMMIT_MARGIN_MS = 300  # the commit must end within the window, not begin
STUCK_MS = 120_000  # a disk that takes longer than this for a commit hangs
LOOP = "recording"  # its name for the watchdog


@dataclass(slots=True)
class Journal:
    """For all that have something to record. `alarm` wakes the loop that commits, by `commit_by_ms` at the latest."""

    pending: PendingRecords
    clock: Clock
    progress: Progress
    watchdog: Watchdog
    durability_ms: int
    alarm: Alarm = field(default_factory=Alarm)
    commit_by_ms: int = 0

    @property
    def meters(self) -> Sequence[MeterSlots]:
        """The schedules whose slots are accounted for."""
        return self.pending.meters

    @meters.setter
    def meters(self, meters: Sequence[MeterSlots]) -> None:
        self.pending.meters = meters

    def add(self, records: Iterable[NewRecord], *, at_once: bool = False) -> None:
        """Take records for the next commit. Never blocks, never fails."""
        before = len(self.pending)
        self.progress.dropped_records += self.pending.add(records)
        after = self.progress.pending_records = len(self.pending)
        if after and (self._is_last(was_empty=not before) or at_once or before < GROUP_MAX <= after):
            self.alarm.ring()

    def event(self, kind: str, **data: object) -> None:
        """Take an event of the box itself, which happened now."""
        self.add([NewEvent(self.clock.mono_ms(), kind, None, data)])

    def explain(self, meter: str, events: Iterable[NewEvent], slots: int) -> None:
        """Take gap events that account for `slots` slots which no schedule counted."""
        self.pending.explain(meter, slots)
        self.add(events)

    def close_gaps(self) -> None:
        """Take the open gaps of all meters, as before a batch is sealed."""
        self.add([event for meter in self.meters for event in meter.close_gap()])

    def retire_meters(self, now_ms: int) -> None:
        """Polling ended at `now_ms`: take the gaps that account for every slot that has begun."""
        self.add([event for meter in self.meters for event in meter.end(now_ms)])
        self.pending.retire_meters()

    def retry_in(self, delay_ms: int) -> None:
        """The disk took nothing: commit again in `delay_ms`."""
        self.commit_by_ms = self.clock.mono_ms() + delay_ms
        self.alarm.ring_in(delay_ms)

    def _is_last(self, *, was_empty: bool) -> bool:
        """Whether nothing more comes in time for the commit of what was just added; else a timer brings it.

        The processor then need not wake for the commit alone, which costs as much as a reading.
        """
        if was_empty:
            now_ms, window_ms = self.clock.mono_ms(), self.durability_ms - COMMIT_MARGIN_MS
            self.commit_by_ms = now_ms + window_ms
            self.watchdog.beat(LOOP, now_ms + self.durability_ms + STUCK_MS)
            self.alarm.ring_in(window_ms)
            if window_ms <= 0:
                return True
        return self.pending.is_idle_until(self.commit_by_ms)

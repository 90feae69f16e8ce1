"""Poll slots of one meter: aligned to the interval, never drifting, never bursting, each one accounted for.

A slot is the interval that begins at a multiple of `interval_ms` of UTC (of the boot clock while UTC is unknown).
It is done if its read starts within it; one that passed without a read is late and becomes part of a gap.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.records import NewEvent


def slot_start(at_ms: int, boot_utc_ms: int, interval_ms: int) -> int:
    """The start of the slot that `at_ms` of a boot's clock lies in; `boot_utc_ms` is 0 while UTC is unknown."""
    return at_ms - (at_ms + boot_utc_ms) % interval_ms


def slots_between(start_ms: int, next_ms: int, interval_ms: int) -> int:
    """Slots after the one that begins at `start_ms` and before the one at `next_ms`.

    The two may be of grids that differ by as much as UTC was found anew: the nearest count is the right one.
    """
    return max(0, (next_ms - start_ms + interval_ms // 2) // interval_ms - 1)


@dataclass(slots=True)
class GapSpan:
    """Consecutive slots without a reading, for one reason: `from_ms` inclusive, `to_ms` exclusive."""

    reason: str
    from_ms: int
    to_ms: int
    slots: int


class MeterSlots:
    """The schedule and the account of one meter."""

    def __init__(self, meter: str, interval_ms: int, now_ms: int, boot_utc_ms: int = 0) -> None:
        self.meter = meter
        self.interval_ms = interval_ms
        self.boot_utc_ms = boot_utc_ms
        self.next_ms = self._aligned(now_ms)
        self._not_before_ms = now_ms
        self._gap: GapSpan | None = None
        self._due = 0
        self._under_way = False

    def _aligned(self, at_ms: int) -> int:
        """The first slot start at or after `at_ms`."""
        return at_ms + (-(at_ms + self.boot_utc_ms)) % self.interval_ms

    def realign(self, boot_utc_ms: int) -> None:
        """UTC became known or stepped: move the next start to the nearest aligned instant, losing no slot.

        Not to before polling began, nor again and again into a slot that was taken: that would be another one's time.
        """
        self.boot_utc_ms = boot_utc_ms
        self.next_ms = self._aligned(max(self.next_ms - self.interval_ms // 2, self._not_before_ms))

    def take(self, now_ms: int) -> tuple[int, list[NewEvent]]:
        """Start the slot that `now_ms` lies in; returns its start, and the gap that the slots missed before it close.

        Call when `now_ms >= next_ms`. Missed slots are not made up for.
        """
        missed = (now_ms - self.next_ms) // self.interval_ms
        events: list[NewEvent] = []
        if missed > 0:
            events = self.explain("late", self.next_ms, missed)
            self.next_ms += missed * self.interval_ms
        start_ms = self.next_ms
        self.next_ms += self.interval_ms
        self._not_before_ms = start_ms + self.interval_ms // 2
        self._under_way = True
        return start_ms, events

    def read(self) -> list[NewEvent]:
        """The slot taken last has its reading; returns the gap that this ends, if one was open."""
        self._due += 1
        self._under_way = False
        return self.close_gap()

    def explain(self, reason: str, from_ms: int, slots: int = 1) -> list[NewEvent]:
        """`slots` slots from `from_ms` have no reading; returns the gap of another reason that this ends."""
        to_ms = from_ms + slots * self.interval_ms
        self._under_way = False
        gap = self._gap
        if gap is not None and gap.reason == reason:
            gap.to_ms, gap.slots = to_ms, gap.slots + slots
            return []
        closed = self.close_gap()
        self._gap = GapSpan(reason, from_ms, to_ms, slots)
        return closed

    def close_gap(self) -> list[NewEvent]:
        """End the open gap, also when a batch is sealed, so that no gap waits longer than a reading would."""
        gap, self._gap = self._gap, None
        if gap is None:
            return []
        self._due += gap.slots
        data = {"reason": gap.reason, "from_ms": gap.from_ms, "to_ms": gap.to_ms, "slots": gap.slots}
        last_start_ms = gap.to_ms - self.interval_ms  # the end may lie ahead: a record is never of the future
        return [NewEvent(last_start_ms, "gap", self.meter, data)]

    def end(self, now_ms: int) -> list[NewEvent]:
        """Polling ends at `now_ms`: the gaps that account for every slot that has begun and has no reading."""
        begun = (now_ms - self.next_ms) // self.interval_ms + 1
        if begun <= 0:
            return self.close_gap()
        events = self.explain("not_running", self.next_ms, begun)
        self.next_ms += begun * self.interval_ms
        return events + self.close_gap()

    def due_since_last(self) -> int:
        """Slots that ended since the last call, read or explained by a gap that has closed."""
        due, self._due = self._due, 0
        return due

    def is_idle_until(self, at_ms: int) -> bool:
        """No read is under way, nor begins before `at_ms`."""
        return not self._under_way and self.next_ms >= at_ms

    @property
    def gap_from_ms(self) -> int | None:
        """Where the open gap began."""
        return self._gap.from_ms if self._gap else None

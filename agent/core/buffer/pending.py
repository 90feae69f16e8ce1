"""Records that wait for the next commit, and the poll slots that ended while they waited. Pure.

At most `PENDING_MAX` records wait. While the disk takes none, the oldest are given up, and gaps state them afterwards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from agent.core.buffer.full_disk import PENDING_MAX, overflow
from agent.core.buffer.losses import Losses
from agent.core.buffer.slot_accounts import slots_in
from agent.core.metering.slots import MeterSlots
from agent.core.records import Group, NewRecord

GROUP_MAX = 64


@dataclass(slots=True)
class PendingRecords:
    """One per buffer. `meter_of` names the meter of a layout id; `meters` are the schedules that count due slots."""

    meter_of: Callable[[int], str]
    meters: Sequence[MeterSlots] = ()
    _records: deque[NewRecord] = field(default_factory=deque)
    _losses: Losses = field(default_factory=Losses)
    _slots_due: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[NewRecord]:
        return iter(self._records)

    @property
    def has_losses(self) -> bool:
        """Records were given up, and no record says so yet."""
        return bool(self._losses)

    def add(self, records: Iterable[NewRecord]) -> int:
        """Append `records`; returns how many of the oldest had to be given up for them."""
        self._records.extend(records)
        excess = overflow(len(self._records), PENDING_MAX)
        for _ in range(excess):
            self._losses.add(self._records.popleft(), self.meter_of)
        return excess

    def explain(self, meter: str, slots: int) -> None:
        """Count `slots` due slots that no schedule in `meters` counts, such as those of a downtime."""
        self._slots_due[meter] = self._slots_due.get(meter, 0) + slots

    def retire_meters(self) -> None:
        """The meters are polled no more: count the slots that they have stated, and forget them."""
        self._collect_slots()
        self.meters = ()

    def oldest_gap_ms(self) -> int | None:
        """When the oldest gap began that is still open."""
        return min((meter.gap_from_ms for meter in self.meters if meter.gap_from_ms is not None), default=None)

    def is_idle_until(self, at_ms: int) -> bool:
        """No meter will add a record before `at_ms`; False also when no meter is polled."""
        return bool(self.meters) and all(meter.is_idle_until(at_ms) for meter in self.meters)

    # Committing

    def state_losses(self, now_ms: int) -> None:
        """Put gaps for what was given up before everything else: later readings would otherwise look complete."""
        self._records.extendleft(reversed(self._losses.take(now_ms)))

    def take_group(self, records_max: int = GROUP_MAX) -> Group:
        """The oldest records, and the slots to state with them: all that ended, or those of these records alone."""
        count = min(records_max, len(self._records))
        records = [self._records.popleft() for _ in range(count)]
        return Group(records, self._take_slots(records))

    def put_back(self, group: Group) -> None:
        """The disk did not take `group`, the one that was taken last."""
        self._records.extendleft(reversed(group.records))
        for meter, slots in group.slots_due.items():
            self.explain(meter, slots)

    def _take_slots(self, records: Sequence[NewRecord]) -> dict[str, int]:
        self._collect_slots()
        if not self._records:
            taken, self._slots_due = self._slots_due, {}
            return taken
        of_records = slots_in(records, self.meter_of)
        taken = {meter: min(slots, self._slots_due.get(meter, 0)) for meter, slots in of_records.items()}
        for meter, slots in taken.items():
            self._slots_due[meter] = self._slots_due.get(meter, 0) - slots
        return taken

    def _collect_slots(self) -> None:
        for meter in self.meters:
            if due := meter.due_since_last():
                self.explain(meter.meter, due)

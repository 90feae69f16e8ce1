"""Which poll slots the records of a group account for, and up to when each meter's are: there a new run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from agent.core.invariants import require
from agent.core.records import Group, Layout, NewReading, NewRecord


def slots_in(records: Iterable[NewRecord], meter_of: Callable[[int], str]) -> dict[str, int]:
    """Per meter the slots that `records` are readings of, or gaps."""
    slots: dict[str, int] = {}
    for record in records:
        if isinstance(record, NewReading):
            meter = meter_of(record.layout)
            slots[meter] = slots.get(meter, 0) + 1
        elif record.kind == "gap" and record.meter is not None:
            slots[record.meter] = slots.get(record.meter, 0) + (record.data.get("slots") or 0)
    return slots


def check_slots(group: Group, meter_of: Callable[[int], str]) -> None:
    """Compare the slots that were due by the schedule with the readings and gaps that are stated with them."""
    stated = slots_in(group.records, meter_of)
    for meter, due in group.slots_due.items():
        found = stated.get(meter, 0)
        require("slots due are readings or gaps", due in (0, found), meter=meter, due=due, found=found)


def accounted_through(groups: Iterable[Group], layouts: Mapping[int, Layout]) -> dict[str, int]:
    """Per meter where the last slot began, on the boot clock, that is read or explained in `groups`."""
    through: dict[str, int] = {}
    for group in groups:
        for record in group.records:
            if isinstance(record, NewReading):
                meter = layouts[record.layout].meter
                at_ms = record.mono_ms if record.slot_ms is None else record.slot_ms
            elif record.kind == "gap" and record.meter is not None and {"from_ms", "to_ms"} <= record.data.keys():
                meter, at_ms = record.meter, _last_of_gap(record.data)
            else:
                continue
            through[meter] = max(through.get(meter, at_ms), at_ms)
    return through


def latest(before: Mapping[str, int], through: Mapping[str, int]) -> dict[str, int]:
    """Both accounts, by meter as far as either goes: a gap of readings given up may be stated after later ones."""
    return {**before, **{meter: max(before.get(meter, at_ms), at_ms) for meter, at_ms in through.items()}}


def _last_of_gap(data: Mapping[str, Any]) -> int:
    """Where the last slot of a gap began; one that spans a reboot states its interval."""
    from_ms, to_ms, slots = int(data["from_ms"]), int(data["to_ms"]), int(data.get("slots") or 0)
    interval_ms = int(data.get("interval_ms") or 0) or (to_ms - from_ms) // max(slots, 1)
    return to_ms - max(interval_ms, 1)

"""Which poll slots the records of a group account for, and up to when each meter's are: there a new run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

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


def accounted_through(groups: Iterable[Group], layouts: Mapping[int, Layout]) -> dict[str, int]:
    """Per meter the boot clock up to which every slot that had begun is read or explained in `groups`."""
    through: dict[str, int] = {}
    for group in groups:
        for record in group.records:
            if isinstance(record, NewReading):
                meter, at_ms = layouts[record.layout].meter, record.mono_ms
            elif record.kind == "gap" and record.meter is not None and "to_ms" in record.data:
                meter, at_ms = record.meter, record.data["to_ms"] - 1
            else:
                continue
            through[meter] = max(through.get(meter, at_ms), at_ms)
    return through

"""Which slots a group of records accounts for, and up to when."""

from __future__ import annotations

from agent.core.buffer.slot_accounts import accounted_through, slots_in
from agent.core.records import Group, Layout, NewEvent, NewReading

LAYOUTS = {1: Layout("main", ()), 2: Layout("heat", ()), 3: Layout("main", (), b"new!")}
RECORDS = [
    NewReading(1, 5_000, ()),
    NewReading(3, 6_000, ()),
    NewReading(2, 5_500, ()),
    NewEvent(9_000, "gap", "heat", {"from_ms": 6_000, "to_ms": 9_000, "slots": 3}),
    NewEvent(9_000, "gap", "cold", {"from_ms": 0, "to_ms": 4_000, "slots": None, "interval_ms": 1_000}),
    NewEvent(9_000, "gap", None, {"slots": 7}),
    NewEvent(9_000, "gap", "odd", {}),
    NewEvent(9_999, "stop"),
]


def test_slots_are_those_read_and_those_explained() -> None:
    assert slots_in(RECORDS, lambda id_: LAYOUTS[id_].meter) == {"main": 2, "heat": 4, "cold": 0, "odd": 0}
    assert slots_in([], lambda id_: LAYOUTS[id_].meter) == {}


def test_each_meter_is_accounted_for_up_to_the_slot_of_its_last_reading_or_gap() -> None:
    assert accounted_through([Group(RECORDS)], LAYOUTS) == {"main": 6_000, "heat": 8_000, "cold": 3_000}
    assert accounted_through([Group(RECORDS[:1]), Group([NewReading(1, 4_000, ())])], LAYOUTS) == {"main": 5_000}


def test_a_reading_that_is_older_or_younger_than_its_slot_accounts_for_that() -> None:
    waiting = NewReading(1, 9_500, (), slot_ms=10_000)
    assert accounted_through([Group([waiting])], LAYOUTS) == {"main": 10_000}
    assert accounted_through([Group([NewReading(1, 10_700, (), slot_ms=10_000)])], LAYOUTS) == {"main": 10_000}


def test_the_interval_of_a_gap_over_a_reboot_is_the_one_that_it_states() -> None:
    gap = NewEvent(1, "gap", "main", {"from_ms": 0, "to_ms": 20_000, "slots": 500, "interval_ms": 10_000})
    assert accounted_through([Group([gap])], LAYOUTS) == {"main": 10_000}

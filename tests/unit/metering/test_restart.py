"""The first records of a run, and the slots of the time in between."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.buffer.aside import Aside
from agent.adapters.buffer.buffer import Opening
from agent.adapters.buffer.space import Thinned
from agent.core.buffer.numbering import Start
from agent.core.metering.slots import MeterSlots
from agent.core.records import NewEvent
from agent.services.buffer.restart import downtime_gap, gap_since, last_slot_ms, next_slots, restart_records
from agent.version import VERSION
from wire.batch import Anchor

BOOT, OTHER_BOOT = b"boot---1", b"boot---2"
ANCHOR = Anchor(1_790_000_000_000, 20)
SAME = Opening(Start(None), clean=False, boot=BOOT, anchor=ANCHOR, accounted_ms={"main": 50_000})


def gap(opening: Opening, next_ms: int, now_ms: int, anchor: Anchor | None = ANCHOR) -> NewEvent | None:
    return downtime_gap(opening, "main", 10_000, next_ms, now_ms, BOOT, anchor)


@pytest.mark.parametrize(
    ("last_ms", "next_ms", "expected"),
    [
        (50_000, 60_000, None),  # the very next slot
        (50_000, 70_000, (60_000, 70_000, 1)),
        (50_000, 100_000, (60_000, 100_000, 4)),
        (50_003, 100_000, (60_000, 100_000, 4)),  # by a UTC that was found 3 ms later
        (49_997, 100_000, (60_000, 100_000, 4)),
        (60_000, 60_000, None),
        (90_000, 60_000, None),  # what is accounted for lies ahead
    ],
)
def test_slots_since_the_last_that_is_accounted_for(
    last_ms: int, next_ms: int, expected: tuple[int, int, int] | None
) -> None:
    event = gap_since("main", 10_000, last_ms, next_ms, 59_000)
    if expected is None:
        assert event is None
    else:
        assert event is not None
        assert (event.kind, event.meter, event.mono_ms) == ("gap", "main", 59_000)
        from_ms, to_ms, slots = expected
        assert event.data == {"reason": "not_running", "from_ms": from_ms, "to_ms": to_ms, "slots": slots}


@given(
    interval_ms=st.sampled_from([200, 1_000, 10_000]),
    began_ms=st.integers(1_000_000, 1_020_000),
    read_after_ms=st.integers(0, 50),
    down_ms=st.integers(60, 50_000),
    boot_utc_ms=st.integers(1_790_000_000_000, 1_790_000_010_000),
    found_later_ms=st.integers(-49, 49),
    rebooted_ms=st.none() | st.integers(0, 1_000_000),
)
def test_no_slot_is_counted_twice_or_left_out_where_utc_is_found_anew(
    *,
    interval_ms: int,
    began_ms: int,
    read_after_ms: int,
    down_ms: int,
    boot_utc_ms: int,
    found_later_ms: int,
    rebooted_ms: int | None,
) -> None:
    """Two looks at the clocks differ by a millisecond, and by what slewed in between; slots are whole either way."""
    before = MeterSlots("main", interval_ms, began_ms, boot_utc_ms)
    last, _ = before.take(before.next_ms)
    opening = Opening(Start(None), boot=BOOT, anchor=Anchor(boot_utc_ms, 20), accounted_ms={"main": last})
    boot, shift_ms = (BOOT, 0) if rebooted_ms is None else (OTHER_BOOT, rebooted_ms)
    now_ms = last + read_after_ms + down_ms - shift_ms
    anchor = Anchor(boot_utc_ms + found_later_ms + shift_ms, 20)
    last_ms = last_slot_ms(opening, "main", boot, anchor)
    slots = next_slots("main", interval_ms, now_ms, anchor, last_ms)
    assert slots.next_ms >= now_ms
    event = downtime_gap(opening, "main", interval_ms, slots.next_ms, now_ms, boot, anchor)
    missed = 0 if event is None else event.data["slots"]
    slot_before = round((last + boot_utc_ms) / interval_ms)
    slot_now = round((slots.next_ms + anchor.boot_utc_ms) / interval_ms)
    assert missed == slot_now - slot_before - 1


@pytest.mark.parametrize("ahead_ms", [5_002, 15_000, 86_400_000])
def test_polling_begins_at_once_though_the_run_before_accounted_for_what_lies_ahead(ahead_ms: int) -> None:
    """Its UTC was wrong, or its interval so long that the slot of its last gap has not ended."""
    slots = next_slots("main", 10_000, 81_000, ANCHOR, 81_000 + ahead_ms)
    assert slots.next_ms == 90_000


def test_within_a_boot_the_gap_is_on_its_clock() -> None:
    event = gap(SAME, 90_000, 81_000)
    assert event is not None
    assert event.data == {"reason": "not_running", "from_ms": 60_000, "to_ms": 90_000, "slots": 3}


def test_a_meter_that_was_never_read_and_a_new_buffer_have_no_gap() -> None:
    assert downtime_gap(SAME, "other", 10_000, 90_000, 81_000, BOOT, ANCHOR) is None
    assert gap(Opening(Start("new database")), 90_000, 81_000) is None


def test_across_a_reboot_the_slots_are_counted_where_both_boots_know_utc() -> None:
    """The boot before began a day earlier: its 50.003 s are long before this one's 10 s."""
    day_ms = 86_400_000
    before = Opening(
        Start(None, (5, 9)),
        clean=False,
        boot=OTHER_BOOT,
        anchor=Anchor(ANCHOR.boot_utc_ms - day_ms, 5),
        accounted_ms={"main": 50_000},
    )
    event = gap(before, 10_000, 1_000)
    assert event is not None
    assert event.mono_ms == 1_000
    assert event.data == {
        "reason": "not_running",
        "from_ms": 0,
        "to_ms": 10_000,
        "slots": (day_ms + 10_000 - 60_000) // 10_000,
        "interval_ms": 10_000,
        "from_boot": OTHER_BOOT.hex(),
        "from_boot_ms": 60_000,
        "from_utc_ms": ANCHOR.boot_utc_ms - day_ms + 60_000,
    }


@pytest.mark.parametrize(("known_before", "known_now"), [(True, False), (False, True), (False, False)])
def test_across_a_reboot_without_utc_what_is_known_is_stated(known_before: bool, known_now: bool) -> None:
    anchor = ANCHOR if known_before else None
    before = Opening(Start(None), boot=OTHER_BOOT, anchor=anchor, accounted_ms={"main": 50_000})
    event = gap(before, 10_000, 1_000, ANCHOR if known_now else None)
    assert event is not None
    assert event.data["slots"] is None
    assert (event.data["from_boot"], event.data["from_boot_ms"]) == (OTHER_BOOT.hex(), 60_000)
    assert ("from_utc_ms" in event.data) == known_before


def test_a_reboot_after_a_clock_that_was_days_ahead_is_stated_without_a_number() -> None:
    ahead = Anchor(ANCHOR.boot_utc_ms + 3 * 86_400_000, 20)
    event = gap(Opening(Start(None), boot=OTHER_BOOT, anchor=ahead, accounted_ms={"main": 50_000}), 10_000, 9_000)
    assert event is not None
    assert event.data == {
        "reason": "not_running",
        "from_ms": 0,
        "to_ms": 10_000,
        "slots": None,
        "interval_ms": 10_000,
        "from_boot": OTHER_BOOT.hex(),
        "from_boot_ms": 60_000,
    }


def test_a_reboot_faster_than_a_slot_leaves_no_gap() -> None:
    before = Opening(
        Start(None), boot=OTHER_BOOT, anchor=Anchor(ANCHOR.boot_utc_ms - 45_000, 5), accounted_ms={"main": 50_000}
    )
    assert gap(before, 10_000, 9_000) is None


def kinds(opening: Opening) -> list[tuple[str, dict[str, object]]]:
    records = restart_records(opening, 7, "cafe0123")
    assert {record.mono_ms for record in records} == {7}
    return [(record.kind, dict(record.data)) for record in records]


def test_a_run_begins_with_its_start() -> None:
    start = {"version": VERSION, "clean": False, "config_rev": "cafe0123"}
    assert kinds(SAME) == [("start", start)]


def test_what_became_of_the_numbers_is_said() -> None:
    assert kinds(Opening(Start("new database")))[1:] == [("epoch", {"reason": "new database", "previous": None})]
    foreign = Opening(Start("database of box apt-9"), previous=b"\0" * 8)
    assert kinds(foreign)[1:] == [("epoch", {"reason": "database of box apt-9", "previous": "0" * 16})]
    assert kinds(Opening(Start(None, (11, 4_096))))[1:] == [("numbers_skipped", {"first": 11, "last": 4_096})]


def test_what_opening_had_to_give_up_is_said() -> None:
    thinned = Thinned(b"\1" * 8, 1, 5, 90, batches=3, kept=80, removed=6, freed_bytes=999)
    aside = Aside(Path("/somewhere/buffer.db.damaged-1"), 4)
    assert kinds(Opening(Start(None), moved_aside=aside, thinned=(thinned,)))[1:] == [
        ("thinned", {"epoch": "01" * 8, "first": 5, "last": 90, "rev": 1, "batches": 3, "kept": 80, "removed": 6}),
        ("dropped", {"reason": "damaged_buffer", "kept_as": "buffer.db.damaged-1", "batches_saved": 4}),
    ]

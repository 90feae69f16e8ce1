"""Poll slots: aligned, never bursting, and every one of them read or explained."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.metering.slots import MeterSlots
from agent.core.records import NewEvent

INTERVAL_MS = 10_000


def gap(event: NewEvent) -> tuple[str, int, int, int]:
    assert (event.kind, event.meter) == ("gap", "main")
    return event.data["reason"], event.data["from_ms"], event.data["to_ms"], event.data["slots"]


def gaps(events: list[NewEvent]) -> list[tuple[str, int, int, int]]:
    return [gap(event) for event in events]


@pytest.mark.parametrize(
    ("now_ms", "boot_utc_ms", "next_ms"),
    [
        (0, 0, 0),
        (1, 0, 10_000),
        (9_999, 0, 10_000),
        (10_000, 0, 10_000),
        (0, 3_000, 7_000),  # UTC 10.000 is 7.000 after boot
        (7_001, 3_000, 17_000),
        (5, 1_790_000_000_000 + 9_999, 10_001),
    ],
)
def test_slots_begin_at_multiples_of_the_interval_in_utc(now_ms: int, boot_utc_ms: int, next_ms: int) -> None:
    slots = MeterSlots("main", INTERVAL_MS, now_ms, boot_utc_ms)
    assert slots.next_ms == next_ms
    assert (slots.next_ms + boot_utc_ms) % INTERVAL_MS == 0


def test_a_timetable_of_a_good_day() -> None:
    slots = MeterSlots("main", INTERVAL_MS, 1)
    for start_ms in (10_000, 20_000, 30_000):
        assert slots.take(start_ms + 3) == (start_ms, [])
        assert slots.read() == []
    assert slots.due_since_last() == 3
    assert slots.due_since_last() == 0
    assert slots.gap_from_ms is None


def test_a_read_that_starts_at_the_end_of_its_slot_is_in_time_and_the_next_is_not_late() -> None:
    slots = MeterSlots("main", INTERVAL_MS, 1)
    assert slots.take(19_999) == (10_000, [])
    assert slots.next_ms == 20_000


def test_after_a_stall_one_slot_is_read_and_the_missed_ones_are_one_gap() -> None:
    slots = MeterSlots("main", INTERVAL_MS, 1)
    start_ms, events = slots.take(45_000)
    assert (start_ms, events) == (40_000, [])
    assert gaps(slots.read()) == [("late", 10_000, 40_000, 3)]
    assert slots.due_since_last() == 4
    assert slots.next_ms == 50_000


def test_slots_without_a_reading_for_one_reason_are_one_gap_until_the_reason_changes() -> None:
    slots = MeterSlots("main", INTERVAL_MS, 1)
    for start_ms in (10_000, 20_000):
        slots.take(start_ms)
        assert slots.explain("silent", start_ms) == []
    assert slots.gap_from_ms == 10_000
    slots.take(30_000)
    assert gaps(slots.explain("garbage", 30_000)) == [("silent", 10_000, 30_000, 2)]
    slots.take(40_000)
    assert gaps(slots.read()) == [("garbage", 30_000, 40_000, 1)]
    assert slots.due_since_last() == 4


def test_late_slots_between_silent_ones_are_a_gap_of_their_own() -> None:
    slots = MeterSlots("main", INTERVAL_MS, 1)
    slots.take(10_000)
    slots.explain("silent", 10_000)
    _, events = slots.take(40_500)
    assert gaps(events) == [("silent", 10_000, 20_000, 1)]
    assert gaps(slots.explain("silent", 40_000)) == [("late", 20_000, 40_000, 2)]
    assert gaps(slots.close_gap()) == [("silent", 40_000, 50_000, 1)]
    assert slots.due_since_last() == 4


def test_a_gap_closed_for_a_seal_goes_on_as_a_new_one() -> None:
    slots = MeterSlots("main", INTERVAL_MS, 1)
    slots.take(10_000)
    slots.explain("silent", 10_000)
    assert gaps(slots.close_gap()) == [("silent", 10_000, 20_000, 1)]
    assert slots.close_gap() == []
    slots.take(20_000)
    slots.explain("silent", 20_000)
    assert gaps(slots.close_gap()) == [("silent", 20_000, 30_000, 1)]


def test_slots_of_an_open_gap_are_due_only_once_it_has_closed() -> None:
    """Else a batch could count slots whose gap is in the next one."""
    slots = MeterSlots("main", INTERVAL_MS, 1)
    slots.take(10_000)
    slots.explain("silent", 10_000)
    assert slots.due_since_last() == 0
    slots.close_gap()
    assert slots.due_since_last() == 1


def test_the_event_of_a_gap_is_never_of_the_future() -> None:
    """A daily meter that fails at 00:00:01 must not date anything at midnight of the next day."""
    day_ms = 24 * 60 * 60_000
    slots = MeterSlots("main", day_ms, 1)
    slots.take(day_ms)
    slots.explain("silent", day_ms)
    (event,) = slots.close_gap()
    assert event.mono_ms == day_ms
    assert gap(event) == ("silent", day_ms, 2 * day_ms, 1)


@pytest.mark.parametrize(
    ("boot_utc_ms", "next_ms"),
    [(0, 30_000), (4_000, 26_000), (6_000, 34_000), (5_000, 25_000), (1_790_000_000_000, 30_000)],
)
def test_realigning_moves_the_next_start_by_at_most_half_an_interval(boot_utc_ms: int, next_ms: int) -> None:
    slots = MeterSlots("main", INTERVAL_MS, 1)
    slots.take(21_000)
    slots.read()
    slots.realign(boot_utc_ms)
    assert slots.next_ms == next_ms
    assert (slots.next_ms + boot_utc_ms) % INTERVAL_MS == 0


def test_realigning_to_the_same_phase_changes_nothing() -> None:
    slots = MeterSlots("main", INTERVAL_MS, 1, 3_000)
    slots.realign(3_000 + 7 * INTERVAL_MS)
    assert slots.next_ms == 7_000


@pytest.mark.parametrize(
    ("now_ms", "expected"),
    [
        (29_999, []),  # nothing has begun since the slot at 20 000
        (30_000, [("not_running", 30_000, 40_000, 1)]),
        (55_000, [("not_running", 30_000, 60_000, 3)]),
    ],
)
def test_at_the_end_every_slot_that_has_begun_is_explained(
    now_ms: int, expected: list[tuple[str, int, int, int]]
) -> None:
    slots = MeterSlots("main", INTERVAL_MS, 1)
    slots.take(21_000)
    slots.read()
    slots.due_since_last()
    assert gaps(slots.end(now_ms)) == expected
    assert slots.due_since_last() == sum(one[3] for one in expected)
    assert slots.next_ms > now_ms
    assert slots.end(now_ms) == []


def test_the_end_closes_the_gap_that_is_open() -> None:
    slots = MeterSlots("main", INTERVAL_MS, 1)
    slots.take(10_000)
    slots.explain("silent", 10_000)
    assert gaps(slots.end(20_000)) == [("silent", 10_000, 20_000, 1), ("not_running", 20_000, 30_000, 1)]


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_each_slot_is_accounted_for_once(seed: int) -> None:
    """Random reads, failures, stalls and seals: readings and gaps tile the time without hole or overlap."""
    chance = random.Random(seed)
    slots = MeterSlots("main", 1_000, 500)
    now_ms, covered, due = 500, [], 0

    def note(events: list[NewEvent]) -> None:
        covered.extend((event.data["from_ms"], event.data["to_ms"], event.data["slots"]) for event in events)

    for _ in range(300):
        now_ms = max(now_ms, slots.next_ms) + chance.choice([0, 0, 1, 300, 999, 1_000, 4_200])
        start_ms, late = slots.take(now_ms)
        note(late)
        if chance.random() < 0.6:
            note(slots.read())
            covered.append((start_ms, start_ms + 1_000, 1))
        else:
            note(slots.explain(chance.choice(["silent", "garbage"]), start_ms))
        if chance.random() < 0.2:
            note(slots.close_gap())
            due += slots.due_since_last()
    note(slots.end(now_ms + chance.randrange(3_000)))
    due += slots.due_since_last()
    covered.sort()
    assert covered[0][0] == 1_000
    assert all(left[1] == right[0] for left, right in itertools.pairwise(covered))
    assert all(to_ms - from_ms == 1_000 * count for from_ms, to_ms, count in covered)
    assert due == sum(count for *_, count in covered)


def test_a_step_soon_after_the_boot_moves_no_slot_to_before_polling_began() -> None:
    slots = MeterSlots("main", 900_000, 15_000, 900_000 * 2_000_000 - 16_000)
    assert slots.next_ms == 16_000
    slots.realign(900_000 * 2_000_000 + 284_500)  # the nearest aligned instant lies before the boot
    assert slots.next_ms == 615_500


@given(st.lists(st.integers(0, 9_999), min_size=1, max_size=8), st.integers(0, 20_000))
def test_however_often_utc_steps_no_slot_is_begun_twice(steps: list[int], began_ms: int) -> None:
    slots = MeterSlots("main", 10_000, began_ms)
    start_ms, _ = slots.take(slots.next_ms)
    for boot_utc_ms in steps:
        slots.realign(boot_utc_ms)
        assert slots.next_ms >= start_ms + 5_000
        assert (slots.next_ms + boot_utc_ms) % 10_000 == 0

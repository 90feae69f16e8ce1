"""What goes first when the disk is full: each decision with its reason."""

from __future__ import annotations

import pytest

from agent.core.buffer import full_disk
from agent.core.buffer.full_disk import (
    BALLAST_AGAIN_BYTES,
    BALLAST_BYTES,
    BALLAST_LAST_BYTES,
    LOW_BYTES,
    NEXT_MEASURE,
    PASS_BATCHES_MAX,
    RESERVE_BYTES,
    ROOM_BYTES,
    BatchKind,
    Measure,
    NoPass,
    Pass,
)

RELEASE, THIN, LAST, AGAIN = Measure
KB = 1_000
NEW, ONCE, TWICE, DONE = (BatchKind(held=False, rev=rev) for rev in range(4))
HELD, HELD_ONCE, HELD_DONE = (BatchKind(held=True, rev=rev) for rev in (0, 1, 3))


def measures(*works: Measure) -> list[Measure]:
    """What is tried on a full disk where only `works` make room."""
    tried: list[Measure] = []
    measure: Measure | None = full_disk.FIRST_MEASURE
    while measure is not None:
        tried.append(measure)
        measure = NEXT_MEASURE[measure, measure in works]
    return tried


@pytest.mark.parametrize(
    ("works", "tried", "why"),
    [
        ([RELEASE, THIN], [RELEASE], "zeros go before what was measured"),
        ([THIN, LAST], [RELEASE, THIN], "the last of the ballast is for when thinning itself needs room"),
        ([LAST, AGAIN], [RELEASE, THIN, LAST, AGAIN], "thinning is tried again with that room"),
        ([LAST], [RELEASE, THIN, LAST, AGAIN], "the room of the ballast alone is something, too"),
        ([], [RELEASE, THIN, LAST], "without new room thinning is not tried again"),
    ],
)
def test_one_measure_after_another_until_one_makes_room(works: list[Measure], tried: list[Measure], why: str) -> None:
    assert measures(*works) == tried, why


def test_every_measure_has_a_next_one_or_an_end() -> None:
    assert set(NEXT_MEASURE) == {(measure, worked) for measure in Measure for worked in (True, False)}


@pytest.mark.parametrize(
    ("stock", "level_max", "order"),
    [
        ({}, 3, []),
        ({DONE: 1}, 3, []),
        ({TWICE: 1, NEW: 1, ONCE: 1}, 3, [NEW, ONCE, TWICE]),  # the least thinned first
        ({NEW: 1, HELD_ONCE: 1, HELD: 1}, 3, [HELD, HELD_ONCE, NEW]),  # before all what the cloud has in quarantine
        ({NEW: 1, HELD_DONE: 1, ONCE: 1}, 3, [NEW, ONCE]),
        ({NEW: 1, ONCE: 1, HELD_ONCE: 1}, 1, [NEW]),
    ],
)
def test_which_batches_are_thinned_first(stock: dict[BatchKind, int], level_max: int, order: list[BatchKind]) -> None:
    assert full_disk.thinnable(stock, level_max) == order


@pytest.mark.parametrize(
    ("stock", "decision"),
    [
        ({}, NoPass("every batch is thinned as far as it can be")),
        ({DONE: 900 * KB, HELD_DONE: 9 * KB}, NoPass("every batch is thinned as far as it can be")),
        ({NEW: 9_000 * KB}, Pass(ROOM_BYTES, [NEW], "the disk is full")),
        ({NEW: 60 * KB, ONCE: 20 * KB, DONE: 99 * KB}, Pass(20 * KB, [NEW, ONCE], "the disk is full")),
    ],
)
def test_for_a_refused_write_a_small_backlog_is_thinned_in_part(
    stock: dict[BatchKind, int], decision: Pass | NoPass
) -> None:
    assert full_disk.pass_for_write(stock) == decision


def test_a_buffer_beyond_its_limit_is_thinned_to_a_little_below_it() -> None:
    why = "the buffer has reached [buffer] max_size"
    assert full_disk.pass_for_limit({NEW: 1, DONE: 1}, 1_050 * KB, 1_000 * KB) == Pass(100 * KB, [NEW], why)
    assert full_disk.pass_for_limit({DONE: 1}, 1_050 * KB, 1_000 * KB) == Pass(100 * KB, [], why)


@pytest.mark.parametrize(
    ("disk_free", "ballast", "spare", "short", "why"),
    [
        (LOW_BYTES, 0, 0, 0, "the disk has room"),
        (LOW_BYTES - 1, BALLAST_BYTES, 0, 0, "the ballast is whole"),
        (LOW_BYTES - 1, BALLAST_BYTES - 1, RESERVE_BYTES, 0, "the reserve is in the file"),
        (LOW_BYTES - 1, BALLAST_LAST_BYTES, RESERVE_BYTES - 7, 7, "the disk is nearly full, the ballast was used"),
        (0, 0, 0, RESERVE_BYTES, "nothing is left"),
    ],
)
def test_the_reserve_is_short(disk_free: int, ballast: int, spare: int, short: int, why: str) -> None:
    assert full_disk.short_of_reserve(disk_free, ballast, spare) == short, why


@pytest.mark.parametrize(
    ("stock", "disk_free", "decision"),
    [
        ({NEW: 200 * KB}, 0, Pass(100 * KB, [NEW], "the disk is nearly full")),
        ({NEW: 199 * KB}, 0, NoPass("thinning cannot free enough for the reserve")),
        ({NEW: 150 * KB, ONCE: 50 * KB}, 0, Pass(100 * KB, [NEW, ONCE], "the disk is nearly full")),
        # With room for the WAL on the disk, only what is between the counters is worth it.
        ({NEW: 150 * KB, ONCE: 50 * KB}, RESERVE_BYTES, NoPass("thinning cannot free enough for the reserve")),
        ({NEW: 250 * KB, ONCE: 50 * KB}, RESERVE_BYTES, Pass(100 * KB, [NEW], "the disk is nearly full")),
    ],
)
def test_the_reserve_is_given_up_where_thinning_cannot_free_enough(
    stock: dict[BatchKind, int], disk_free: int, decision: Pass | NoPass
) -> None:
    assert full_disk.pass_for_reserve(stock, 100 * KB, disk_free) == decision


@pytest.mark.parametrize(
    ("batches", "freed", "over"),
    [(0, 0, False), (3, 99, False), (3, 100, True), (PASS_BATCHES_MAX - 1, 0, False), (PASS_BATCHES_MAX, 0, True)],
)
def test_a_pass_ends_with_enough_room_or_after_some_seconds(batches: int, freed: int, over: bool) -> None:
    assert full_disk.is_over(Pass(100, [NEW], "the disk is full"), batches, freed) == over


@pytest.mark.parametrize(
    ("disk_free", "ballast", "back"),
    [
        (BALLAST_AGAIN_BYTES, 0, True),
        (BALLAST_AGAIN_BYTES, BALLAST_LAST_BYTES, True),
        (BALLAST_AGAIN_BYTES, BALLAST_BYTES, False),
        (BALLAST_AGAIN_BYTES - 1, 0, False),
    ],
)
def test_the_ballast_is_put_back_where_there_is_plenty_of_room(disk_free: int, ballast: int, back: bool) -> None:
    assert full_disk.may_have_ballast(disk_free, ballast) == back


def test_records_that_the_disk_does_not_take_are_dropped_beyond_what_memory_holds() -> None:
    assert [full_disk.overflow(pending, 10) for pending in (0, 10, 11, 20)] == [0, 0, 1, 10]

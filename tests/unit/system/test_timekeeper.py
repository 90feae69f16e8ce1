"""When UTC is known, when it steps, and what is not worth a word."""

from __future__ import annotations

import pytest

from agent.core.system.timekeeper import EARLIEST_UTC_MS, STEP_MS, ClockReading, Timekeeper
from wire.batch import Anchor
from wire.limits import TIME_MS_MAX

BOOT_UTC_MS = 1_790_000_000_000


def look(mono_ms: int, shift_ms: int = 0, *, uncertainty_ms: int = 50, synchronised: bool = True) -> ClockReading:
    return ClockReading(mono_ms, BOOT_UTC_MS + mono_ms + shift_ms, synchronised, uncertainty_ms)


def known(uncertainty_ms: int = 50) -> Timekeeper:
    keeper = Timekeeper()
    keeper.observe(look(1_000, uncertainty_ms=uncertainty_ms))
    return keeper


def test_the_first_good_look_makes_the_clock_known() -> None:
    keeper = Timekeeper()
    (event,) = keeper.observe(look(5_000))
    assert keeper.anchor == Anchor(BOOT_UTC_MS, 50)
    assert (event.mono_ms, event.kind, event.meter) == (5_000, "clock_known", None)
    assert event.data == {"boot_utc_ms": BOOT_UTC_MS, "uncertainty_ms": 50}


@pytest.mark.parametrize(
    "bad",
    [
        look(5_000, synchronised=False),
        ClockReading(5_000, EARLIEST_UTC_MS - 1, synchronised=True, uncertainty_ms=1),
        ClockReading(5_000, 5_000, synchronised=True, uncertainty_ms=1),
    ],
    ids=["not synchronised", "before this software", "1970"],
)
def test_a_clock_that_cannot_be_right_is_not_believed(bad: ClockReading) -> None:
    keeper = Timekeeper()
    assert keeper.observe(bad) == []
    assert keeper.anchor is None


def test_a_clock_that_loses_its_source_stays_known() -> None:
    keeper = known()
    assert keeper.observe(look(99_000, 10_000, synchronised=False)) == []
    assert keeper.anchor == Anchor(BOOT_UTC_MS, 50)


@pytest.mark.parametrize("step_ms", [STEP_MS, -STEP_MS, 3_600_000, -86_400_000])
def test_a_step_moves_the_anchor_and_says_so(step_ms: int) -> None:
    keeper = known()
    (event,) = keeper.observe(look(60_000, step_ms))
    assert keeper.anchor == Anchor(BOOT_UTC_MS + step_ms, 50)
    assert (event.mono_ms, event.kind) == (60_000, "clock_step")
    assert event.data == {"step_ms": step_ms, "boot_utc_ms": BOOT_UTC_MS + step_ms, "uncertainty_ms": 50}
    assert keeper.observe(look(65_000, step_ms)) == []


@pytest.mark.parametrize(("shift_ms", "uncertainty_ms"), [(STEP_MS - 1, 50), (-STEP_MS + 1, 50), (900, 1_000)])
def test_what_is_within_the_uncertainty_is_no_step(shift_ms: int, uncertainty_ms: int) -> None:
    keeper = known()
    assert keeper.observe(look(60_000, shift_ms, uncertainty_ms=uncertainty_ms)) == []
    assert keeper.anchor == Anchor(BOOT_UTC_MS, 50)


def test_a_more_certain_look_is_taken_over_without_a_word() -> None:
    keeper = known(uncertainty_ms=400)
    assert keeper.observe(look(60_000, 100, uncertainty_ms=20)) == []
    assert keeper.anchor == Anchor(BOOT_UTC_MS + 100, 20)
    assert keeper.observe(look(61_000, 0, uncertainty_ms=20)) == []
    assert keeper.anchor == Anchor(BOOT_UTC_MS + 100, 20)


def test_a_clock_beyond_what_can_be_written_is_none() -> None:
    keeper = Timekeeper()
    assert keeper.observe(ClockReading(1_000, TIME_MS_MAX + 1, synchronised=True, uncertainty_ms=1)) == []
    assert keeper.anchor is None

"""Values of one reading that contradict each other are flagged; phases that are not there contradict nothing."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import pytest

from agent.core.truth.bounds import Ratings
from agent.core.truth.plausibility import MeterTruth
from agent.core.truth.plausibility_events import Place, Places, sentence
from drivers.meter import RawBlock, Sample
from drivers.profile.files import find_profile, shipped_profiles
from wire.batch import Column
from wire.measurand import BY_NAME
from wire.resolution import Resolution

STEPS = {"V": Resolution(1, -1), "W": Resolution(1, 0), "var": Resolution(1, 0), "VA": Resolution(1, 0)}
OUT_OF_RANGE = 2
ALIVE = {"voltage_l1_n": 235.0, "voltage_l2_n": 234.0, "voltage_l3_n": 236.0}
BETWEEN = ("voltage_l1_l2", "voltage_l2_l3", "voltage_l3_l1")
POWERS = {"power_active_total": 600, "power_active_l1": 100, "power_active_l2": 200, "power_active_l3": 300}


def flagged(values: Mapping[str, float | None], readings: int = 1, places: Places | None = None) -> set[str]:
    """The names that are flagged at the last of so many equal readings."""
    truth = judge(values, places)
    words = () if places is None else tuple(RawBlock(3, 10 * at, bytes(20)) for at in range(len(values)))
    for number in range(readings):
        flags, _ = truth.judge(1000 * number, Sample(steps(values), words=words))
    assert all(flag in {0, OUT_OF_RANGE} for flag in flags)
    return {name for name, flag in zip(values, flags, strict=False) if flag}


def judge(
    values: Mapping[str, float | None], places: Places | None = None, ratings: Ratings | None = None
) -> MeterTruth:
    columns = [Column(name, STEPS[BY_NAME[name].unit]) for name in values]
    return MeterTruth("main", columns, ratings or Ratings(100.0), places)


def steps(values: Mapping[str, float | None]) -> tuple[int | None, ...]:
    made = {
        name: None if value is None else value / float(STEPS[BY_NAME[name].unit].step) for name, value in values.items()
    }
    return tuple(None if value is None else round(value) for value in made.values())


@pytest.mark.parametrize("value", [0.0, 0.3, 120.0, 180.0, 550.0])
def test_voltages_between_phases_that_cannot_be(value: float) -> None:
    assert flagged(ALIVE | dict.fromkeys(BETWEEN, value)) == set(BETWEEN)
    assert flagged(ALIVE | {"voltage_l2_l3": value, "voltage_l3_l1": 406.0}) == {"voltage_l2_l3"}


def test_the_average_between_phases() -> None:
    assert flagged(ALIVE | {"voltage_ll_avg": 0.0}) == {"voltage_ll_avg"}
    assert flagged(ALIVE | {"voltage_ll_avg": 406.0}) == set()


@pytest.mark.parametrize(
    "values",
    [
        {"voltage_l1_n": 235.0, "voltage_l2_n": 235.0, "voltage_l1_l2": 235 * sqrt(3)},
        {"voltage_l1_n": 120.0, "voltage_l2_n": 120.0, "voltage_l1_l2": 240.0},  # split phase
        {"voltage_l1_n": 120.0, "voltage_l2_n": 208.0, "voltage_l1_l2": 240.0},  # high-leg delta
        {"voltage_l1_n": 235.0, "voltage_l2_n": 0.0, "voltage_l1_l2": 0.0},  # one phase is not connected
        {"voltage_l1_n": 235.0, "voltage_l2_n": 3.0, "voltage_l1_l2": 236.0},
        {"voltage_l1_n": 235.0, "voltage_l2_n": None, "voltage_l1_l2": 0.0},
        {"voltage_l1_n": 235.0, "voltage_l2_n": 235.0, "voltage_l1_l2": None},
        {"voltage_l1_n": 235.0, "voltage_l2_n": 0.0, "voltage_l3_n": 0.0, "voltage_ll_avg": 0.0},
        {"voltage_l1_n": 190.0, "voltage_l2_n": 250.0, "voltage_l1_l2": 382.0},  # a lost neutral
    ],
)
def test_voltages_of_real_grids(values: dict[str, float | None]) -> None:
    assert flagged(values) == set()


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({}, False),
        ({"power_active_total": 615}, False),
        ({"power_active_total": 900}, True),
        ({"power_active_total": 0}, True),
        ({"power_active_total": -600}, False),  # the sign of the total alone is a matter of wiring, or of the model
        ({"power_active_l2": -200, "power_active_total": 200}, False),
        ({"power_active_l2": -200, "power_active_total": 600}, False),  # it adds up what flows whichever way
        ({"power_active_l2": -200, "power_active_total": 400}, True),
        ({"power_active_l2": None, "power_active_total": 400}, False),
        ({"power_active_l2": 0, "power_active_l3": 0, "power_active_total": 100}, False),
    ],
)
def test_the_sum_of_the_phases_is_the_total(change: dict[str, float | None], wrong: bool) -> None:
    values = POWERS | change
    assert flagged(values) == (set(values) if wrong else set())
    reactive = {name.replace("active", "reactive"): value for name, value in values.items()}
    assert bool(flagged(reactive)) == wrong


@pytest.mark.parametrize(
    ("active", "reactive", "apparent", "wrong"),
    [
        (1000, 0, 1000, False),
        (-1000, 200, 1020, False),
        (1000, 500, 1118, False),
        (1000, 500, 700, True),
        (1000, 0, 0, True),
        (50, 40, 95, False),  # lamps, whose current is no sine
        (0, 0, 400, False),
        (1000, 0, 9000, True),
    ],
)
def test_apparent_power_is_no_less_than_active_and_reactive_make(
    active: float, reactive: float, apparent: float, wrong: bool
) -> None:
    values = {"power_active_l1": active, "power_reactive_l1": reactive, "power_apparent_l1": apparent}
    assert flagged(values) == ({"power_apparent_l1"} if wrong else set())
    total = {name.replace("l1", "total"): value for name, value in values.items()}
    may_cancel_out = apparent == 9000
    assert flagged(total) == ({"power_apparent_total"} if wrong and not may_cancel_out else set())
    if not reactive:
        assert bool(flagged({"power_active_total": active, "power_apparent_total": apparent})) == (apparent < active)


def test_values_of_several_answers_must_contradict_for_a_while() -> None:
    """A kettle may be switched on between the answers."""
    values = POWERS | {"power_active_total": 2600}
    apart = Places([Place(3, 10 * at, 2) for at in range(len(values))])
    assert [bool(flagged(values, readings, apart)) for readings in (1, 2, 3, 4)] == [False, False, True, True]
    together = Places([Place(3, at, 2) for at in (0, 2, 4, 6)])
    assert flagged(values, 1, together) == set(values)


def test_the_event_says_what_a_value_contradicts_and_when_that_is_over() -> None:
    wrong = ALIVE | dict.fromkeys(BETWEEN, 0.0)
    truth = judge(wrong)
    _, events = truth.judge(0, Sample(steps(wrong)))
    assert next(event.data["against"] for event in events) == "voltage_l1_n = 235, voltage_l2_n = 234"
    assert "it contradicts voltage_l1_n = 235" in sentence(events[0])
    right = ALIVE | dict.fromkeys(BETWEEN, 406.0)
    flags, events = truth.judge(1000, Sample(steps(right)))
    assert (flags, {event.kind for event in events}) == ((), {"plausible"})


def test_a_transformer_makes_no_difference() -> None:
    values = {
        "power_active_total": 60_500,
        "power_active_l1": 20_000,
        "power_active_l2": 20_000,
        "power_active_l3": 20_000,
    }
    truth = judge(values, ratings=Ratings(5000.0, factor=100))
    assert truth.judge(0, Sample(steps(values)))[0] == ()


@pytest.mark.parametrize("model", sorted(shipped_profiles()))
def test_every_meter_can_be_judged(model: str) -> None:
    """With nothing there at all, too."""
    profile = find_profile(model)
    columns = [Column(each.measurand, each.resolution) for each in (*profile.registers, *profile.fields)]
    MeterTruth("main", columns, Ratings()).judge(0, Sample((None,) * len(columns)))

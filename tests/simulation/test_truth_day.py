"""Days of households, recorded and made up, read at several intervals: nothing of it is ever flagged."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from agent.core.truth.plausibility import MeterTruth
from agent.services.metering.ratings import ratings
from drivers.meter import Sample
from drivers.profile.files import load_profile, shipped_profiles
from meter_sim.world.household import Load, RecordedLoad
from meter_sim.world.instrument import Instrument
from meter_sim.world.scenarios import SCENARIOS
from wire.batch import Column

SHARED = Path(__file__).parents[2].parent / "shared/meters/load"
SEED = os.environ.get("WATTPOST_SEED", "1")
DAY_S = 86_400
RECORDED = {"uci": "uci_fr_household_1min_V_I_P_Q.csv", "ukdale": "ukdale_house_6s_P.csv"}


def flagged(
    load: Load, seconds: int, interval_s: int, refresh_s: float = 1, model: str = "eastron-sdm630"
) -> list[str]:
    """What is said of a day's readings of a meter at the rest of its life."""
    profile = load_profile(shipped_profiles()[model])
    instrument = Instrument(load, SEED, refresh_s)
    told = [each for each in (*profile.registers, *profile.fields) if each.measurand in instrument.at(0)]
    columns = [Column(each.measurand, each.resolution) for each in told if each.measurand in profile.default]
    truth = MeterTruth("main", columns, ratings(profile))
    steps = [float(Fraction(1) / Fraction(column.resolution.step)) for column in columns]
    found, wrong = 0, []
    for second in range(0, seconds, interval_s):
        now = instrument.at(second)
        values = tuple(round(now[column.measurand] * step) for column, step in zip(columns, steps, strict=True))
        flags, events = truth.judge(second * 1000, Sample(values))
        wrong += [f"{event.kind} {dict(event.data)}" for event in events]
        found += bool(flags)
    assert bool(found) == bool(wrong)
    return wrong


@pytest.mark.parametrize(("interval_s", "hours"), [(1, 2), (60, 24)])
@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_nothing_is_wrong_with_what_the_simulator_makes_up(scenario: str, interval_s: int, hours: int) -> None:
    made: Callable[[str, int], Load] = SCENARIOS[scenario]
    assert flagged(made(SEED, 3), hours * 3_600, interval_s) == [], f"seed {SEED}"


@pytest.mark.parametrize("model", sorted(shipped_profiles()))
def test_nothing_is_wrong_with_a_household_behind_any_meter(model: str) -> None:
    assert flagged(SCENARIOS["household"](SEED, 3), 3_600, 10, 5, model) == [], f"seed {SEED}"


@pytest.mark.parametrize(("interval_s", "refresh_s"), [(1, 1), (10, 5), (60, 1)])
@pytest.mark.parametrize("name", sorted(RECORDED))
def test_nothing_is_wrong_with_a_recorded_day(name: str, interval_s: int, refresh_s: float) -> None:
    path = SHARED / RECORDED[name]
    if not path.exists():
        pytest.skip(f"no recorded household at {path}")
    assert flagged(RecordedLoad(path, SEED, 3), DAY_S, interval_s, refresh_s) == [], f"seed {SEED}"

"""From a profile and the configuration to what a meter's values can be."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from agent.core.truth.bounds import Ratings
from agent.services.metering.ratings import ratings
from drivers.profile.files import load_profile, shipped_profiles
from drivers.profile.model import Profile, Rating, Register
from wire.resolution import Resolution

STEP = Resolution(1, 0)
ENERGY = Register("energy_active_import_total", 4, 72, "uint32", STEP, rollover=Fraction(1_000_000))
VOLTAGE = Register("voltage_l1_n", 4, 0, "uint16", STEP)


def profile(*registers: Register) -> Profile:
    rating = Rating(6, (80, 300), (45, 65))
    return Profile("acme", "Acme", "one", registers, tuple(r.measurand for r in registers), rating=rating)


def test_a_meter_that_is_connected_directly() -> None:
    found = ratings(profile(ENERGY, VOLTAGE), ct_ratio=40, vt_ratio=100)
    assert found == Ratings(6, (80, 300), (45, 65), 1, 1, {ENERGY.measurand: Fraction(1_000_000)})


def test_ratios_that_the_box_applies() -> None:
    found = ratings(replace(profile(ENERGY, VOLTAGE), ct="box", vt="box"), ct_ratio=40, vt_ratio=100)
    turns_over = {ENERGY.measurand: Fraction(4_000_000_000)}
    assert found == Ratings(240, (8_000, 30_000), (45, 65), 1, 4_000, turns_over)


def test_ratios_that_only_the_meter_knows() -> None:
    unknown = replace(profile(VOLTAGE), ct="meter", vt="meter", rating=Rating(None))
    found = ratings(unknown)
    assert (found.current_max_a, found.voltage_range_v, found.vt_unknown) == (None, (80, 300), True)


@pytest.mark.parametrize(
    ("names", "phases"),
    [
        (["voltage_l1_n"], 1),
        (["voltage_l1_n", "voltage_l2_n"], 3),
        (["current_l1", "voltage_l1_l2"], 3),
        (["power_active_total"], 3),
        (["power_active_l1", "energy_active_import_l2"], 3),
    ],
)
def test_three_phases_unless_there_is_surely_one(names: list[str], phases: int) -> None:
    registers = [replace(VOLTAGE, measurand=name, address=2 * i) for i, name in enumerate(names)]
    assert ratings(profile(*registers)).phases == phases


@pytest.mark.parametrize("model", sorted(shipped_profiles()))
def test_every_shipped_profile_can_be_rated(model: str) -> None:
    found = ratings(load_profile(shipped_profiles()[model]), 40)
    assert found.power_max > 0
    assert found.factor in {1, 40}

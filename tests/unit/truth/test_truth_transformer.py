"""A meter that alone knows whether it has a voltage transformer: its first voltages tell."""

from __future__ import annotations

import pytest

from agent.core.truth.bounds import Ratings
from agent.core.truth.plausibility import MeterTruth
from drivers.meter import Sample
from wire.batch import Column, Quality
from wire.resolution import Resolution

NAMES = ("voltage_l1_n", "voltage_l2_n", "power_active_total", "energy_active_import_total")
OUT, JUMP = int(Quality.OUT_OF_RANGE), int(Quality.JUMP)
MEDIUM, LOW = (5_800, 5_810, 90_000_000), (230, 231, 50_000)


def flags(*readings: tuple[int | None, ...]) -> list[tuple[int, ...]]:
    """Of readings each second; each has voltages, power, and what was counted."""
    truth = MeterTruth("main", [Column(name, Resolution(1, 0)) for name in NAMES], Ratings(None, vt_unknown=True))
    return [truth.judge(1_000 * second, Sample(values))[0] for second, values in enumerate(readings, 1)]


def test_a_meter_in_a_medium_voltage_grid() -> None:
    """90 MW are 25 kWh a second."""
    assert flags(*((*MEDIUM, 25_000 * second) for second in range(5))) == [()] * 5


def test_a_meter_of_a_building() -> None:
    found = flags((*LOW, 0), (*MEDIUM, 25_000), (*LOW, 40), (*LOW, 60))
    assert found == [(), (OUT, OUT, OUT, JUMP), (), ()]


@pytest.mark.parametrize("first", [(0, 0, 0, 0), (None, None, 0, 0)])
def test_a_first_reading_without_voltage_tells_nothing(first: tuple[int | None, ...]) -> None:
    assert flags(first, (*MEDIUM, 0), (*MEDIUM, 25_000))[1:] == [(), ()]


def test_a_phase_that_is_not_connected_tells_nothing() -> None:
    assert flags((0, 5_800, 90_000_000, 0), (0, 5_810, 90_000_000, 25_000)) == [(), ()]


def test_a_wrong_voltage_of_a_building_is_no_transformer() -> None:
    assert flags((500, 231, 50_000, 0), (*MEDIUM, 10)) == [(OUT, 0, 0, 0), (OUT, OUT, OUT, 0)]

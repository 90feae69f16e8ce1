"""What a value can be, from a rating."""

from __future__ import annotations

from fractions import Fraction
from math import inf

import pytest

from agent.core.truth.bounds import Bounds, Ratings, bounds, counter_bounds, is_counter
from wire.batch import Column
from wire.measurand import VOCABULARY
from wire.resolution import Resolution

DIRECT = Ratings(100)


def column(name: str, step: float = 1) -> Column:
    return Column(name, Resolution.parse(step))


@pytest.mark.parametrize(
    ("name", "step", "low", "high"),
    [
        ("voltage_l1_n", 0.1, 800, 3_000),
        ("voltage_ln_avg", 1, 80 / 3, 300),
        ("voltage_l1_l2", 1, 80, 300 * 3**0.5),
        ("voltage_ll_avg", 1, 80 / 3, 300 * 3**0.5),
        ("frequency", 0.01, 4_500, 6_500),
        ("power_factor_l1", 0.001, -1_005, 1_005),
        ("phase_angle_l1", 1, -360.5, 360.5),
        ("current_l1", 0.001, -200_000, 200_000),
        ("current_n", 1, -200, 200),
        ("current_sum", 1, -600, 600),
        ("power_active_l1", 1, -60_000, 60_000),
        ("power_apparent_total", 1, -180_000, 180_000),
        ("temperature", 1, -inf, inf),
        ("thd_voltage_l1", 1, -inf, inf),
        ("energy_active_import_total", 1, 0, inf),
        ("energy_active_net_total", 1, -inf, inf),
        ("a_name_of_somebody", 1, -inf, inf),
    ],
)
def test_bounds_in_steps(name: str, step: float, low: float, high: float) -> None:
    found = bounds(column(name, step), DIRECT)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_a_phase_that_is_not_connected_picks_up_little() -> None:
    assert bounds(column("voltage_l1_n", 0.1), DIRECT) == Bounds(800, 3_000, 100)


def test_a_single_phase_has_a_third() -> None:
    single = Ratings(100, phases=1)
    assert bounds(column("power_active_total"), single).high == 60_000
    three = counter_bounds(column("energy_active_import_total"), DIRECT)
    assert counter_bounds(column("energy_active_import_total"), single).rate == pytest.approx(three.rate / 3)
    assert counter_bounds(column("energy_active_import_l2"), DIRECT).rate == pytest.approx(three.rate / 3)


def test_a_counter_grows_as_fast_as_the_current_allows() -> None:
    """100 A at 300 V on three phases and a fifth more: 108 kW are 30 Wh a second."""
    found = counter_bounds(column("energy_active_import_total", 10), DIRECT)
    assert (found.rate * 1000, found.slack, found.modulus) == (pytest.approx(3.0), 2, None)


def test_behind_a_transformer_everything_is_larger() -> None:
    found = counter_bounds(column("energy_active_import_total"), Ratings(4_000, factor=40))
    assert found.rate * 1000 == pytest.approx(1_200)
    assert found.slack == 80


def test_where_no_rating_is_known_gross_errors_are_found_all_the_same() -> None:
    unknown = Ratings()
    assert bounds(column("current_l1"), unknown).high == 20_000
    assert counter_bounds(column("energy_active_import_total"), unknown).rate * 1000 == pytest.approx(3_000)


def test_behind_an_unknown_voltage_transformer_more_is_possible() -> None:
    found = Ratings(6, vt_unknown=True).transformed()
    assert not found.vt_unknown
    assert bounds(column("voltage_l1_n"), found).high == 400_000
    assert bounds(column("power_active_l1"), found).high == 6 * 400_000 * 2


def test_water_has_a_rate_of_its_own() -> None:
    assert counter_bounds(column("volume_total", 0.001), DIRECT).rate * 1000 == pytest.approx(277.8, abs=0.1)


def test_where_a_counter_turns_over_is_counted_in_its_steps() -> None:
    ratings = Ratings(100, rollover={"energy_active_import_total": Fraction(99_999_900)})
    energy = column("energy_active_import_total", 100)
    assert counter_bounds(energy, ratings).modulus == bounds(energy, ratings).high == 999_999


def test_every_measurand_of_the_vocabulary_has_bounds() -> None:
    for known in VOCABULARY:
        one = column(known.name)
        found = bounds(one, DIRECT)
        assert found.low < found.high
        if is_counter(one):
            assert counter_bounds(one, DIRECT).rate > 0
    assert not is_counter(column("a_name_of_somebody"))
    assert not is_counter(column("power_active_total"))
    assert counter_bounds(column("energy_active_net_total"), DIRECT).both_ways

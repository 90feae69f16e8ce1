"""What hangs behind the simulated meters: sun, motors, nothing; and what follows from it in all measurands."""

from __future__ import annotations

import math

import pytest

from meter_sim.options import answer_delays, wanted_meters
from meter_sim.world.instrument import Instrument
from meter_sim.world.scenarios import SCENARIOS, Solar, sun
from wire.measurand import BY_NAME

SEEDS = ["1", "2", "3"]


def meter(scenario: str, seed: str = "1", phases: int = 3, refresh_s: float = 10) -> Instrument:
    return Instrument(SCENARIOS[scenario](seed, phases), seed, refresh_s)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("phases", [1, 3])
def test_the_sun_feeds_in_by_day_and_not_at_night(seed: str, phases: int) -> None:
    plant = Instrument(Solar(seed, phases, first_hour=0), seed, 60)
    by_hour: dict[int, list[float]] = {hour: [] for hour in range(24)}
    exported, imported = [], []
    for minute in range(24 * 60):
        values = plant.at(60 * minute)
        by_hour[minute // 60].append(values["power_active_total"])
        exported.append(values["energy_active_export_total"])
        imported.append(values["energy_active_import_total"])
        assert values["power_active_export"] == max(-values["power_active_total"], 0)
        assert values["power_factor_total"] * values["power_active_total"] >= 0
    assert all(0 < power < 20 for hour in (0, 1, 2, 3, 22, 23) for power in by_hour[hour])
    assert min(by_hour[13]) < -1000
    assert exported == sorted(exported)
    assert 10_000 < exported[-1] - exported[0] < 50_000
    assert imported[-1] - imported[0] < 200, "standby at night"
    assert plant.at(86_400)["energy_active_net_total"] == imported[-1] - exported[-1]


def test_the_sun_itself() -> None:
    assert [sun(hour) for hour in (0, 5.5, 20.5, 23)] == pytest.approx([0, 0, 0, 0], abs=1e-9)
    assert sun(13) == pytest.approx(1)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_plant_room_is_inductive_and_loads_its_phases_alike(seed: str) -> None:
    plant = meter("three-phase", seed)
    most = 0.0
    for second in range(0, 3600, 10):
        values = plant.at(second)
        powers = [values[f"power_active_l{phase}"] for phase in (1, 2, 3)]
        most = max(most, values["power_active_total"])
        assert max(powers) < 1.12 * min(powers)
        assert values["power_reactive_total"] > 0
        assert 0.7 < values["power_factor_total"] < 1
        assert 0 < values["phase_angle_total"] < 46
    assert most > 5000


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_voltage_alone(seed: str) -> None:
    empty = meter("idle", seed)
    first = dict(empty.at(0))
    later = empty.at(3600)
    assert {name: later[name] for name in later if name.startswith("energy") and "heat" not in name} == {
        name: first[name] for name in first if name.startswith("energy") and "heat" not in name
    }
    assert later["power_active_total"] == later["current_l1"] == 0
    assert later["power_factor_total"] == 1
    assert 225 <= later["voltage_l3_n"] <= 240
    assert later["voltage_l3_n"] != first["voltage_l3_n"]


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_every_scenario_gives_every_measurand_a_number(scenario: str) -> None:
    values = meter(scenario).at(1000)
    assert values.keys() == BY_NAME.keys()
    assert all(math.isfinite(value) for value in values.values())


def test_measurands_that_follow_from_others_agree_with_them() -> None:
    values = meter("household").at(3600)
    for where in ("total", "l1", "l2", "l3"):
        bought, sold = values[f"energy_active_import_{where}"], values[f"energy_active_export_{where}"]
        assert values[f"energy_active_sum_{where}"] == bought + sold
    assert values["energy_active_import_total_f32"] == values["energy_active_import_total"]
    assert 0 < values["energy_active_import_resettable"] < values["energy_active_import_total"]
    angle = math.radians(values["phase_angle_l1"])
    assert math.cos(angle) == pytest.approx(values["power_factor_l1"])
    assert values["power_active_import"] - values["power_active_export"] == values["power_active_total"]
    assert values["power_heat"] >= 0
    assert values["temperature_flow"] > values["temperature_return"]


def test_a_meter_of_two_phases() -> None:
    values = meter("household", phases=2).at(100)
    assert {"voltage_l1_l2", "voltage_ll_avg"} <= values.keys()
    assert "voltage_l2_l3" not in values


def test_meters_and_delays_of_the_command_line() -> None:
    meters = wanted_meters(["eastron-sdm630:1", "eastron-sdm120:2:pv", "abb-b23:3:idle"], [], "three-phase")
    assert [(unit, one.profile.model, one.scenario) for unit, one in meters.items()] == [
        (1, "eastron-sdm630", "three-phase"),
        (2, "eastron-sdm120", "pv"),
        (3, "abb-b23", "idle"),
    ]
    assert answer_delays(["5", "40.5@3"], meters) == {None: 0.005, 3: 0.0405}
    for wrong in (["-1"], ["x"], ["5@x"], ["60001"], ["nan"]):
        with pytest.raises(ValueError, match=r"expected MS\[@UNIT\]"):
            answer_delays(wrong, meters)
    for text in ("eastron-sdm630:1:night", "eastron-sdm630:1:pv:2", "eastron-sdm630"):
        with pytest.raises(ValueError, match="--meter"):
            wanted_meters([text], [], "household")

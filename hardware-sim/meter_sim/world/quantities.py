"""What a moment is in measurands: those of each phase and all together, those that follow, and a building's others."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from meter_sim.world.household import Moment, Phase, Wander

ACROSS = ((0, 1), (1, 2), (2, 0))
HEAT_WH_PER_M3_K = 1160.0


def instant(moment: Moment) -> dict[str, float]:
    """Voltages, currents, powers and factors."""
    phases = moment.phases
    values: dict[str, float] = {"frequency": moment.frequency_hz}
    currents = []
    for number, phase in enumerate(phases, start=1):
        apparent_va = math.hypot(phase.active_w, phase.reactive_var)
        current_a = apparent_va / phase.voltage_v if phase.current_a is None else phase.current_a
        currents.append(current_a)
        values |= {
            f"voltage_l{number}_n": phase.voltage_v,
            f"current_l{number}": current_a,
            f"power_active_l{number}": phase.active_w,
            f"power_reactive_l{number}": phase.reactive_var,
            f"power_apparent_l{number}": apparent_va,
            f"power_factor_l{number}": phase.active_w / apparent_va if apparent_va else 1.0,
        }
    return values | _together(phases, currents)


def _together(phases: Sequence[Phase], currents: Sequence[float]) -> dict[str, float]:
    volts = [phase.voltage_v for phase in phases]
    active_w = sum(phase.active_w for phase in phases)
    reactive_var = sum(phase.reactive_var for phase in phases)
    apparent_va = math.hypot(active_w, reactive_var)
    values = {
        "power_active_total": active_w,
        "power_reactive_total": reactive_var,
        "power_apparent_total": apparent_va,
        "power_factor_total": active_w / apparent_va if apparent_va else 1.0,
        "current_sum": sum(currents),
        "current_avg": _mean(currents),
        "voltage_ln_avg": _mean(volts),
        "current_n": abs(sum(_turned(current, index) for index, current in enumerate(currents))),
    }
    present = [(left, right) for left, right in ACROSS if max(left, right) < len(phases)]
    if present:
        lines = [abs(_turned(volts[left], left) - _turned(volts[right], right)) for left, right in present]
        names = [f"voltage_l{left + 1}_l{right + 1}" for left, right in present]
        values |= dict(zip(names, lines, strict=True)) | {"voltage_ll_avg": _mean(lines)}
    return values


def beside(values: Mapping[str, float]) -> dict[str, float]:
    """What follows from `values`: powers by direction, angles, and a distortion that a real mains could have."""
    found: dict[str, float] = {}
    for where in ("total", "l1", "l2", "l3"):
        if f"power_active_{where}" not in values:
            continue
        active_w, reactive_var = values[f"power_active_{where}"], values[f"power_reactive_{where}"]
        tail = "" if where == "total" else f"_{where}"
        found[f"power_active_import{tail}"], found[f"power_active_export{tail}"] = max(active_w, 0), max(-active_w, 0)
        if where == "total":
            found["power_reactive_import"], found["power_reactive_export"] = max(reactive_var, 0), max(-reactive_var, 0)
        else:
            volts, amperes = values[f"voltage_{where}_n"], values[f"current_{where}"]
            found[f"thd_voltage_{where}"] = 1.2 + abs(volts - 230) / 10
            found[f"thd_current_{where}"] = 4 + 20 / (1 + amperes)
        found[f"phase_angle_{where}"] = math.degrees(math.atan2(reactive_var, active_w))
    distortion = [value for name, value in found.items() if name.startswith("thd_voltage")]
    return found | {"thd_voltage_avg": _mean(distortion)}


class Building:
    """Water, heat and gas, for meters that count them; warm water flows now and then."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._flow = Wander(dice, 0.35, 0.25, (0.0, 1.5))
        self._there, self._back = Wander(dice, 62, 4, (40, 85)), Wander(dice, 38, 3, (25, 55))
        self._room = Wander(dice, 24, 2, (10, 45))
        self._volume_m3, self._heat_wh, self._gas_m3 = (
            dice.uniform(50, 900),
            dice.uniform(1e6, 4e7),
            dice.uniform(1e3, 9e3),
        )
        self.values: Mapping[str, float] = {}

    def step(self, seconds: float) -> None:
        flow_m3_h = self._flow.step(seconds, 120)
        there, back = self._there.step(seconds, 900), self._back.step(seconds, 900)
        heat_w = flow_m3_h * max(there - back, 0) * HEAT_WH_PER_M3_K
        hours = seconds / 3600
        self._volume_m3 += flow_m3_h * hours
        self._heat_wh += heat_w * hours
        self._gas_m3 += heat_w / 1e4 * hours
        self.values = {
            "volume_total": math.floor(self._volume_m3 * 1000) / 1000,
            "flow_volume": flow_m3_h,
            "energy_heat_total": float(math.floor(self._heat_wh)),
            "power_heat": heat_w,
            "temperature_flow": there,
            "temperature_return": back,
            "temperature": self._room.step(seconds, 900),
            "volume_gas_total": math.floor(self._gas_m3 * 1000) / 1000,
        }


def _turned(length: float, phase: int) -> complex:
    """The phasor of a phase, a third of a turn behind the one before."""
    angle = -2 * math.pi * phase / 3
    return complex(length * math.cos(angle), length * math.sin(angle))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

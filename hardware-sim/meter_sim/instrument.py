"""A meter: takes a load's moments tick by tick, counts energy, and says each measurand in the vocabulary's unit."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from meter_sim.household import Load, Moment, Phase

SECONDS_PER_HOUR = 3600
ACROSS = ((0, 1), (1, 2), (2, 0))


class Instrument:
    """`at(elapsed_s)` gives all measurands as of the last tick; time never goes back. Counters have whole Wh."""

    def __init__(self, load: Load, seed: str, refresh_s: float) -> None:
        self._moments = load.moments(refresh_s)
        self._refresh_s = refresh_s
        self._tick = -1
        self._energy = _first_counters(random.Random(f"{seed}:counters"))
        self._values: Mapping[str, float] = {}

    def at(self, elapsed_s: float) -> Mapping[str, float]:
        tick = int(elapsed_s / self._refresh_s)
        if tick > self._tick:
            while tick > self._tick:
                moment = next(self._moments)
                self._count(moment.phases)
                self._tick += 1
            self._values = _instant(moment) | self._counters()
        return self._values

    def _count(self, phases: Sequence[Phase]) -> None:
        hours = self._refresh_s / SECONDS_PER_HOUR if self._tick >= 0 else 0
        total_w = sum(phase.active_w for phase in phases)
        total_var = sum(phase.reactive_var for phase in phases)
        self._add("active", "total", total_w * hours)
        self._add("reactive", "total", total_var * hours)
        self._energy["energy_apparent_total"] += math.hypot(total_w, total_var) * hours
        for number, phase in enumerate(phases, start=1):
            self._add("active", f"l{number}", phase.active_w * hours)

    def _add(self, kind: str, where: str, amount: float) -> None:
        way = "import" if amount >= 0 else "export"
        self._energy[f"energy_{kind}_{way}_{where}"] += abs(amount)

    def _counters(self) -> dict[str, float]:
        whole: dict[str, float] = {name: float(math.floor(value)) for name, value in self._energy.items()}
        for kind in ("active", "reactive"):
            bought, sold = whole[f"energy_{kind}_import_total"], whole[f"energy_{kind}_export_total"]
            whole[f"energy_{kind}_sum_total"] = bought + sold
        bought, sold = whole["energy_active_import_total"], whole["energy_active_export_total"]
        return whole | {
            "energy_active_net_total": bought - sold,
            "energy_active_import_tariff1": bought,
            "energy_active_import_tariff2": 0.0,
            "energy_active_export_tariff1": sold,
            "energy_active_export_tariff2": 0.0,
        }


def _first_counters(dice: random.Random) -> dict[str, float]:
    """The meter has hung there for a while."""
    phases = {f"energy_active_import_l{number}": dice.uniform(2e5, 2e6) for number in (1, 2, 3)}
    active = sum(phases.values())
    return phases | {
        "energy_active_import_total": active,
        "energy_reactive_import_total": active * 0.2,
        "energy_reactive_export_total": active * 0.1,
        "energy_apparent_total": active * 1.1,
        "energy_active_export_total": 0.0,
        **{f"energy_active_export_l{number}": 0.0 for number in (1, 2, 3)},
    }


def _instant(moment: Moment) -> dict[str, float]:
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
    if len(phases) == len(ACROSS):
        lines = [abs(_turned(volts[left], left) - _turned(volts[right], right)) for left, right in ACROSS]
        names = [f"voltage_l{left + 1}_l{right + 1}" for left, right in ACROSS]
        values |= dict(zip(names, lines, strict=True)) | {"voltage_ll_avg": _mean(lines)}
    return values


def _turned(length: float, phase: int) -> complex:
    """The phasor of a phase, a third of a turn behind the one before."""
    angle = -2 * math.pi * phase / 3
    return complex(length * math.cos(angle), length * math.sin(angle))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

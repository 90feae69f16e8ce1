"""A meter: takes a load's moments tick by tick, counts energy, and says each measurand in the vocabulary's unit."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from meter_sim.world.household import Load, Moment, Phase
from meter_sim.world.quantities import Building, beside, instant

SECONDS_PER_HOUR = 3600
DEMAND_S = 900
WHERE = ("total", "l1", "l2", "l3")
KINDS = ("active", "reactive")
RESET_SHARE = 0.9  # somebody has set the resettable counters to 0 when this much had been counted


class Instrument:
    """`at(elapsed_s)` gives all measurands as of the last tick; time never goes back. Counters have whole Wh."""

    def __init__(self, load: Load, seed: str, refresh_s: float) -> None:
        self._moments = load.moments(refresh_s)
        self._refresh_s = refresh_s
        self._tick = -1
        self._energy = _first_counters(random.Random(f"{seed}:counters"))
        self._reset_at = {name: math.floor(RESET_SHARE * value) for name, value in self._energy.items()}
        self._building = Building(random.Random(f"{seed}:building"))
        self._demand_w = 0.0
        self._values: Mapping[str, float] = {}

    def at(self, elapsed_s: float) -> Mapping[str, float]:
        tick = int(elapsed_s / self._refresh_s)
        if tick > self._tick:
            while tick > self._tick:
                moment = next(self._moments)
                self._count(moment.phases)
                self._tick += 1
            self._values = self._told(moment)
        return self._values

    def _count(self, phases: Sequence[Phase]) -> None:
        seconds = self._refresh_s if self._tick >= 0 else 0
        hours = seconds / SECONDS_PER_HOUR
        total_w = sum(phase.active_w for phase in phases)
        total_var = sum(phase.reactive_var for phase in phases)
        self._add("active", "total", total_w * hours)
        self._add("reactive", "total", total_var * hours)
        apparent = math.hypot(total_w, total_var) * hours
        self._energy["energy_apparent_total"] += apparent
        self._energy[f"energy_apparent_{'import' if total_w >= 0 else 'export'}_total"] += apparent
        for number, phase in enumerate(phases, start=1):
            self._add("active", f"l{number}", phase.active_w * hours)
            self._add("reactive", f"l{number}", phase.reactive_var * hours)
        self._demand_w += (total_w - self._demand_w) * (min(seconds / DEMAND_S, 1) if self._tick >= 0 else 1)
        self._building.step(seconds)

    def _add(self, kind: str, where: str, amount: float) -> None:
        way = "import" if amount >= 0 else "export"
        self._energy[f"energy_{kind}_{way}_{where}"] += abs(amount)

    def _told(self, moment: Moment) -> dict[str, float]:
        values = instant(moment)
        rest = {"power_active_demand": self._demand_w, **self._counters(), **self._building.values}
        return values | beside(values) | rest

    def _counters(self) -> dict[str, float]:
        whole: dict[str, float] = {name: float(math.floor(value)) for name, value in self._energy.items()}
        for kind in KINDS:
            for where in WHERE:
                bought, sold = whole[f"energy_{kind}_import_{where}"], whole[f"energy_{kind}_export_{where}"]
                whole[f"energy_{kind}_sum_{where}"] = bought + sold
        bought, sold = whole["energy_active_import_total"], whole["energy_active_export_total"]
        since = [
            whole[name] - self._reset_at[name] for name in ("energy_active_import_total", "energy_active_export_total")
        ]
        return whole | {
            "energy_active_net_total": bought - sold,
            "energy_active_import_tariff1": bought,
            "energy_active_import_tariff2": 0.0,
            "energy_active_export_tariff1": sold,
            "energy_active_export_tariff2": 0.0,
            "energy_active_import_total_f32": bought,
            "energy_active_export_total_f32": sold,
            "energy_active_import_resettable": since[0],
            "energy_active_export_resettable": since[1],
            "energy_active_sum_resettable": sum(since),
        }


def _first_counters(dice: random.Random) -> dict[str, float]:
    """The meter has hung there for a while."""
    phases = {f"energy_active_import_l{number}": dice.uniform(2e5, 2e6) for number in (1, 2, 3)}
    active = sum(phases.values())
    reactive = {
        name.replace("_active_import_", f"_reactive_{way}_"): value * share
        for name, value in phases.items()
        for way, share in (("import", 0.2), ("export", 0.1))
    }
    return {
        **phases,
        **reactive,
        "energy_active_import_total": active,
        "energy_reactive_import_total": active * 0.2,
        "energy_reactive_export_total": active * 0.1,
        "energy_apparent_total": active * 1.1,
        "energy_apparent_import_total": active * 1.1,
        "energy_apparent_export_total": 0.0,
        "energy_active_export_total": 0.0,
        **{f"energy_active_export_l{number}": 0.0 for number in (1, 2, 3)},
    }

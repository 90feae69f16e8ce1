"""What flows through a meter: a made-up household, or a recorded one. Deterministic from seed and number of ticks."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase at one moment. `current_a` None means that it follows from voltage and powers."""

    voltage_v: float
    active_w: float
    reactive_var: float
    current_a: float | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """All phases at one moment, and the grid's frequency."""

    phases: tuple[Phase, ...]
    frequency_hz: float


class Load(Protocol):
    """A sequence of moments, one per tick of `step_s` seconds; endless."""

    def moments(self, step_s: float) -> Iterator[Moment]: ...


class Wander:
    """A value that strays around its mean and comes back (Ornstein-Uhlenbeck), kept within bounds."""

    def __init__(self, dice: random.Random, mean: float, spread: float, bounds: tuple[float, float]) -> None:
        self._dice = dice
        self._mean = mean
        self._spread = spread
        self._low, self._high = bounds
        self.value = min(max(dice.gauss(mean, spread / 2), self._low), self._high)

    def step(self, seconds: float, settle_s: float) -> float:
        pull = min(seconds / settle_s, 1)
        kick = self._spread * (2 * pull) ** 0.5
        value = self.value + pull * (self._mean - self.value) + self._dice.gauss(0, kick)
        self.value = min(max(value, self._low), self._high)
        return self.value


@dataclass(slots=True)
class Appliance:
    """On for a while, off for a while. Off times are drawn at random around `off_s`, on times vary by a fifth."""

    dice: random.Random
    active_w: float
    power_factor: float
    on_s: float
    off_s: float
    left_s: float = 0
    running: bool = False
    duty_s: float = 0  # where above 0: a thermostat that switches within the on time, as an oven's does

    def __post_init__(self) -> None:
        self.running = self.dice.random() < self.on_s / (self.on_s + self.off_s)
        self.left_s = self.dice.uniform(0, self.on_s if self.running else self.off_s)

    def step(self, seconds: float) -> tuple[float, float]:
        """Active and reactive power."""
        self.left_s -= seconds
        if self.left_s <= 0:
            self.running = not self.running
            self.left_s = self.dice.uniform(0.8, 1.2) * self.on_s if self.running else self._idle_s()
        heating = self.duty_s <= 0 or self.left_s % (2 * self.duty_s) < self.duty_s
        active_w = self.active_w * self.dice.gauss(1, 0.01) if self.running and heating else 0.0
        return active_w, active_w * (self.power_factor**-2 - 1) ** 0.5

    def _idle_s(self) -> float:
        return min(self.dice.expovariate(1 / self.off_s), 4 * self.off_s) + 10


class Household:
    """Base load, fridge, kettle, oven, washing machine, lights; voltage 225-240 V, frequency 49.95-50.05 Hz."""

    def __init__(self, seed: str, phases: int) -> None:
        self._seed = seed
        self._phases = phases

    def moments(self, step_s: float) -> Iterator[Moment]:
        dice = random.Random(self._seed)
        frequency = Wander(dice, 50.0, 0.012, (49.95, 50.05))
        voltages = [Wander(dice, dice.uniform(229, 235), 1.5, (225, 240)) for _ in range(self._phases)]
        bases = [Wander(dice, dice.uniform(40, 150), 12, (15, 400)) for _ in range(self._phases)]
        capacitive = [Wander(dice, 0.25, 0.03, (0.1, 0.4)) for _ in range(self._phases)]
        appliances = self._appliances(dice)
        while True:
            active_w = [base.step(step_s, 120) + dice.gauss(0, 0.6) for base in bases]
            reactive_var = [  # switched power supplies look capacitive
                -share.step(step_s, 60) * watts for share, watts in zip(capacitive, active_w, strict=True)
            ]
            for phase, appliance in appliances:
                watts, vars_ = appliance.step(step_s)
                active_w[phase] += watts
                reactive_var[phase] += vars_
            yield Moment(
                tuple(
                    Phase(voltage.step(step_s, 300) + dice.gauss(0, 0.05) - watts * 0.0005, watts, vars_)
                    for voltage, watts, vars_ in zip(voltages, active_w, reactive_var, strict=True)
                ),
                frequency.step(step_s, 30),
            )

    def _appliances(self, dice: random.Random) -> list[tuple[int, Appliance]]:
        """Each with the phase that it hangs on."""
        return [
            (0, Appliance(dice, dice.uniform(85, 120), 0.68, 1200, 1500)),  # fridge
            (1 % self._phases, Appliance(dice, dice.uniform(1800, 2200), 1.0, 150, 900)),  # kettle
            (1 % self._phases, Appliance(dice, 60, 0.9, 3000, 2000)),  # lights
            (2 % self._phases, Appliance(dice, 2300, 1.0, 2400, 9000, duty_s=35)),  # oven
            (2 % self._phases, Appliance(dice, 1900, 0.98, 4200, 12000, duty_s=240)),  # washing machine
            (0, Appliance(dice, 140, 0.95, 5400, 4000)),  # television
        ]


class RecordedLoad:
    """A CSV of a real household, repeated for ever; three-phase meters get a third of it on each phase.

    Columns: a time first (ISO 8601), `power_active_w` or `main_w`, and where known `power_reactive_var`, `voltage_v`,
    `current_a`. An empty cell repeats the one before it.
    """

    def __init__(self, path: Path, seed: str, phases: int) -> None:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self._step_s = _row_step_s(rows, path)
        power = "power_active_w" if "power_active_w" in rows[0] else "main_w"
        if power not in rows[0]:
            raise ValueError(f"{path}: no column power_active_w or main_w")
        self._active_w = _column(rows, power, 0)
        self._reactive_var = _column(rows, "power_reactive_var", 0)
        self._voltage_v = _column(rows, "voltage_v", None)
        self._current_a = _column(rows, "current_a", None)
        self._seed = seed
        self._phases = phases

    def moments(self, step_s: float) -> Iterator[Moment]:
        dice = random.Random(self._seed)
        frequency = Wander(dice, 50.0, 0.012, (49.95, 50.05))
        voltage = Wander(dice, 232, 1.5, (225, 240))
        tick = 0
        while True:
            row = int(tick * step_s / self._step_s) % len(self._active_w)
            made_up_v = voltage.step(step_s, 300)
            volts = self._voltage_v[row]
            amperes = self._current_a[row]
            phase = Phase(
                made_up_v if volts is None else volts,
                (self._active_w[row] or 0) / self._phases,
                (self._reactive_var[row] or 0) / self._phases,
                None if amperes is None else amperes / self._phases,
            )
            yield Moment((phase,) * self._phases, frequency.step(step_s, 30))
            tick += 1


def _row_step_s(rows: Sequence[dict[str, str]], path: Path) -> float:
    times = [datetime.fromisoformat(next(iter(row.values()))) for row in rows[:2]]
    for earlier, later in pairwise(times):
        if later > earlier:
            return (later - earlier).total_seconds()
    raise ValueError(f"{path}: needs at least two rows with rising times in the first column")


def _column(rows: Sequence[dict[str, str]], name: str, start: float | None) -> list[float | None]:
    values = []
    last = start
    for row in rows:
        text = row.get(name)
        last = float(text) if text else last
        values.append(last)
    return values

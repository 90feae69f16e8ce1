"""What may hang behind a meter beside a household: a solar plant, a plant room, nothing at all."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping

from meter_sim.world.household import Appliance, Household, Load, Moment, Phase, Wander

SUNRISE_H, SUNSET_H = 5.5, 20.5
FIRST_HOUR = 11.0  # the day begins late enough for the sun to shine at once
PEAK_W = 5200.0
STANDBY_W = 4.0


class Solar:
    """The meter of a solar plant: power below zero while the sun shines, some watts of standby at night.

    A day from sunrise to sunset, passing clouds, and a plant that feeds in at a power factor of nearly 1.
    """

    def __init__(self, seed: str, phases: int, first_hour: float = FIRST_HOUR) -> None:
        self._seed = seed
        self._phases = phases
        self._first_hour = first_hour

    def moments(self, step_s: float) -> Iterator[Moment]:
        dice = random.Random(f"{self._seed}:solar")
        frequency = Wander(dice, 50.0, 0.012, (49.95, 50.05))
        voltages = [Wander(dice, dice.uniform(231, 236), 1.2, (226, 244)) for _ in range(self._phases)]
        sky = Wander(dice, 0.75, 0.3, (0.1, 1.0))
        tick = 0
        while True:
            hour = (self._first_hour + tick * step_s / 3600) % 24
            made_w = PEAK_W * sun(hour) * sky.step(step_s, 240)
            active_w = (STANDBY_W - made_w * dice.gauss(1, 0.003)) / self._phases
            reactive_var = -0.02 * made_w / self._phases - 3.0
            yield Moment(
                tuple(
                    Phase(voltage.step(step_s, 300) - active_w * 0.0005, active_w, reactive_var) for voltage in voltages
                ),
                frequency.step(step_s, 30),
            )
            tick += 1


def sun(hour: float) -> float:
    """0 at night, 1 at noon."""
    return max(math.sin(math.pi * (hour - SUNRISE_H) / (SUNSET_H - SUNRISE_H)), 0.0) if hour < SUNSET_H else 0.0


class PlantRoom:
    """Three-phase motors: pumps, a heat pump, a lift; the phases are alike but not the same, and inductive."""

    def __init__(self, seed: str, phases: int) -> None:
        self._seed = seed
        self._phases = phases

    def moments(self, step_s: float) -> Iterator[Moment]:
        dice = random.Random(f"{self._seed}:plant")
        frequency = Wander(dice, 50.0, 0.012, (49.95, 50.05))
        voltages = [Wander(dice, dice.uniform(229, 234), 1.5, (222, 240)) for _ in range(self._phases)]
        shares = [dice.uniform(0.95, 1.05) / self._phases for _ in range(self._phases)]
        base = Wander(dice, 420, 30, (250, 900))
        motors = [
            Appliance(dice, 1500, 0.82, 1800, 600),  # circulation pump
            Appliance(dice, 6200, 0.87, 2400, 2400),  # heat pump
            Appliance(dice, 8800, 0.79, 25, 300),  # lift
            Appliance(dice, 3000, 0.85, 900, 1500),  # ventilation
        ]
        while True:
            powers = [motor.step(step_s) for motor in motors]
            active_w = base.step(step_s, 200) + sum(watts for watts, _ in powers)
            reactive_var = 90 + sum(vars_ for _, vars_ in powers)
            yield Moment(
                tuple(
                    Phase(voltage.step(step_s, 300) - active_w * share * 0.0005, active_w * share, reactive_var * share)
                    for voltage, share in zip(voltages, shares, strict=True)
                ),
                frequency.step(step_s, 30),
            )


class Idle:
    """Voltage and nothing else, as in an empty apartment: powers and currents 0, counters that stand still."""

    def __init__(self, seed: str, phases: int) -> None:
        self._seed = seed
        self._phases = phases

    def moments(self, step_s: float) -> Iterator[Moment]:
        dice = random.Random(f"{self._seed}:idle")
        frequency = Wander(dice, 50.0, 0.012, (49.95, 50.05))
        voltages = [Wander(dice, dice.uniform(229, 235), 1.5, (225, 240)) for _ in range(self._phases)]
        while True:
            phases = tuple(Phase(voltage.step(step_s, 300), 0.0, 0.0) for voltage in voltages)
            yield Moment(phases, frequency.step(step_s, 30))


SCENARIOS: Mapping[str, Callable[[str, int], Load]] = {
    "household": Household,
    "pv": Solar,
    "three-phase": PlantRoom,
    "idle": Idle,
}

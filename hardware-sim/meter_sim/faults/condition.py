"""What is wrong with a meter itself: stuck, all zeros, reset, about to roll over, or another one in its place. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping

from meter_sim.faults.schedule import Fault
from wire.measurand import BY_NAME

SHORT_OF_WRAP = 20.0  # of the counter's unit: a household passes it within minutes
COUNTER_MAX = 5e6


class Condition:
    """Between an instrument and the registers. `wraps` has, for counters, the value at which they are 0 again."""

    def __init__(self, seed: str, wraps: Mapping[str, float] | None = None) -> None:
        self._seed = seed
        self._wraps = wraps or {}
        self._swaps = 0
        self._offsets: dict[str, float] = {}
        self._stuck_until_s = self._zeros_until_s = float("-inf")
        self._frozen: Mapping[str, float] = {}

    @property
    def serial_number(self) -> int:
        """Eight digits; another one after each swap."""
        return random.Random(f"{self._seed}:serial:{self._swaps}").randrange(10_000_000, 100_000_000)

    def apply(self, fault: Fault, values: Mapping[str, float], now_s: float) -> None:
        """Let `fault` begin while the instrument says `values`. One that lasts is prolonged by another of its kind."""
        counters = {name: value for name, value in values.items() if is_counter(name)}
        match fault.kind:
            case "stuck":
                if now_s >= self._stuck_until_s:
                    self._frozen = self._shown(values)
                self._stuck_until_s = now_s + fault.time_s
            case "zeros":
                self._zeros_until_s = now_s + fault.time_s
            case "reset":
                self._offsets = {name: -value for name, value in counters.items()}
            case "rollover":
                ends = {name: end - SHORT_OF_WRAP for name, end in self._wraps.items() if name in counters}
                self._offsets |= {name: end - counters[name] for name, end in ends.items()}
            case "swap":
                self._swaps += 1
                dice = random.Random(f"{self._seed}:swap:{self._swaps}")
                self._offsets = {name: dice.randrange(int(COUNTER_MAX)) - value for name, value in counters.items()}

    def look(self, values: Mapping[str, float], now_s: float) -> Mapping[str, float]:
        """What the meter shows where the instrument says `values`."""
        return self._frozen if now_s < self._stuck_until_s else self._shown(values)

    def healthy(self, values: Mapping[str, float]) -> Mapping[str, float]:
        """What it would show if it were not stuck."""
        return self._shown(values)

    def lasting(self, now_s: float) -> tuple[str, ...]:
        """The faults that last at this moment."""
        spells = (("stuck", self._stuck_until_s), ("zeros", self._zeros_until_s))
        return tuple(kind for kind, until_s in spells if now_s < until_s)

    def _shown(self, values: Mapping[str, float]) -> Mapping[str, float]:
        shown = dict(values)
        for name, offset in self._offsets.items():
            shown[name] += offset
        for name, end in self._wraps.items():
            if name in shown:
                shown[name] %= end
        return shown


def is_counter(name: str) -> bool:
    """Whether the vocabulary calls `name` a counter."""
    measurand = BY_NAME.get(name)
    return measurand is not None and measurand.kind == "counter"

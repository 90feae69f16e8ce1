"""What a value of a measurand can be at all: from the meter's rating to bounds in steps of a column.

Wide on purpose: what lies outside is no unusual load but not true. Sources of the numbers: the profile's rating, else
`CURRENT_UNKNOWN_A`, which no meter of a building reaches, and which still finds a register misread by a power of ten
or two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import inf

from agent.core.time_units import HOUR_MS
from wire.batch import Column
from wire.measurand import BY_NAME

CURRENT_UNKNOWN_A = 10_000.0
TRANSFORMED_MIN_V, TRANSFORMED_MAX_V = 1_000.0, 400_000.0  # what voltage transformers are for
VOLUME_MAX_M3_PER_H = 1_000.0
INSTANT_MARGIN = 2.0  # a motor's start is several times the load that the line can carry for long
ENERGY_MARGIN = 1.2
STEPS_ROUNDED = 2  # of the meter, between two rounded values
PHASES = 3
LINE_TO_LINE = PHASES**0.5
DEAD_SHARE = 1 / 8  # of the lowest voltage: what a phase that is not connected may pick up
POWER_FACTOR_MAX = 1.005
ANGLE_MAX_DEG = 360.5
ENERGY_UNITS = frozenset({"Wh", "varh", "VAh"})
_ONE_PHASE = re.compile(r"_l[123](_f32)?$")


@dataclass(frozen=True, slots=True)
class Ratings:
    """The meter as it is installed, on the primary side: what its profile and the configuration say.

    `phases` is 1 only where the meter surely has no more. `rollover`: where a counter is 0 again, in the unit of the
    vocabulary. `factor`: of the transformers, by which one step of the meter's own counters grows. `vt_unknown`: only
    the meter knows whether it has a voltage transformer, and its ratio.
    """

    current_max_a: float | None = None
    voltage_range_v: tuple[float, float] = (80, 300)
    frequency_range_hz: tuple[float, float] = (45, 65)
    phases: int = 3
    factor: float = 1
    rollover: Mapping[str, Fraction] = field(default_factory=dict)
    vt_unknown: bool = False

    @property
    def power_max(self) -> float:
        """W, var or VA of one phase."""
        return (self.current_max_a or CURRENT_UNKNOWN_A) * self.voltage_range_v[1]

    def transformed(self) -> Ratings:
        """The same behind a voltage transformer of which nothing is known."""
        return replace(self, voltage_range_v=(self.voltage_range_v[0], TRANSFORMED_MAX_V), vt_unknown=False)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Inclusive, in steps. `dead`, of a voltage: as much may be read where the phase is not connected."""

    low: float = -inf
    high: float = inf
    dead: float = 0


@dataclass(frozen=True, slots=True)
class CounterBounds:
    """How fast a counter can grow: `slack` steps and `rate` steps per ms; at `modulus` it is 0 again.

    `both_ways`: it can fall as fast, as import less export does.
    """

    rate: float
    slack: int
    modulus: int | None
    both_ways: bool = False


def is_counter(column: Column) -> bool:
    """Whether the value follows from the one before it: a counter, or energy that is counted both ways."""
    known = BY_NAME.get(column.measurand)
    return known is not None and (known.kind == "counter" or known.unit in ENERGY_UNITS)


def bounds(column: Column, ratings: Ratings) -> Bounds:
    """Of any column; those without a known limit have none."""
    known = BY_NAME.get(column.measurand)
    if known is None:
        return Bounds()
    step = float(column.resolution.step)
    if known.kind == "counter":
        modulus = _modulus(column, ratings)
        return Bounds(0, inf if modulus is None else modulus)
    low, high = _range(known.name, known.unit, ratings)
    return Bounds(low / step, high / step, low * DEAD_SHARE / step if known.unit == "V" else 0)


def _range(name: str, unit: str, ratings: Ratings) -> tuple[float, float]:
    """In the unit of the vocabulary."""
    phases = 1 if _ONE_PHASE.search(name) or name.endswith(("_avg", "_n")) else ratings.phases
    if unit == "V":
        low, high = ratings.voltage_range_v
        low /= PHASES if name.endswith("_avg") else 1  # two phases may not be connected
        return low, high * (1 if name.endswith("_n") or "_ln_" in name else LINE_TO_LINE)
    if unit == "Hz":
        return ratings.frequency_range_hz
    if name.startswith("power_factor"):
        return -POWER_FACTOR_MAX, POWER_FACTOR_MAX
    most = {
        "deg": ANGLE_MAX_DEG,
        "A": (ratings.current_max_a or CURRENT_UNKNOWN_A) * phases * INSTANT_MARGIN,
        **dict.fromkeys(("W", "var", "VA"), ratings.power_max * phases * INSTANT_MARGIN),
    }.get(unit, inf)
    return -most, most


def counter_bounds(column: Column, ratings: Ratings) -> CounterBounds:
    """Of a counter: with the highest current at the highest voltage on all its phases, and some margin."""
    known = BY_NAME[column.measurand]
    phases = 1 if _ONE_PHASE.search(known.name) else ratings.phases
    per_h = VOLUME_MAX_M3_PER_H if known.unit == "m3" else ratings.power_max * phases * ENERGY_MARGIN
    rate = per_h / HOUR_MS / float(column.resolution.step)
    slack = STEPS_ROUNDED * max(1, round(ratings.factor))
    return CounterBounds(rate, slack, _modulus(column, ratings), both_ways=known.kind != "counter")


def _modulus(column: Column, ratings: Ratings) -> int | None:
    rollover = ratings.rollover.get(column.measurand)
    return None if rollover is None else round(rollover / Fraction(column.resolution.step))

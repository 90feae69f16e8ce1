"""Values of one reading that must agree: voltages between phases, powers of phases and total, apparent power. Pure.

Wide on purpose, as `agent.core.truth.bounds` is: meters are of class 1 or 2, and the load may change while they measure
one value after another. A phase that is not connected, or not there, breaks nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from operator import itemgetter, mul
from typing import Any

from agent.core.truth.bounds import DEAD_SHARE, Ratings
from agent.core.truth.plausibility_events import Origins
from drivers.meter import RawBlock
from wire.batch import Column

ACCURACY = 0.05  # class 2 twice, and rounding
VOLTAGE_MARGIN = 0.1
SLACK = 25.0  # W, var or VA on the secondary side: the coarsest digits of meters, and what they do not count
DISTORTION = 3.0  # apparent power by active and reactive power: loads with harmonics have up to 2
DISTORTION_SLACK = 500.0
READINGS = 3  # in which values that were read one after another must contradict, since a load may come in between
AVERAGE_MIN = 0.3  # of the lowest voltage: two of three voltages between phases may be missing from an average

Judge = Callable[[Sequence[float]], bool]
NOTHING: Mapping[int, str] = {}


@dataclass(slots=True)
class Relation:
    """`holds` is asked with the values of `columns`; where it does not, `accused` of them cannot be true."""

    columns: tuple[int, ...]
    pick: Callable[[Sequence[int | None]], tuple[Any, ...]]
    steps: tuple[float, ...]
    accused: tuple[int, ...]
    holds: Judge
    changes: bool  # with the load, so that values of different answers may differ for a moment
    broken: int = 0


class Relations:
    """Those between the columns of one meter."""

    def __init__(self, columns: Sequence[Column], ratings: Ratings, origins: Origins) -> None:
        self._columns, self._origins = columns, origins
        self._places = {column.measurand: index for index, column in enumerate(columns)}
        dead_v = ratings.voltage_range_v[0] * DEAD_SHARE
        slack = SLACK * max(1.0, ratings.factor)
        self._relations = [*self._voltages(dead_v), *self._sums(slack), *self._apparent(slack)]

    def __bool__(self) -> bool:
        return bool(self._relations)

    def broken(self, values: Sequence[int | None], words: Sequence[RawBlock]) -> Mapping[int, str]:
        """The columns that cannot be true, and what they contradict."""
        found: dict[int, str] = {}
        for relation in self._relations:
            steps = relation.pick(values)
            if None in steps:
                continue
            numbers = list(map(mul, steps, relation.steps))
            if relation.holds(numbers):
                relation.broken = 0
                continue
            relation.broken += 1
            if not relation.changes or relation.broken >= READINGS or self._is_one_answer(relation, words):
                found |= {index: self._others(relation, index, numbers) for index in relation.accused}
        return found or NOTHING

    def _is_one_answer(self, relation: Relation, words: Sequence[RawBlock]) -> bool:
        """Telegrams always are."""
        blocks = [self._origins.block(index, words) for index in relation.columns]
        return all(block is blocks[0] for block in blocks)

    def _others(self, relation: Relation, accused: int, numbers: Sequence[float]) -> str:
        others = zip(relation.columns, numbers, strict=True)
        return ", ".join(f"{self._columns[i].measurand} = {number:.6g}" for i, number in others if i != accused)

    def _relation(
        self, names: Sequence[str], accused: Sequence[str], holds: Judge, *, changes: bool
    ) -> tuple[Relation, ...]:
        """None where a column is not there."""
        if any(name not in self._places for name in names):
            return ()
        places = tuple(self._places[name] for name in names)
        steps = tuple(float(self._columns[index].resolution.step) for index in places)
        return (
            Relation(
                places,
                itemgetter(*places),
                steps,
                tuple(self._places[name] for name in accused),
                holds,
                changes=changes,
            ),
        )

    def _voltages(self, dead_v: float) -> list[Relation]:
        relations: list[Relation] = []
        for one, other in (("l1", "l2"), ("l2", "l3"), ("l3", "l1")):
            between = f"voltage_{one}_{other}"
            names = (between, f"voltage_{one}_n", f"voltage_{other}_n")
            relations += self._relation(names, (between,), _between(dead_v), changes=False)
        average = "voltage_ll_avg"
        phases = ("voltage_l1_n", "voltage_l2_n", "voltage_l3_n")
        relations += self._relation((average, *phases), (average,), _average(dead_v), changes=False)
        return relations

    def _sums(self, slack: float) -> list[Relation]:
        relations: list[Relation] = []
        for stem in ("power_active", "power_reactive"):
            names = (f"{stem}_total", f"{stem}_l1", f"{stem}_l2", f"{stem}_l3")
            relations += self._relation(names, names, _sum(slack), changes=True)
        return relations

    def _apparent(self, slack: float) -> list[Relation]:
        relations: list[Relation] = []
        for tail in ("total", "l1", "l2", "l3"):
            apparent, active, reactive = (f"power_{kind}_{tail}" for kind in ("apparent", "active", "reactive"))
            judge = _triangle(slack, one_phase=tail != "total")
            relations += self._relation((apparent, active, reactive), (apparent,), judge, changes=True)
            if reactive not in self._places:
                judge = _triangle(slack, one_phase=False)
                relations += self._relation((apparent, active), (apparent,), judge, changes=True)
        return relations


def _between(dead_v: float) -> Judge:
    """Phases are 60 to 180 degrees apart in every grid; of one that is dead nothing follows."""

    def holds(values: Sequence[float]) -> bool:
        between, one, other = values
        if one <= dead_v or other <= dead_v:
            return True
        low = sqrt(one * one + other * other - one * other)
        return low * (1 - VOLTAGE_MARGIN) <= between <= (one + other) * (1 + VOLTAGE_MARGIN)

    return holds


def _average(dead_v: float) -> Judge:
    def holds(values: Sequence[float]) -> bool:
        average, *phases = values
        alive = [phase for phase in phases if phase > dead_v]
        if len(alive) < 2:  # noqa: PLR2004 - there is no voltage between phases
            return True
        return min(alive) * AVERAGE_MIN <= average <= 2 * max(alive) * (1 + VOLTAGE_MARGIN)

    return holds


def _sum(slack: float) -> Judge:
    """Some meters add up what flows whichever way."""

    def holds(values: Sequence[float]) -> bool:
        total, *phases = values
        whole = sum(map(abs, phases))
        return min(abs(total - sum(phases)), abs(abs(total) - whole)) <= ACCURACY * whole + slack

    return holds


def _triangle(slack: float, *, one_phase: bool) -> Judge:
    """Never below what active and reactive power make; far above only in a total, whose phases may cancel out."""

    def holds(values: Sequence[float]) -> bool:
        apparent, *parts = map(abs, values)
        real = hypot(*parts)
        if apparent * (1 + ACCURACY) + slack < real:
            return False
        return not one_phase or apparent <= DISTORTION * real + DISTORTION_SLACK * slack / SLACK

    return holds

"""What the meter served against what the store holds, value by value. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

EARLY_MS = 100  # clocks are read in whole milliseconds, and an answer may be dated just before its slot


@dataclass(frozen=True, slots=True)
class Outage:
    """An interval of UTC in which readings may be missing, because the agent was killed at its end."""

    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Counts of readings. `window` were taken by the kill, within the durability window; `lost` have no excuse."""

    served: int
    stored: int
    lost: int
    duplicate: int
    wrong: int
    window: int
    complaints: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return self.served > 0 and not (self.lost or self.duplicate or self.wrong)

    def __str__(self) -> str:
        counts = f"served {self.served}, stored {self.stored}, lost {self.lost}"
        return f"{counts}, duplicate {self.duplicate}, wrong {self.wrong}"


def compare(
    served: Iterable[Mapping[str, Any]],
    stored: Sequence[Mapping[str, Any]],
    steps: Mapping[str, float],
    interval_ms: int,
    killed: Sequence[Outage] = (),
) -> Comparison:
    """`served` are the simulator's lines, `stored` the store's readings of one meter, `steps` the resolution by name.

    A reading belongs to the slot that it was taken in. A value is right when it is the served one, to half a step.
    """
    answers = _by_slot(served, steps, interval_ms)
    complete = {slot for slot, values in answers.items() if steps.keys() <= values.keys()}
    seen: set[int] = set()
    duplicate = wrong = 0
    complaints: list[str] = []
    for reading in stored:
        slot = _slot(_utc_ms(reading), interval_ms)
        if slot in seen:
            duplicate += 1
            complaints.append(f"twice: {reading['at']} (number {reading['seq']})")
        seen.add(slot)
        fault = _fault(reading["values"], answers.get(slot, {}), steps)
        if fault:
            wrong += 1
            complaints.append(f"wrong: {reading['at']} {fault}")
    missing = sorted(complete - seen)
    excused = [slot for slot in missing if _in_any(slot * interval_ms, interval_ms, killed)]
    complaints += [f"lost: slot {slot * interval_ms} ms" for slot in missing if slot not in excused]
    lost = len(missing) - len(excused)
    return Comparison(len(complete), len(stored), lost, duplicate, wrong, len(excused), tuple(complaints[:20]))


def _by_slot(
    served: Iterable[Mapping[str, Any]], steps: Mapping[str, float], interval_ms: int
) -> dict[int, dict[str, list[float]]]:
    """Slot -> measurand -> the values served in it; several where the agent asked twice."""
    answers: dict[int, dict[str, list[float]]] = {}
    for line in served:
        values = answers.setdefault(_slot(line["t_ms"], interval_ms), {})
        for name, value in line["values"].items():
            if name in steps:
                values.setdefault(name, []).append(value)
    return answers


def _slot(utc_ms: int, interval_ms: int) -> int:
    return (utc_ms + EARLY_MS) // interval_ms


def _utc_ms(reading: Mapping[str, Any]) -> int:
    from datetime import datetime  # noqa: PLC0415 - nothing else here needs it

    return round(datetime.fromisoformat(reading["at"]).timestamp() * 1000)


def _fault(values: Mapping[str, Any], answers: Mapping[str, list[float]], steps: Mapping[str, float]) -> str | None:
    for name, value in values.items():
        served = answers.get(name, [])
        half = steps[name] * 0.5000001
        if not any(value is not None and abs(value - one) <= half for one in served):
            return f"{name} is {value}, served was {served or 'nothing'}"
    return None


def _in_any(slot_ms: int, interval_ms: int, outages: Iterable[Outage]) -> bool:
    return any(outage.from_ms - interval_ms <= slot_ms <= outage.to_ms for outage in outages)

"""Which faults a line has: the small language that says so, and the seeded dice that decide. Pure.

    crc=2%, silence=1%@3, stuck=0.5%:20s, unplug=0.1%:3s

One entry is `KIND[=SHARE][:TIME][@UNIT]`: SHARE of all answers (default: every one), TIME how long a fault that lasts
does, UNIT the one meter that has it. Several may hit the same answer.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from drivers.near_names import near_name

UNIT_MAX = 255  # beyond 247 over TCP alone, as 0
PERCENT = 100
ENTRY = re.compile(r"(?P<kind>[a-z]+)(?:=(?P<share>[^:@]+))?(?::(?P<time>[^@]+))?(?:@(?P<unit>.+))?")
TIME_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
TIME_MAX_S = 86_400.0

WIRE = {
    "silence": "no answer",
    "truncation": "the answer ends too early (TCP: and with it the connection)",
    "crc": "some bits are wrong (TCP: the gateway says exception 11)",
    "unit": "a good answer of another unit",
    "function": "a good answer to another function",
    "count": "a good checksum around more or fewer registers than asked for",
    "exception": "an exception code instead of values",
    "late": "the answer comes only after the next request, before that one's own",
    "slow": "the answer comes up to TIME too late (default 2s)",
    "hole": "the answer pauses in the middle, up to TIME (default 30ms)",
    "lead": "noise bytes before the answer",
    "trail": "noise bytes after the answer",
    "babble": "noise for TIME instead of an answer (default 1s)",
    "echo": "the request comes back before the answer",
}
METER = {
    "stuck": "all registers keep their values for TIME (default 30s)",
    "zeros": "all registers read 0 for TIME (default 10s)",
    "reset": "all counters begin at 0",
    "rollover": "all counters stand shortly before they wrap to 0",
    "swap": "another meter of the model hangs there: serial number and counters differ",
}
LINE = {"unplug": "the adapter is gone for TIME (default 3s): link and terminal, or the TCP port"}
KINDS = {**WIRE, **METER, **LINE}
DEFAULT_TIME_S = {"slow": 2.0, "hole": 0.03, "babble": 1.0, "stuck": 30.0, "zeros": 10.0, "unplug": 3.0}


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of the language. `unit` None means every meter; `time_s` 0 where the kind has no duration."""

    kind: str
    share: float = 1.0
    time_s: float = 0.0
    unit: int | None = None

    def __str__(self) -> str:
        time = f":{self.time_s:g}s" if self.time_s else ""
        return f"{self.kind}={self.share * PERCENT:g}%{time}{'' if self.unit is None else f'@{self.unit}'}"


def parse_faults(text: str) -> tuple[Fault, ...]:
    """The entries of `text`, separated by commas; `ValueError` says which one is wrong and what would be right."""
    return tuple(_fault(entry.strip()) for entry in text.split(",") if entry.strip())


def parse_faults_of(text: str, units: Collection[int]) -> tuple[Fault, ...]:
    """The same for meters with these unit ids; a fault of another one is a `ValueError`, too."""
    faults = parse_faults(text)
    for fault in faults:
        if fault.unit is not None:
            check_unit(f"fault {str(fault)!r}", fault.unit, units)
    return faults


def check_unit(what: str, unit: int, units: Collection[int]) -> None:
    """Raises `ValueError` for a unit id that no meter has."""
    if unit not in units:
        has = "there is unit" if len(units) == 1 else "there are units"
        raise ValueError(f"{what}: no meter has unit {unit}; {has} {', '.join(map(str, sorted(units)))}")


def _fault(entry: str) -> Fault:
    match = ENTRY.fullmatch(entry.replace(" ", ""))
    if match is None:
        raise ValueError(f"fault {entry!r}: expected KIND[=SHARE][:TIME][@UNIT], such as crc=2% or stuck=1%:20s@3")
    kind = match["kind"]
    if kind not in KINDS:
        near = near_name(kind, KINDS)
        guess = "" if near is None else f", did you mean {near}?"
        raise ValueError(f"fault {entry!r}: no kind {kind!r}{guess}; there are {', '.join(KINDS)}")
    if match["time"] and kind not in DEFAULT_TIME_S:
        raise ValueError(f"fault {entry!r}: {kind} has no duration; these have one: {', '.join(DEFAULT_TIME_S)}")
    time_s = parse_time_s(match["time"]) if match["time"] else DEFAULT_TIME_S.get(kind, 0.0)
    return Fault(kind, parse_share(match["share"] or "100%"), time_s, _unit(match["unit"], entry))


def parse_share(text: str) -> float:
    """`2%` or `0.02`; `ValueError` outside 0..1."""
    number = text.removesuffix("%")
    try:
        share = float(number) / (PERCENT if text.endswith("%") else 1)
    except ValueError:
        share = -1
    if not 0 <= share <= 1:
        raise ValueError(f"share {text!r}: expected 0%..100% or 0..1, such as 2%")
    return share


def parse_time_s(text: str) -> float:
    """Seconds of `500ms`, `3s`, `2min`, `1h`; a bare number is seconds."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|min|h)?", text)
    seconds = float(match[1]) * TIME_UNITS[match[2] or "s"] if match else -1
    if not 0 < seconds <= TIME_MAX_S:
        raise ValueError(f"time {text!r}: expected a number above 0 with ms, s, min or h, at most 24h, such as 3s")
    return seconds


def _unit(text: str | None, entry: str) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or int(text) > UNIT_MAX:
        raise ValueError(f"fault {entry!r}: unit {text!r} is not a number of 0..{UNIT_MAX}")
    return int(text)


class Dice:
    """The faults of a line, changeable while it runs. Same seed and same requests, same faults."""

    def __init__(self, faults: Iterable[Fault] = (), seed: str = "1") -> None:
        self.random = random.Random(f"faults:{seed}")
        self._faults: dict[tuple[str, int | None], Fault] = {}
        self.set(faults)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is in force, in the order in which it was said."""
        return tuple(self._faults.values())

    def set(self, faults: Iterable[Fault]) -> None:
        """Add these, in place of those of the same kind and unit; a share of 0 takes one away."""
        for fault in faults:
            key = fault.kind, fault.unit
            self._faults.pop(key, None)
            if fault.share:
                self._faults[key] = fault

    def clear(self) -> None:
        self._faults.clear()

    def draw(self, unit: int) -> tuple[Fault, ...]:
        """The faults of the next answer of `unit`."""
        if not self._faults:
            return ()
        rolled = [(fault, self.random.random()) for fault in self._faults.values()]
        return tuple(fault for fault, number in rolled if number < fault.share and fault.unit in (None, unit))

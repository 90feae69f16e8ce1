"""Which settings and unit ids `wattpost scan` tries, in which order, and how long it takes. Pure.

A request of 8 characters that nobody answers costs its time on the wire and the wait for a first byte. Most meters
begin to answer within 60 ms, so the first pass waits no longer. A later answer is not lost: it carries its unit id, and
is understood while the next unit is asked; what collides is heard as garbage, after which a second pass waits longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from agent.core.metering.addresses import SERIAL_UNIT_MAX
from drivers.profile.model import Parity

REQUEST_CHARACTERS = 8
SILENCE_CHARACTERS = 3.5
WAIT_FACTORY_MS = 120  # for the few likely ones even a slow meter is waited for
WAIT_MS = 60
WAIT_AGAIN_MS = 600
FEW = 24  # questions: waiting for each as in a second pass takes no quarter of a minute
WAIT_TCP_MS = 1_000  # a gateway waits for its meter first
TCP_MISS_MS = (
    300  # about what a gateway takes to say that a unit does not answer; a meter without a line says it at once
)
OPEN_MS = 5
NAIVE_MS = (500, 1_000)  # per setting and id, as tools do that wait for each
NEAR_UNITS = range(1, 17)
ALL_UNITS = range(1, SERIAL_UNIT_MAX + 1)
TCP_FIRST_UNITS = (1, 255, 0)
BAUDRATES = (9600, 19200, 2400, 115200, 4800, 38400, 57600, 1200)
FRAMES: Sequence[tuple[Parity, Literal[1, 2]]] = (("N", 1), ("E", 1), ("O", 1), ("N", 2))


@dataclass(frozen=True, slots=True)
class Setting:
    """How a serial line talks."""

    baudrate: int
    parity: Parity
    stopbits: Literal[1, 2]
    databits: int = 8

    def __str__(self) -> str:
        return f"{self.baudrate} {self.databits}{self.parity}{self.stopbits}"

    @property
    def character_ms(self) -> float:
        return (9 + (self.parity != "N") + self.stopbits) * 1000 / self.baudrate


COMMON = (
    Setting(9600, "N", 1),
    Setting(9600, "E", 1),
    Setting(19200, "E", 1),
    Setting(2400, "N", 1),
    Setting(115200, "N", 1),
)


@dataclass(frozen=True, slots=True)
class ScanStep:
    """Units asked one after another at one setting (None: Modbus TCP), each waited for `wait_ms` after its request."""

    setting: Setting | None
    units: tuple[int, ...]
    wait_ms: int

    @property
    def expected_ms(self) -> float:
        """With nobody answering, which is what most of a scan is."""
        if self.setting is None:
            return len(self.units) * TCP_MISS_MS
        per_unit_ms = (REQUEST_CHARACTERS + SILENCE_CHARACTERS) * self.setting.character_ms + self.wait_ms
        return OPEN_MS + len(self.units) * per_unit_ms


def expected_ms(steps: Iterable[ScanStep]) -> float:
    """How long the steps take together."""
    return sum(step.expected_ms for step in steps)


def naive_ms(steps: Iterable[ScanStep]) -> tuple[float, float]:
    """How long it takes to wait 500 ms or 1 s for each unit at each setting."""
    probes = sum(len(step.units) for step in steps)
    return probes * NAIVE_MS[0], probes * NAIVE_MS[1]


def factory_settings(defaults: Iterable[tuple[str, Setting]]) -> tuple[Setting, ...]:
    """Settings that meters have from the factory, by (vendor, setting): the usual first, then by number of vendors."""
    vendors: dict[Setting, set[str]] = {}
    for vendor, setting in defaults:
        vendors.setdefault(setting, set()).add(vendor)
    others = sorted(
        (setting for setting in vendors if setting not in COMMON),
        key=lambda setting: (-len(vendors[setting]), str(setting)),
    )
    return (*COMMON, *others)


def other_settings(known: Iterable[Setting]) -> tuple[Setting, ...]:
    """All further combinations of usual speeds and frames; parity before a second stop bit."""
    tried = set(known)
    every = (Setting(baudrate, parity, stopbits) for parity, stopbits in FRAMES for baudrate in BAUDRATES)
    return tuple(setting for setting in every if setting not in tried)


def serial_steps(
    factory: Sequence[Setting],
    factory_units: Mapping[Setting, Sequence[int]],
    units: Sequence[int],
    others: Sequence[Setting] = (),
) -> tuple[ScanStep, ...]:
    """Factory units at factory settings first, then low unit ids there, then the rest, then `others` alike.

    Every unit is asked exactly once at each setting. Where there is little to ask, each is waited for long.
    """
    patient = (len(factory) + len(others)) * len(units) <= FEW
    factory_ms, usual_ms = (WAIT_AGAIN_MS, WAIT_AGAIN_MS) if patient else (WAIT_FACTORY_MS, WAIT_MS)
    rounds: list[list[ScanStep]] = [[], [], [], [], []]
    for setting in factory:
        likely = [unit for unit in dict.fromkeys((1, *factory_units.get(setting, ()))) if unit in units]
        near = [unit for unit in units if unit in NEAR_UNITS and unit not in likely]
        far = [unit for unit in units if unit not in NEAR_UNITS and unit not in likely]
        for number, (group, wait_ms) in enumerate(((likely, factory_ms), (near, usual_ms), (far, usual_ms))):
            rounds[number].append(ScanStep(setting, tuple(group), wait_ms))
    for setting in others:
        rounds[3].append(ScanStep(setting, tuple(unit for unit in units if unit in NEAR_UNITS), usual_ms))
        rounds[4].append(ScanStep(setting, tuple(unit for unit in units if unit not in NEAR_UNITS), usual_ms))
    return tuple(step for steps in rounds for step in steps if step.units)


def tcp_steps(units: Sequence[int]) -> tuple[ScanStep, ...]:
    """Unit 1 and the ids that mean the gateway itself first, then the rest."""
    first = tuple(unit for unit in TCP_FIRST_UNITS if unit in units)
    rest = tuple(unit for unit in units if unit not in TCP_FIRST_UNITS)
    return tuple(ScanStep(None, group, WAIT_TCP_MS) for group in (first, rest) if group)


def narrowed(steps: Sequence[ScanStep], setting: Setting | None) -> tuple[ScanStep, ...]:
    """What is left once a meter answered: all meters of a line have its settings."""
    return tuple(step for step in steps if step.setting == setting)


def promoted(steps: Sequence[ScanStep], setting: Setting) -> tuple[ScanStep, ...]:
    """Somebody was heard at `setting` and not understood: the same speed with other frames comes first."""
    near = [step for step in steps if step.setting is not None and step.setting.baudrate == setting.baudrate]
    return (*near, *(step for step in steps if step not in near))


def again(step: ScanStep, unit: int) -> ScanStep:
    """The second pass after `unit` was asked and garbage was heard: it or one of those before it answers slowly."""
    at = step.units.index(unit)
    return replace(step, units=step.units[max(0, at - 2) : at + 1], wait_ms=WAIT_AGAIN_MS)


def parse_units(text: str) -> tuple[int, ...]:
    """`1-10,126` as numbers of 0 to 255, each once; `ValueError` says what is wrong."""
    units: dict[int, None] = {}
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{part.strip()!r} is no unit id and no range such as 1-10")
        low, high = int(first), int(last) if dash else int(first)
        if low > high or high > 255:  # noqa: PLR2004 - the largest byte
            raise ValueError(f"{part.strip()!r} is not within 0-255, or ends before it begins")
        units.update(dict.fromkeys(range(low, high + 1)))
    return tuple(units)

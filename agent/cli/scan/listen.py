"""Recognise meters that send unasked: listen with each such profile for as long as its telegrams may take."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

from agent.core.metering.scan_plan import Setting
from drivers.building import BuiltMeter, build_line, build_meter
from drivers.meter import MeterError, Sample
from drivers.modbus.identify import Identified, ModelCandidate
from drivers.profile.model import Profile
from drivers.telegrams.push import PushLine

RECOGNISED = 0.9
BRIEF_MS = 2_500  # most send every second or two; those that send every ten seconds are tried after them
USUAL = ("dsmr-p1", "sml", "dlms-hdlc")  # the likelier ones first
HeardMeter = tuple[Setting, Identified]


def talkers(profiles: Iterable[Profile]) -> list[list[Profile]]:
    """The profiles of meters that send unasked, grouped by the line settings to listen at."""
    groups: dict[tuple[object, ...], list[Profile]] = {}
    for profile in profiles:
        if profile.protocol != "modbus" and isinstance(build_line(profile, "scan", "/dev/null"), PushLine):
            serial = profile.serial
            key = profile.protocol, serial.baudrate, serial.parity, serial.stopbits, serial.databits
            groups.setdefault(key, []).append(profile)
    return sorted(groups.values(), key=_how_unusual)


def _how_unusual(group: Sequence[Profile]) -> tuple[int, int]:
    """Seven data bits are for old meters."""
    protocol = group[0].protocol
    return 8 - group[0].serial.databits, USUAL.index(protocol) if protocol in USUAL else len(USUAL)


def setting_of(profile: Profile) -> Setting:
    """The line settings of its meters."""
    serial = profile.serial
    return Setting(serial.baudrate, serial.parity, 2 if serial.stopbits > 1 else 1, serial.databits)


async def recognise(port: str, group: Sequence[Profile], *, briefly: bool = False) -> Identified | None:
    """Listen for one telegram at the settings of the group, for as long as it may take, or `briefly`.

    Returns None if none arrives. Raises `MeterError` if the port cannot be opened.
    """
    line = build_line(group[0], "scan", port)
    meters = [build_meter(line, profile.serial.unit, profile, profile.model) for profile in group]
    try:
        read = await asyncio.gather(*(_read(meter, BRIEF_MS if briefly else meter.read_max_ms) for meter in meters))
        best = sorted(
            ((meter, sample) for meter, sample in zip(meters, read, strict=True) if sample is not None),
            key=lambda pair: -_known(pair[1]),
        )
        return await _identified(best) if best else None
    finally:
        await line.close()


async def _read(meter: BuiltMeter, budget_ms: int) -> Sample | None:
    try:
        return await meter.read(budget_ms)
    except MeterError as error:
        if error.reason.startswith("line_"):
            raise
        return None


def _known(sample: Sample) -> int:
    return sum(value is not None for value in sample.values)


async def _identified(best: Sequence[tuple[BuiltMeter, Sample]]) -> Identified:
    meter, sample = best[0]
    said: dict[str, str] = {}
    with suppress(MeterError):
        said = dict(await meter.identify(1_000))
    values = {
        column.measurand: float(steps * column.resolution.step)
        for column, steps in zip(meter.columns, sample.values, strict=True)
        if steps is not None
    }
    equal = [one for one, other in best if _known(other) == _known(sample)]
    decided = f"a whole telegram with {_known(sample)} of its values"
    candidates = tuple(
        ModelCandidate(one.profile.model, one.profile.vendor, round(RECOGNISED / len(equal), 2), decided)
        for one in equal
    )
    return Identified(candidates, said.get("serial_number", ""), values=values)

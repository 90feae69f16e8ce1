"""From a profile to the line and the meter of its protocol; a protocol's modules are imported when it is first used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from drivers.line_modes import Rs485
from drivers.meter import Meter
from drivers.profile.model import Parity, Profile

if TYPE_CHECKING:
    from drivers.modbus.line import ModbusLine
    from drivers.telegrams.stream_line import StreamLine

MODBUS = "modbus"


class Line(Protocol):
    """What all lines have in common."""

    @property
    def name(self) -> str: ...
    @property
    def port(self) -> str: ...
    @property
    def settings(self) -> str: ...
    async def close(self) -> None: ...


class BuiltMeter(Meter, Protocol):
    """A meter with what it was built of."""

    @property
    def line(self) -> Line: ...
    @property
    def profile(self) -> Profile: ...
    @property
    def unit(self) -> int: ...


@runtime_checkable
class HasOrigin(Protocol):
    """A meter with telegrams knows under which code a value came, and what was sent."""

    def origin(self, measurand: str) -> tuple[str, str]: ...


def build_line(
    profile: Profile,
    name: str,
    port: str,
    baudrate: int | None = None,
    parity: Parity | None = None,
    stopbits: int | None = None,
    rs485: Rs485 = "auto",
) -> Line:
    """The line for meters of the profile's protocol. None means what the profile says; `rs485` is for Modbus alone."""
    serial = replace(
        profile.serial,
        baudrate=baudrate or profile.serial.baudrate,
        parity=parity or profile.serial.parity,
        stopbits=stopbits or profile.serial.stopbits,
    )
    if profile.protocol == MODBUS:
        from drivers.modbus.line import ModbusLine  # noqa: PLC0415 - only where there is one

        return ModbusLine(name, port, serial.baudrate, serial.parity, serial.stopbits, rs485)
    from drivers.telegrams.protocols import telegram_line  # noqa: PLC0415

    return telegram_line(name, port, serial, profile)


def build_meter(
    line: Line,
    unit: int,
    profile: Profile,
    name: str,
    measurands: Sequence[str] | None = None,
    ct_ratio: float = 1,
    vt_ratio: float = 1,
) -> BuiltMeter:
    """A meter on a line that `build_line` made for the same protocol."""
    if profile.protocol == MODBUS:
        from drivers.modbus.sunspec_meter import modbus_meter  # noqa: PLC0415

        return modbus_meter(cast("ModbusLine", line), unit, profile, name, measurands, ct_ratio, vt_ratio)
    from drivers.telegrams.protocols import telegram_meter  # noqa: PLC0415

    return telegram_meter(cast("StreamLine", line), unit, profile, name, measurands, ct_ratio)


def share_a_line(one: Profile, other: Profile) -> bool:
    """Whether meters of both profiles can be on one line."""
    return (one.protocol, one.push) == (other.protocol, other.push)

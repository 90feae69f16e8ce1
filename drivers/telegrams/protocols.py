"""Which line and which meter belong to a protocol; what a protocol needs is imported when its first meter is built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from drivers.profile.model import Profile, SerialDefaults
from drivers.telegrams.push import PushLine, PushMeter
from drivers.telegrams.stream_line import StreamLine
from drivers.telegrams.telegram import Decode, StreamFramer

if TYPE_CHECKING:
    from drivers.telegrams.iec62056_meter import Iec62056Meter
    from drivers.telegrams.mbus_meter import MbusMeter


def telegram_line(name: str, port: str, serial: SerialDefaults, profile: Profile) -> StreamLine:
    """The line for meters of the profile's protocol."""
    framing = _framing(profile)
    return StreamLine(name, port, serial) if framing is None else PushLine(name, port, serial, *framing)


def telegram_meter(
    line: StreamLine,
    unit: int,
    profile: Profile,
    name: str,
    measurands: Sequence[str] | None = None,
    ct_ratio: float = 1,
) -> PushMeter | MbusMeter | Iec62056Meter:
    """A meter on a line of `telegram_line`."""
    if isinstance(line, PushLine):
        return PushMeter(line, profile, name, measurands, ct_ratio)
    if profile.protocol == "mbus":
        from drivers.telegrams.mbus_meter import MbusMeter  # noqa: PLC0415 - only where there is one

        return MbusMeter(line, unit, profile, name, measurands, ct_ratio)
    from drivers.telegrams.iec62056_meter import Iec62056Meter  # noqa: PLC0415

    return Iec62056Meter(line, profile, name, measurands, ct_ratio)


def _framing(profile: Profile) -> tuple[type[StreamFramer], Decode] | None:
    """Framer and decoder of a protocol that pushes; None where the meter is asked."""
    if profile.protocol == "sml":
        from drivers.telegrams.sml import SmlFramer, decode_sml  # noqa: PLC0415

        return SmlFramer, decode_sml
    if profile.protocol == "dlms-hdlc":
        from drivers.telegrams.dlms import decode_dlms  # noqa: PLC0415
        from drivers.telegrams.hdlc import HdlcFramer  # noqa: PLC0415

        return HdlcFramer, decode_dlms
    if profile.protocol == "dsmr-p1":
        from drivers.telegrams.obis_text import decode_p1  # noqa: PLC0415
        from drivers.telegrams.text_framer import TextFramer  # noqa: PLC0415

        return TextFramer, decode_p1
    if profile.protocol == "iec62056-21" and profile.push:
        from drivers.telegrams.obis_text import decode_iec62056  # noqa: PLC0415
        from drivers.telegrams.text_framer import TextFramer  # noqa: PLC0415

        return TextFramer, decode_iec62056
    return None

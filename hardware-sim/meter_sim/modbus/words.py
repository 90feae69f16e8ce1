"""Values to words and back, as the profile lays them out; written without `drivers.modbus.decode`."""

from __future__ import annotations

import math
import struct

from drivers.profile.parse import Register

PER_CENT = 100


def encode(register: Register, value: float | None, exponent: int = 0, *, leading: bool = False) -> bytes:
    """The words of a value in the vocabulary's unit: floats as computed, whole numbers rounded and bounded.

    `exponent` is what the register's scale register says, a power of ten; `leading` is about a power factor's current.
    """
    if value is not None:
        value = _hide(register, value, leading=leading)
    raw = None if value is None else value / float(register.scale) / 10.0**exponent
    size = 2 * register.count
    if register.data_type.startswith("float"):
        packed = struct.pack(">f" if register.count == 2 else ">d", math.nan if raw is None else raw)  # noqa: PLR2004
    elif raw is None:
        code = register.not_available[0] if register.not_available else 0
        packed = code.to_bytes(size, "big")
    else:
        signed = register.data_type.startswith("int")
        bits = 8 * size - signed
        lowest = -(1 << bits) if signed else 0
        whole = min(max(round(raw), lowest), (1 << bits) - 1)
        packed = whole.to_bytes(size, "big", signed=signed)
        if int.from_bytes(packed, "big") in register.not_available:
            packed = (whole + (1 if whole <= 0 else -1)).to_bytes(size, "big", signed=signed)  # as near as can be said
    return packed if register.word_order == "big" else swap_words(packed)


def reading(register: Register, words: bytes, exponent: int = 0) -> float:
    """What `words` say, in the vocabulary's unit: what the meter has told, after its own rounding."""
    packed = words if register.word_order == "big" else swap_words(words)
    raw: float
    if register.data_type.startswith("float"):
        raw = struct.unpack(">f" if register.count == 2 else ">d", packed)[0]  # noqa: PLR2004
    else:
        raw = int.from_bytes(packed, "big", signed=register.data_type.startswith("int"))
    numerator, denominator = register.scale.numerator, register.scale.denominator
    if exponent < 0:
        denominator *= 10**-exponent
    else:
        numerator *= 10**exponent
    return _show(register, float(raw * numerator / denominator))


def _hide(register: Register, value: float, *, leading: bool) -> float:
    """A power factor as Schneider's four quadrants (beyond 1 the current leads) or SunSpec's percent say it."""
    if register.encoding == "four_quadrant" and leading:
        return math.copysign(2, value) - value
    return value * PER_CENT if register.encoding == "percent_or_one" else value


def _show(register: Register, value: float) -> float:
    if register.encoding == "four_quadrant" and abs(value) > 1:
        return math.copysign(2, value) - value
    return value / PER_CENT if register.encoding == "percent_or_one" else value


def swap_words(data: bytes) -> bytes:
    """The same 16-bit words, last first."""
    return b"".join(data[at : at + 2] for at in range(len(data) - 2, -1, -2))

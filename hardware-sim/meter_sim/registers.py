"""A meter's registers: values to words as the profile lays them out, and what a request for them is answered."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from drivers.profile import Profile, Register

ILLEGAL_FUNCTION = 1
ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3
READS = (3, 4)
STANDARD_MAX = 125
AREA_GAP_MAX = 40  # registers between two listed ones that exist and read 0, as on the real meters


class Refusal(Exception):  # noqa: N818 - Modbus's own word is exception, which says less
    """An exception answer with Modbus's `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Served:
    """Registers, big-endian, and the values that lie whole in them: in the vocabulary's units, as the words say."""

    data: bytes
    values: Mapping[str, float] = field(default_factory=dict)


class RegisterMap:
    """What the meter of a profile lets a master read."""

    def __init__(self, profile: Profile) -> None:
        self._limits = profile.limits
        self._by_function: dict[int, list[Register]] = {}
        for register in sorted(profile.registers, key=lambda each: each.address):
            self._by_function.setdefault(register.function_code, []).append(register)
        gap_max = AREA_GAP_MAX if profile.limits.gaps else 0
        self._areas = {code: _areas(registers, gap_max) for code, registers in self._by_function.items()}

    def read(self, function_code: int, address: int, count: int, values: Mapping[str, float]) -> Served:
        """The answer to a read request; raises `Refusal`. A value that the household does not have reads as missing."""
        self._check(function_code, address, count)
        words = bytearray(2 * count)
        served: dict[str, float] = {}
        for register in self._by_function[function_code]:
            offset = 2 * (register.address - address)
            encoded = encode(register, values.get(register.measurand))
            for index, byte in enumerate(encoded):
                if 0 <= offset + index < len(words):
                    words[offset + index] = byte
            if offset >= 0 and offset + len(encoded) <= len(words) and register.measurand in values:
                served[register.measurand] = reading(register, encoded)
        return Served(bytes(words), served)

    def _check(self, function_code: int, address: int, count: int) -> None:
        if function_code not in READS or function_code not in self._by_function:
            raise Refusal(ILLEGAL_FUNCTION)
        if not 1 <= count <= STANDARD_MAX or count > self._limits.registers_max:
            raise Refusal(ILLEGAL_VALUE)
        if self._limits.even and count % 2:
            raise Refusal(ILLEGAL_VALUE)
        if self._limits.even and address % 2:
            raise Refusal(ILLEGAL_ADDRESS)
        last = address + count - 1
        if not any(first <= address and last <= end for first, end in self._areas[function_code]):
            raise Refusal(ILLEGAL_ADDRESS)
        if any(address <= end and last >= first for first, end in self._limits.forbidden):
            raise Refusal(ILLEGAL_ADDRESS)


def _areas(registers: list[Register], gap_max: int) -> list[tuple[int, int]]:
    areas: list[tuple[int, int]] = []
    for register in registers:
        last = register.address + register.count - 1
        if areas and register.address - areas[-1][1] - 1 <= gap_max:
            areas[-1] = (areas[-1][0], max(last, areas[-1][1]))
        else:
            areas.append((register.address, last))
    return areas


def encode(register: Register, value: float | None) -> bytes:
    """The words of a value in the vocabulary's unit: floats as computed, whole numbers rounded and bounded."""
    raw = None if value is None else value / float(register.scale)
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
    return packed if register.word_order == "big" else swap_words(packed)


def reading(register: Register, words: bytes) -> float:
    """What `words` say, in the vocabulary's unit: what the meter has told, after its own rounding."""
    packed = words if register.word_order == "big" else swap_words(words)
    raw: float
    if register.data_type.startswith("float"):
        raw = struct.unpack(">f" if register.count == 2 else ">d", packed)[0]  # noqa: PLR2004
    else:
        raw = int.from_bytes(packed, "big", signed=register.data_type.startswith("int"))
    return float(raw * register.scale.numerator / register.scale.denominator)


def swap_words(data: bytes) -> bytes:
    """The same 16-bit words, last first."""
    return b"".join(data[at : at + 2] for at in range(len(data) - 2, -1, -2))

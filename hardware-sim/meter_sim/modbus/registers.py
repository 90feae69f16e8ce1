"""A meter's registers: what a request for them is answered, values and identification alike."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from drivers.profile.parse import Profile, Register
from meter_sim.faults.condition import is_counter
from meter_sim.modbus.identity import (
    Constant,
    constants,
    device_id_body,
    sunspec_constants,
    sunspec_header,
    sunspec_length,
)
from meter_sim.modbus.words import encode, reading

__all__ = ["Refusal", "RegisterMap", "Served", "encode", "reading"]

ILLEGAL_FUNCTION = 1
ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3
READS = (3, 4)
STANDARD_MAX = 125
AREA_GAP_MAX = 40  # registers between two listed ones that exist and read 0, as on the real meters
LARGEST = {"V": 1000.0, "A": 300.0, "Hz": 100.0, "1": 100.0, "%": 100.0, "deg": 360.0, "degC": 200.0}
LARGEST_ELSE = 3e5  # W, var, VA; energies need more and have 32 bits
INT16_MAX = 0x7FFF


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
    """What the meter of a profile lets a master read.

    `lenient` is the trap that some real meters are: registers that they do not have read 0 instead of being refused.
    """

    def __init__(
        self, profile: Profile, serial_number: int = 0, base: int | None = None, *, lenient: bool = False
    ) -> None:
        self.profile = profile
        self._limits = profile.limits
        self._lenient = lenient
        self._base = (profile.sunspec.bases[0] if base is None else base) if profile.sunspec else 0
        header = sunspec_header(profile, self._base)
        self._by_function: dict[int, list[Register]] = {}
        for register in sorted(placed(profile.registers, header), key=lambda each: each.address):
            self._by_function.setdefault(register.function_code, []).append(register)
        self._exponents = exponents(register for group in self._by_function.values() for register in group)
        self._constants: tuple[Constant, ...] = ()
        self._areas: dict[int, list[tuple[int, int]]] = {}
        self.name_it(serial_number)

    def name_it(self, serial_number: int) -> None:
        """Give the meter this serial number."""
        ids = constants(self.profile, serial_number)
        scales = (Constant(code, at, struct.pack(">h", power)) for (code, at), power in self._exponents.items())
        self._constants = (*ids, *sunspec_constants(self.profile, self._base, serial_number), *scales)
        gap_max = AREA_GAP_MAX if self.profile.limits.gaps else 0
        self._areas = {code: _areas(self._spans(code), gap_max) for code in READS if any(self._spans(code))}

    def _spans(self, code: int) -> Iterator[tuple[int, int]]:
        """First and last address of all that there is to read."""
        for register in self._by_function.get(code, []):
            yield register.address, register.end - 1
        for constant in self._constants:
            if constant.function_code == code:
                yield constant.address, constant.address + constant.count - 1
        if self.profile.sunspec and code in self._by_function:
            header = sunspec_header(self.profile, self._base)
            yield header, header + 1 + sunspec_length(self.profile.sunspec.models[0])

    @property
    def wraps(self) -> dict[str, float]:
        """Counters that roll over, and the value at which they do."""
        found: dict[str, float] = {}
        for register in (register for group in self._by_function.values() for register in group):
            if is_counter(register.measurand) and (end := _rollover(register)) is not None:
                found[register.measurand] = min(end, found.get(register.measurand, math.inf))
        return found

    def identification(self, read_code: int, first: int) -> bytes:
        """The data of the answer to FC 43/14; raises `Refusal`."""
        device_id = self.profile.identity.device_id
        if device_id is None:
            raise Refusal(ILLEGAL_FUNCTION)
        body = device_id_body(device_id, read_code, first)
        if body is None:
            raise Refusal(ILLEGAL_ADDRESS)
        return body

    def read(
        self, function_code: int, address: int, count: int, values: Mapping[str, float], *, zeros: bool = False
    ) -> Served:
        """The answer to a read request; raises `Refusal`. A value that the household does not have reads as missing."""
        for constant in self._constants:
            if (constant.function_code, constant.address, constant.count) == (function_code, address, count):
                return Served(bytes(2 * count) if zeros else constant.data)
        if not self._known(function_code, address, count):
            return Served(bytes(2 * count))
        words = bytearray(2 * count)
        for constant in self._constants:
            if constant.function_code == function_code and not zeros:
                _lay(words, 2 * (constant.address - address), constant.data)
        told = self._lay_values(words, function_code, address, values, zeros=zeros)
        return Served(bytes(words), told)

    def _lay_values(
        self, words: bytearray, function_code: int, address: int, values: Mapping[str, float], *, zeros: bool
    ) -> dict[str, float]:
        """Returns the values that lie whole in `words`, as they say them."""
        served: dict[str, float] = {}
        for register in self._by_function.get(function_code, []):
            offset = 2 * (register.address - address)
            if offset + 2 * register.count <= 0 or offset >= len(words):
                continue
            exponent = self._exponent(register)
            leading = values.get(register.measurand.replace("power_factor", "power_reactive"), 0) < 0
            encoded = encode(register, values.get(register.measurand), exponent, leading=leading)
            if zeros:
                encoded, exponent = bytes(len(encoded)), 0
            _lay(words, offset, encoded)
            if offset >= 0 and offset + len(encoded) <= len(words) and register.measurand in values:
                served[register.measurand] = reading(register, encoded, exponent)
        return served

    def _exponent(self, register: Register) -> int:
        return (
            0 if register.scale_register is None else self._exponents[register.function_code, register.scale_register]
        )

    def _known(self, function_code: int, address: int, count: int) -> bool:
        """Whether there is something at the address; False is for the lenient, others raise `Refusal`."""
        if function_code not in READS or (function_code not in self._areas and not self._lenient):
            raise Refusal(ILLEGAL_FUNCTION)
        if not 1 <= count <= STANDARD_MAX or count > self._limits.registers_max:
            raise Refusal(ILLEGAL_VALUE)
        if self._limits.even and count % 2:
            raise Refusal(ILLEGAL_VALUE)
        if self._limits.even and address % 2:
            raise Refusal(ILLEGAL_ADDRESS)
        last = address + count - 1
        areas = self._areas.get(function_code, [])
        known = any(first <= address and last <= end for first, end in areas)
        known = known and not any(address <= end and last >= first for first, end in self._limits.forbidden)
        if not known and not self._lenient:
            raise Refusal(ILLEGAL_ADDRESS)
        return known


def placed(registers: Iterable[Register], header: int) -> list[Register]:
    """Registers with absolute addresses; those of a SunSpec model count from its header."""
    found = []
    for register in registers:
        if register.relative:
            scale = None if register.scale_register is None else register.scale_register + header
            register = replace(register, address=register.address + header, scale_register=scale)  # noqa: PLW2901
        found.append(register)
    return found


def exponents(registers: Iterable[Register]) -> dict[tuple[int, int], int]:
    """Function and address of each scale register -> its power of ten, as fine as 16 bits allow."""
    found: dict[tuple[int, int], int] = {}
    for register in registers:
        if register.scale_register is None:
            continue
        largest = LARGEST.get(register.meaning.unit, LARGEST_ELSE) / abs(float(register.scale))
        fits = math.ceil(math.log10(largest / INT16_MAX)) if register.count == 1 else 0
        place = register.function_code, register.scale_register
        found[place] = max(fits, found.get(place, fits))
    return found


def _rollover(register: Register) -> float | None:
    if register.rollover is not None:
        return float(register.rollover)
    if register.data_type.startswith("float") or register.scale_register is not None or register.count > 2:  # noqa: PLR2004
        return None  # no end, or one that no meter lives to see
    bits = 16 * register.count - register.data_type.startswith("int")
    return float((1 << bits) * abs(register.scale))


def _lay(words: bytearray, offset: int, data: bytes) -> None:
    """Put `data` at `offset`, or what of it lies within `words`."""
    start, end = max(offset, 0), min(offset + len(data), len(words))
    if start < end:
        words[start:end] = data[start - offset : end - offset]


def _areas(spans: Iterable[tuple[int, int]], gap_max: int) -> list[tuple[int, int]]:
    areas: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if areas and first - areas[-1][1] - 1 <= gap_max:
            areas[-1] = (areas[-1][0], max(last, areas[-1][1]))
        else:
            areas.append((first, last))
    return areas

"""Meter profiles: TOML text -> `Profile`, with all its mistakes at once. docs/profiles.md describes the format."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any, TypeVar

from drivers.profile.fields import fields_of
from drivers.profile.model import (
    ADDRESS_MAX,
    WORDS,
    CtAppliedBy,
    DataType,
    DeviceId,
    IdentityRules,
    Mark,
    Parity,
    Profile,
    ProfileError,
    ProfileMistake,
    Protocol,
    Rating,
    ReadLimits,
    Register,
    SerialDefaults,
    SunSpec,
    TextRegister,
    TextType,
    Timing,
    WordOrder,
    scale_registers,
)
from drivers.profile.schema import (
    DefaultsTable,
    IdentityTable,
    LimitsTable,
    MarkTable,
    ProfileTable,
    RatingTable,
    RegisterTable,
    SerialNumberTable,
    SunSpecTable,
    did_you_mean,
    exact_scale,
    read_table,
)
from wire.errors import WireError
from wire.measurand import BY_NAME
from wire.resolution import Resolution

__all__ = [
    "CtAppliedBy",
    "DataType",
    "DeviceId",
    "IdentityRules",
    "Mark",
    "Parity",
    "Profile",
    "ProfileError",
    "ProfileMistake",
    "Protocol",
    "Rating",
    "ReadLimits",
    "Register",
    "SerialDefaults",
    "SunSpec",
    "TextRegister",
    "Timing",
    "WordOrder",
    "parse_profile",
]

V = TypeVar("V")
TEXT_WORDS: dict[TextType, int] = {"ascii": 0, "uint16": 1, "uint32": 2, "uint64": 4}  # ascii says its own count


def parse_profile(text: str, subject: str = "") -> Profile:
    """The profile that `text` (TOML) says; raises `ProfileError` with every mistake. `subject` names it in messages."""
    mistakes: list[ProfileMistake] = []
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ProfileError(subject, (ProfileMistake("file", f"not TOML: {error}", "TOML 1.0"),)) from error
    table = read_table(ProfileTable, raw, "", mistakes)
    name = raw.get("model", subject)
    if table is None:
        raise ProfileError(str(name), tuple(mistakes))
    limits, fallback = _limits(table.limits, mistakes)
    registers = _registers(table, mistakes)
    fields = fields_of(table.fields, table.protocol, mistakes)
    rating = _rating(table.rating, mistakes)
    identity = _identity(table.identity, mistakes)
    _check_fit(registers, [limits] if fallback is None else [limits, fallback], mistakes)
    _check_overlaps(registers, mistakes)
    default = _default(table, raw, mistakes)
    if mistakes:
        raise ProfileError(str(name), tuple(mistakes))
    return Profile(
        model=table.model,
        vendor=table.vendor,
        description=table.description,
        registers=registers,
        default=default,
        ct=table.ct,
        limits=limits,
        fallback=fallback,
        serial=_as(SerialDefaults, table.serial),
        timing=_as(Timing, table.timing),
        vt=table.vt,
        protocol=table.protocol,
        rating=rating,
        identity=identity,
        sunspec=None if table.sunspec is None else SunSpec(tuple(table.sunspec.models), tuple(table.sunspec.bases)),
        fields=fields,
        push=table.push,
        sources=tuple(table.sources),
        caveats=tuple(table.caveats),
        digest=hashlib.sha256(text.encode()).hexdigest()[:32],
    )


def _as(kind: type[V], table: Any) -> V:
    """The value class of a table with the same keys."""
    return kind(**{name: getattr(table, name) for name in table.__struct_fields__})


def _limits(table: LimitsTable, mistakes: list[ProfileMistake]) -> tuple[ReadLimits, ReadLimits | None]:
    for index, (first, last) in enumerate(table.forbidden):
        if first > last:
            problem = f"[{first}, {last}] ends before it begins"
            mistakes.append(ProfileMistake(f"limits.forbidden[{index}]", problem, "[first, last], both inclusive"))
    forbidden = tuple((first, last) for first, last in table.forbidden)
    limits = ReadLimits(table.registers_max, table.even, table.gaps, forbidden)
    tighter = table.fallback
    if tighter.registers_max is None and tighter.gaps is None:
        return limits, None
    registers_max = limits.registers_max if tighter.registers_max is None else tighter.registers_max
    if registers_max > limits.registers_max:
        expected = f"at most limits.registers_max, {limits.registers_max}"
        mistakes.append(ProfileMistake("limits.fallback.registers_max", f"{registers_max} is no tighter", expected))
    gaps = limits.gaps if tighter.gaps is None else tighter.gaps
    return limits, ReadLimits(registers_max, limits.even, gaps, forbidden)


def _rating(table: RatingTable, mistakes: list[ProfileMistake]) -> Rating:
    ranges = {"voltage_range_v": table.voltage_range_v, "frequency_range_hz": table.frequency_range_hz}
    for name, (lowest, highest) in ranges.items():
        if not 0 <= lowest < highest:
            problem = f"[{lowest}, {highest}] is no range"
            mistakes.append(ProfileMistake(f"rating.{name}", problem, "[lowest, highest], such as [80, 300]"))
    (low_v, high_v), (low_hz, high_hz) = table.voltage_range_v, table.frequency_range_hz
    return Rating(table.current_max_a, (low_v, high_v), (low_hz, high_hz))


def _identity(table: IdentityTable, mistakes: list[ProfileMistake]) -> IdentityRules:
    device = table.device_id
    return IdentityRules(
        None if table.serial_number is None else _serial_number(table.serial_number, mistakes),
        tuple(_mark(index, mark, mistakes) for index, mark in enumerate(table.marks)),
        None if device is None else DeviceId(device.vendor, tuple(device.products)),
    )


def _serial_number(table: SerialNumberTable, mistakes: list[ProfileMistake]) -> TextRegister:
    words = TEXT_WORDS[table.type]
    count = words if table.count is None else table.count
    if count == 0 or (words and count != words):
        expected = f"{words} registers, or no count" if words else "the number of registers of the text"
        problem = "missing" if table.count is None else f"{count} registers of {table.type}"
        mistakes.append(ProfileMistake("identity.serial_number.count", problem, expected))
    return TextRegister(table.function, table.address, count, table.type, table.word_order)


def _mark(index: int, table: MarkTable, mistakes: list[ProfileMistake]) -> Mark:
    path = f"identity.marks[{index}]"
    if bool(table.any_of) == bool(table.ascii):
        mistakes.append(ProfileMistake(path, "it must say what marks the model", "either any_of or ascii"))
    if any(not 0 <= number < 1 << (16 * table.count) for number in table.any_of):
        mistakes.append(
            ProfileMistake(f"{path}.any_of", "a number does not fit", f"numbers of {16 * table.count} bits")
        )
    if len(table.ascii) > 2 * table.count or not table.ascii.isascii():
        mistakes.append(
            ProfileMistake(f"{path}.ascii", "the text does not fit", f"at most {2 * table.count} ASCII characters")
        )
    return Mark(table.function, table.address, table.count, tuple(table.any_of), table.ascii)


def _registers(table: ProfileTable, mistakes: list[ProfileMistake]) -> tuple[Register, ...]:
    if table.registers is None:
        if table.protocol == "modbus" and not any(mistake.path.startswith("registers") for mistake in mistakes):
            mistakes.append(ProfileMistake("registers", "missing", "a table of at least one measurand"))
        return ()
    if table.protocol != "modbus":
        mistakes.append(ProfileMistake("registers", f"a meter of {table.protocol} has none", "[fields]"))
    found = (_register(name, entry, table.defaults, table.sunspec, mistakes) for name, entry in table.registers.items())
    return tuple(register for register in found if register is not None)


def _register(
    name: str,
    entry: RegisterTable,
    defaults: DefaultsTable,
    sunspec: SunSpecTable | None,
    mistakes: list[ProfileMistake],
) -> Register | None:
    path = f"registers.{name}"
    data_type = _first(entry.type, defaults.type)
    scale = exact_scale(_first(entry.scale, defaults.scale), path, mistakes)
    if scale is None:
        return None
    try:
        resolution = Resolution.parse(entry.resolution)
    except WireError as error:
        mistakes.append(ProfileMistake(f"{path}.resolution", str(error), "a step such as 0.1"))
        return None
    codes = _first(entry.not_available, defaults.not_available)
    bits = 16 * WORDS[data_type]
    if not all(-1 << (bits - 1) <= code < 1 << bits for code in codes):
        expected = f"raw codes of {bits} bits, up to {(1 << bits) - 1:#x} or from {-1 << (bits - 1)}"
        mistakes.append(ProfileMistake(f"{path}.not_available", "a code does not fit the type", expected))
    counter = BY_NAME[name].kind == "counter"
    whole_counter = counter and "int" in data_type
    if entry.rollover is not None and not counter:
        mistakes.append(ProfileMistake(f"{path}.rollover", f"{name} is no counter", "no rollover, or a counter"))
    if whole_counter and Fraction(resolution.step) > abs(scale):
        problem = f"{entry.resolution} is coarser than the meter's own step"
        mistakes.append(
            ProfileMistake(f"{path}.resolution", problem, f"at most {float(abs(scale))}: counters lose nothing")
        )
    register = Register(
        measurand=name,
        function_code=_first(entry.function, defaults.function),
        address=entry.address,
        data_type=data_type,
        resolution=resolution,
        scale=scale,
        word_order=_first(entry.word_order, defaults.word_order),
        not_available=tuple(code % (1 << bits) for code in codes),
        rollover=_rollover(entry.rollover, data_type, scale) if counter and entry.scale_register is None else None,
        scale_register=entry.scale_register,
        encoding=entry.encoding,
        relative=sunspec is not None,
    )
    if register.end - 1 > ADDRESS_MAX:
        mistakes.append(ProfileMistake(f"{path}.address", "the value ends beyond 65535", "room for all its registers"))
    return register


def _rollover(own: float | None, data_type: DataType, scale: Fraction) -> Fraction | None:
    """Where the counter is 0 again: as the profile says, or where its integer type ends."""
    if own is not None:
        return Fraction(Decimal(str(own)))
    if "float" in data_type:
        return None
    return (1 << (16 * WORDS[data_type] - (not data_type.startswith("u")))) * abs(scale)


def _first(own: Any, default: Any) -> Any:
    return default if own is None else own


def _check_fit(registers: Sequence[Register], limits: Sequence[ReadLimits], mistakes: list[ProfileMistake]) -> None:
    """Each value must be readable alone, within the limits and without touching what is forbidden."""
    for path, register in _by_path(registers):
        for limit in limits:
            start, end = register.address, register.end
            if limit.even:
                start, end = start & ~1, end + (end & 1)
            if end - start > limit.registers_max:
                expected = f"a value within {limit.registers_max} registers"
                mistakes.append(ProfileMistake(path, f"reading it takes {end - start} registers", expected))
            elif any(start <= last and first < end for first, last in limit.forbidden):
                mistakes.append(ProfileMistake(path, "it lies in limits.forbidden", "an address that may be read"))
            else:
                continue
            break


def _check_overlaps(registers: Sequence[Register], mistakes: list[ProfileMistake]) -> None:
    ordered = sorted(_by_path(registers), key=lambda entry: (entry[1].function_code, entry[1].address))
    for (before, left), (path, right) in pairwise(ordered):
        if left.function_code == right.function_code and right.address < left.end:
            name = before.split(".")[1]
            problem = f"{right.address} lies inside {name} ({left.address}..{left.end - 1})"
            mistakes.append(ProfileMistake(path, problem, "registers of its own"))


def _by_path(registers: Sequence[Register]) -> list[tuple[str, Register]]:
    """All that is read with the key that places it: values, and the powers of ten beside them."""
    owners = {(each.function_code, each.scale_register): each.measurand for each in reversed(registers)}
    return [(f"registers.{each.measurand}.address", each) for each in registers] + [
        (f"registers.{owners[each.function_code, each.address]}.scale_register", each)
        for each in scale_registers(registers)
    ]


def _default(table: ProfileTable, raw: Mapping[str, Any], mistakes: list[ProfileMistake]) -> tuple[str, ...]:
    table_name = "registers" if table.protocol == "modbus" else "fields"
    names = raw.get(table_name, {})
    if table.default is None:
        return tuple(names)
    if not table.default:
        mistakes.append(ProfileMistake("default", "an empty list", "at least one measurand"))
    for index, name in enumerate(table.default):
        if name not in names:
            problem = f"{name!r} is not in [{table_name}]{did_you_mean(name, list(names))}"
            mistakes.append(ProfileMistake(f"default[{index}]", problem, f"a measurand of [{table_name}]"))
        elif name in table.default[:index]:
            mistakes.append(ProfileMistake(f"default[{index}]", f"{name!r} is listed twice", "each measurand once"))
    return tuple(table.default)

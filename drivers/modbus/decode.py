"""Words -> integers in steps of a resolution. Pure, and fast: one `struct` call per block, no `Decimal`.

A value is `raw * scale * ct_ratio * vt_ratio / step`, rounded half to even, exactly: integers by whole-number division,
floats by one exact product and one correctly rounded division (see `_float_steps`). NaN and the profile's own codes are
missing with `NOT_AVAILABLE`, infinities and what does not fit 64 bits are missing with `OVERFLOW`. Where the meter says
a power of ten itself (`Register.scale_register`), it counts for the answer that it came with.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import partial

from drivers.modbus.block_plan import Block
from drivers.profile.model import DataType, Register, scale_registers
from wire.batch import Quality
from wire.resolution import INTEGER_MAX, INTEGER_MIN

FORMATS: dict[DataType, str] = {
    "uint16": "H",
    "int16": "h",
    "uint32": "I",
    "int32": "i",
    "uint64": "Q",
    "int64": "q",
    "float32": "f",
    "float64": "d",
}
NOT_AVAILABLE = int(Quality.NOT_AVAILABLE)
OVERFLOW = int(Quality.OVERFLOW)
# A float32 has 24 bits, so its product with a factor below 2**27 is exact in a float64 (53 bits). While that is below
# 2**51, the quotient is farther from every tie that it is not than the rounding of one division can carry it.
FAST_FACTOR_MAX = 1 << 27
FAST_PRODUCT_MAX = 1 << 51
EXPONENT_MAX = 10  # of SunSpec's scale factors, either way
DECODERS_MAX = 16  # kept for exponents that a meter has used; they hardly ever change

Steps = tuple[int | None, int]  # value and flags
Convert = Callable[[float], Steps]


class Decoder:
    """Turns the answers of `blocks` into the values of `registers`, in their order."""

    __slots__ = ("_blocks", "_in_order", "_scaled")

    def __init__(
        self, registers: Sequence[Register], blocks: Sequence[Block], ct_ratio: float = 1, vt_ratio: float = 1
    ) -> None:
        self._scaled = None
        if any(register.scale_register is not None for register in registers):
            self._scaled = _Scaled(registers, blocks, ct_ratio, vt_ratio)
            return
        places: dict[int, list[tuple[Register, int]]] = {index: [] for index in range(len(blocks))}
        for position, register in enumerate(registers):
            index = next((number for number, block in enumerate(blocks) if block.holds(register)), None)
            if index is None:
                text = f"no block holds {register.measurand} at {register.address}"
                raise ValueError(text)
            places[index].append((register, position))
        ratios = ct_ratio, vt_ratio
        self._blocks = [_compile_block(blocks[index], entries, ratios) for index, entries in places.items()]
        positions = [position for block in self._blocks for position in block.positions]
        self._in_order = sorted(range(len(positions)), key=positions.__getitem__)

    def __call__(self, answers: Sequence[bytes]) -> tuple[tuple[int | None, ...], tuple[int, ...]]:
        """Values and flags (empty when all are good). `answers[i]` are the registers of block i, big-endian."""
        if self._scaled is not None:
            return self._scaled(answers)
        values: list[int | None] = []
        flags: list[int] = []
        for block, answer in zip(self._blocks, answers, strict=True):
            raws = block.layout.unpack(answer)
            quick = _all_at_once(block.floats, raws) if block.floats is not None else None
            if quick is not None:
                values += quick
                flags += block.all_good
                continue
            found = [convert(raw) for convert, raw in zip(block.converters, raws, strict=True)]
            values += [value for value, _flag in found]
            flags += [flag for _value, flag in found]
        ordered = tuple([values[index] for index in self._in_order])
        return ordered, (tuple([flags[index] for index in self._in_order]) if any(flags) else ())


class _Scaled:
    """A `Decoder` for registers whose power of ten is read beside them: one for each set of exponents met."""

    __slots__ = ("_blocks", "_by_exponents", "_exponents", "_places", "_ratios", "_registers")

    def __init__(
        self, registers: Sequence[Register], blocks: Sequence[Block], ct_ratio: float, vt_ratio: float
    ) -> None:
        scales = scale_registers(registers)
        places = [(scale.function_code, scale.address) for scale in scales]
        self._exponents = Decoder(scales, blocks)
        self._places = [
            None if each.scale_register is None else places.index((each.function_code, each.scale_register))
            for each in registers
        ]
        self._registers = registers
        self._blocks = blocks
        self._ratios = ct_ratio, vt_ratio
        self._by_exponents: dict[tuple[int | None, ...], Decoder] = {}

    def __call__(self, answers: Sequence[bytes]) -> tuple[tuple[int | None, ...], tuple[int, ...]]:
        """A value whose exponent is none is not available."""
        exponents, _flags = self._exponents(answers)
        values, flags = self._decoder(exponents)(answers)
        missing = {
            position
            for position, place in enumerate(self._places)
            if place is not None and not _is_exponent(exponents[place])
        }
        if not missing:
            return values, flags
        flags = flags or (0,) * len(values)
        return (
            tuple(None if position in missing else value for position, value in enumerate(values)),
            tuple(NOT_AVAILABLE if position in missing else flag for position, flag in enumerate(flags)),
        )

    def _decoder(self, exponents: tuple[int | None, ...]) -> Decoder:
        if exponents not in self._by_exponents:
            if len(self._by_exponents) == DECODERS_MAX:
                self._by_exponents.clear()
            powers = [_power(each) for each in exponents]
            registers = [
                each if place is None else replace(each, scale=each.scale * powers[place], scale_register=None)
                for each, place in zip(self._registers, self._places, strict=True)
            ]
            self._by_exponents[exponents] = Decoder(registers, self._blocks, *self._ratios)
        return self._by_exponents[exponents]


def _power(exponent: int | None) -> Fraction:
    """10 to the exponent; 1 where it is none, for the value is not used then."""
    if exponent is None or not _is_exponent(exponent):
        return Fraction(1)
    return Fraction(10**exponent) if exponent >= 0 else Fraction(1, 10**-exponent)


def _is_exponent(number: int | None) -> bool:
    return number is not None and -EXPONENT_MAX <= number <= EXPONENT_MAX


def decode(
    registers: Sequence[Register],
    blocks: Sequence[Block],
    answers: Sequence[bytes],
    ct_ratio: float = 1,
    vt_ratio: float = 1,
) -> tuple[tuple[int | None, ...], tuple[int, ...]]:
    """`Decoder` for one use."""
    return Decoder(registers, blocks, ct_ratio, vt_ratio)(answers)


@dataclass(frozen=True, slots=True)
class _Floats:
    """A block of nothing but `_float_steps`: good values within `limit` need no look at each of them."""

    numbers: tuple[int, ...]
    divisors: tuple[int, ...]
    codes: frozenset[float]
    limit: float


@dataclass(frozen=True, slots=True)
class _CompiledBlock:
    layout: struct.Struct
    converters: tuple[Convert, ...]
    positions: tuple[int, ...]
    floats: _Floats | None
    all_good: list[int]


def _compile_block(block: Block, entries: list[tuple[Register, int]], ratios: tuple[float, float]) -> _CompiledBlock:
    """One `struct` format for all values of the block; gaps are pad bytes, values in little word order raw bytes."""
    layout = ">"
    reached = block.address
    ordered = sorted(entries, key=lambda entry: entry[0].address)
    for register, _position in ordered:
        layout += "xx" * (register.address - reached)
        layout += FORMATS[register.data_type] if _native(register) else f"{2 * register.count}s"
        reached = register.end
    layout += "xx" * (block.end - reached)
    converters = tuple(converter(register, *ratios) for register, _position in ordered)
    positions = tuple(position for _register, position in ordered)
    return _CompiledBlock(struct.Struct(layout), converters, positions, _floats(converters), [0] * len(positions))


def _floats(converters: Sequence[Convert]) -> _Floats | None:
    """What the converters say together, if all of them are `_float_steps`."""
    if not converters or not all(isinstance(each, partial) and each.func is _float_steps for each in converters):
        return None
    numbers, divisors, codes = zip(
        *(convert.args for convert in converters if isinstance(convert, partial)), strict=True
    )
    return _Floats(numbers, divisors, frozenset().union(*codes), FAST_PRODUCT_MAX / max(map(abs, numbers)))


def _all_at_once(floats: _Floats, raws: tuple[float, ...]) -> list[int] | None:
    """As `_float_steps` for each, or None where one of them is missing, special or too large."""
    if not (-floats.limit < min(raws) and max(raws) < floats.limit and floats.codes.isdisjoint(raws)):
        return None
    try:
        return [
            round(raw * number / divisor)
            for raw, number, divisor in zip(raws, floats.numbers, floats.divisors, strict=True)
        ]
    except ValueError:  # NaN, which no comparison finds
        return None


def _native(register: Register) -> bool:
    """Whether `struct` reads the value as it lies on the wire."""
    return register.word_order == "big" or register.count == 1


def converter(register: Register, ct_ratio: float = 1, vt_ratio: float = 1) -> Convert:
    """The function from the raw value of `register` to steps and flags."""
    factor = register.scale / Fraction(register.resolution.step)
    if ct_ratio != 1 and register.scales_with_ct:
        factor *= Fraction(Decimal(str(ct_ratio)))
    if vt_ratio != 1 and register.scales_with_vt:
        factor *= Fraction(Decimal(str(vt_ratio)))
    raw_codes = [_from_bits(register.data_type, code) for code in register.not_available]
    codes = frozenset(code for code in raw_codes if code == code)  # noqa: PLR0124 - NaN is not equal to itself
    number, divisor = factor.numerator, factor.denominator
    convert: Convert
    if register.data_type == "float32" and abs(number) < FAST_FACTOR_MAX and divisor < 1 << 53:
        convert = partial(_float_steps, number, divisor, codes)
    elif "float" in register.data_type:
        convert = partial(_exact_float_steps, factor, codes)
    else:
        convert = partial(_integer_steps, number, divisor, codes)
    if register.encoding == "four_quadrant":
        convert = partial(_four_quadrant, convert)
    elif register.encoding == "percent_or_one":
        plain = replace(register, encoding="plain", word_order="big")
        per_cent = converter(replace(plain, scale=register.scale / 100), ct_ratio, vt_ratio)
        convert = partial(_percent_or_one, convert, per_cent, 1 / abs(register.scale))
    return convert if _native(register) else partial(_swapped, FORMATS[register.data_type], register.count, convert)


def _from_bits(data_type: DataType, code: int) -> float:
    size = struct.calcsize(FORMATS[data_type])
    value: float = struct.unpack(">" + FORMATS[data_type], code.to_bytes(size, "big"))[0]
    return value


def _float_steps(number: int, divisor: int, codes: frozenset[float], raw: float) -> Steps:
    """The product is exact, the quotient is rounded once without harm, and `round` takes half to even."""
    if raw != raw or raw in codes:  # noqa: PLR0124 - NaN is not equal to itself
        return None, NOT_AVAILABLE
    product = raw * number
    if -FAST_PRODUCT_MAX < product < FAST_PRODUCT_MAX:
        return round(product / divisor), 0
    return _exact_float_steps(Fraction(number, divisor), codes, raw)


def _exact_float_steps(factor: Fraction, codes: frozenset[float], raw: float) -> Steps:
    """For float64 and extraordinary factors: exact, and some twenty times slower."""
    if raw != raw or raw in codes:  # noqa: PLR0124 - NaN is not equal to itself
        return None, NOT_AVAILABLE
    try:
        steps = round(Fraction(raw) * factor)
    except OverflowError:  # infinite
        return None, OVERFLOW
    return (steps, 0) if INTEGER_MIN <= steps <= INTEGER_MAX else (None, OVERFLOW)


def _integer_steps(number: int, divisor: int, codes: frozenset[float], raw: int) -> Steps:
    if raw in codes:
        return None, NOT_AVAILABLE
    steps = raw * number
    if divisor != 1:
        steps, rest = divmod(steps, divisor)
        steps += 2 * rest > divisor or (2 * rest == divisor and steps & 1)
    return (steps, 0) if INTEGER_MIN <= steps <= INTEGER_MAX else (None, OVERFLOW)


def _four_quadrant(convert: Convert, raw: float) -> Steps:
    """Schneider's 4Q_FP_PF: beyond 1 and -1 the current leads, and the power factor is what is left to 2 and -2."""
    if raw > 1:
        return convert(2 - raw)
    return convert(-2 - raw if raw < -1 else raw)


def _percent_or_one(one: Convert, per_cent: Convert, limit: Fraction, raw: float) -> Steps:
    """SunSpec's power factor is in percent; some vendors send -1..1. What is beyond 1 can only be percent."""
    return per_cent(raw) if abs(raw) > limit else one(raw)


def _swapped(form: str, count: int, convert: Convert, raw: bytes) -> Steps:
    """Least significant word first: turn the words round, then as usual."""
    words = struct.unpack(f">{count}H", raw)
    return convert(struct.unpack(">" + form, struct.pack(f">{count}H", *words[::-1]))[0])

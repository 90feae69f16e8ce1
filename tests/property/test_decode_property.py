"""Decoder against the simulator's encoder (written without it), and against exact arithmetic."""

from __future__ import annotations

import struct
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.modbus.block_plan import Block
from drivers.modbus.decode import FORMATS, converter, decode
from drivers.profile.model import DATA_TYPES, DataType, Register
from meter_sim.modbus.registers import encode, reading
from wire.batch import Quality
from wire.resolution import INTEGER_MAX, INTEGER_MIN, Resolution

RESOLUTIONS = st.builds(Resolution, st.sampled_from((1, 2, 5, 25)), st.integers(-4, 2))
SCALES = st.sampled_from(
    [Fraction(1), Fraction(1000), Fraction(1, 10), Fraction(-1), Fraction(1, 1000), Fraction(3, 8)]
)
REGISTERS = st.builds(
    Register,
    st.just("current_l1"),
    st.just(4),
    st.just(0),
    st.sampled_from(DATA_TYPES),
    RESOLUTIONS,
    SCALES,
    st.sampled_from(("big", "little")),
)


def steps_of(register: Register, words: bytes, ct_ratio: float = 1) -> tuple[int | None, int]:
    values, flags = decode([register], [Block(4, 0, register.count)], [words], ct_ratio)
    return values[0], flags[0] if flags else 0


@settings(deadline=None)
@given(REGISTERS, st.floats(-4e4, 4e4))
def test_what_the_simulator_served_is_what_is_decoded(register: Register, value: float) -> None:
    words = encode(register, value)
    exact = Fraction(reading(register, words)) / Fraction(register.resolution.step)
    steps, flags = steps_of(register, words)
    assert flags == 0
    assert steps is not None
    assert abs(steps - exact) <= Fraction(1, 2) + abs(exact) / 2**50  # the simulator says its values in floats


@settings(deadline=None)
@given(
    st.sampled_from(DATA_TYPES),
    RESOLUTIONS,
    SCALES,
    st.sampled_from((1, 0.3, 40, 333.25)),
    st.binary(min_size=8, max_size=8),
)
def test_every_pattern_of_bits_is_rounded_as_the_exact_decimal_is(
    data_type: DataType, resolution: Resolution, scale: Fraction, ct_ratio: float, bits: bytes
) -> None:
    register = Register("current_l1", 4, 0, data_type, resolution, scale)
    words = bits[: 2 * register.count]
    raw = struct.unpack(">" + FORMATS[data_type], words)[0]
    steps, flags = steps_of(register, words, ct_ratio)
    if raw != raw:  # noqa: PLR0124 - NaN is not equal to itself
        assert (steps, flags) == (None, Quality.NOT_AVAILABLE)
        return
    if raw in (float("inf"), float("-inf")):
        assert (steps, flags) == (None, Quality.OVERFLOW)
        return
    expected = round(Fraction(raw) * scale * Fraction(Decimal(str(ct_ratio))) / Fraction(resolution.step))
    if INTEGER_MIN <= expected <= INTEGER_MAX:
        assert (steps, flags) == (expected, 0)
    else:
        assert (steps, flags) == (None, Quality.OVERFLOW)


@settings(deadline=None)
@given(st.integers(-(2**31), 2**31 - 1))
def test_ties_of_tenths_go_to_the_even_neighbour(raw: int) -> None:
    convert = converter(Register("current_l1", 4, 0, "int32", Resolution(1, 0), Fraction(1, 10)))
    assert convert(raw)[0] == int((Decimal(raw) / 10).to_integral_value(ROUND_HALF_EVEN))

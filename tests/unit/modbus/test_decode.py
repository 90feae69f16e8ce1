"""Words to steps: types, word orders, codes for "no value", rounding, overflow, transformer ratio."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from fractions import Fraction

import pytest

from drivers.modbus.block_plan import Block, plan_reads
from drivers.modbus.decode import Decoder, converter, decode
from drivers.profile.model import DataType, ReadLimits, Register, WordOrder
from wire.batch import Quality
from wire.resolution import Resolution


def register(
    data_type: DataType,
    resolution: str = "1",
    *,
    scale: str = "1",
    order: WordOrder = "big",
    codes: tuple[int, ...] = (),
    measurand: str = "voltage_l1_n",
    address: int = 0,
) -> Register:
    return Register(measurand, 4, address, data_type, Resolution.parse(resolution), Fraction(scale), order, codes)


def one(each: Register, words: str, ct_ratio: float = 1) -> tuple[int | None, int]:
    data = bytes.fromhex(words)
    values, flags = decode([each], [Block(4, 0, each.count)], [data], ct_ratio)
    return values[0], flags[0] if flags else 0


@pytest.mark.parametrize(
    ("each", "words", "expected"),
    [
        (register("uint16"), "ffff", 65535),
        (register("int16"), "ffff", -1),
        (register("uint32"), "0001 0000", 65536),
        (register("int32"), "fffffffe", -2),
        (register("int32", order="little"), "fffe ffff", -2),
        (register("uint16", order="little"), "1234", 0x1234),
        (register("uint64"), "0000000000000001", 1),
        (register("int64", order="little"), "0001 0000 0000 0000", 1),
        (register("int64"), "ffffffffffffffff", -1),
        (register("float32", "0.1"), "43663333", 2302),  # 230.2 V, the example of the Eastron manuals
        (register("float32", "0.1", order="little"), "3333 4366", 2302),
        (register("float64", "0.1"), "406cc66666666666", 2302),
        (register("int16", "0.1", scale="0.1"), "091b", 2331),  # 233.1 V in tenths
        (register("float32", "1", scale="1000"), "3f9df3b6", 1234),  # 1.234 kWh
        (register("float32", "1", scale="-1"), "3f800000", -1),
    ],
)
def test_types(each: Register, words: str, expected: int) -> None:
    assert one(each, words) == (expected, 0)


@pytest.mark.parametrize(
    ("raw", "steps"),
    [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (-2.5, -2), (2.4999998, 2), (2.5000002, 3)],
)
@pytest.mark.parametrize("data_type", ["float32", "float64"])
def test_floats_round_half_to_even(raw: float, steps: int, data_type: DataType) -> None:
    words = struct.pack(">f" if data_type == "float32" else ">d", raw).hex()
    assert one(register(data_type), words) == (steps, 0)


@pytest.mark.parametrize(
    ("raw", "steps"), [(5, 0), (15, 2), (25, 2), (35, 4), (26, 3), (24, 2), (-5, 0), (-15, -2), (-25, -2), (-26, -3)]
)
def test_whole_numbers_round_half_to_even(raw: int, steps: int) -> None:
    words = struct.pack(">h", raw).hex()
    assert one(register("int16", "1", scale="0.1"), words) == (steps, 0)


def test_a_tie_that_binary_fractions_would_miss() -> None:
    """0.35 in steps of 0.1 is 3.5 steps exactly, so 4, though 0.35 / 0.1 is below that in floats."""
    assert one(register("uint16", "0.1", scale="0.01"), "0023") == (4, 0)
    assert one(register("uint16", "0.1", scale="0.01"), "002d") == (4, 0)


@pytest.mark.parametrize(
    ("each", "words"),
    [
        (register("float32"), "ffc00000"),
        (register("float32"), "7fc00000"),
        (register("float64"), "7ff8000000000000"),
        (register("float32", codes=(0x7F7FFFFF,)), "7f7fffff"),
        (register("float64", codes=(0x4000000000000000,)), "4000000000000000"),
        (register("float32", codes=(0x7FC00000,)), "7fc00000"),
        (register("uint16", codes=(0xFFFF,)), "ffff"),
        (register("int16", codes=(0x8000,)), "8000"),
        (register("int32", order="little", codes=(0x80000000,)), "0000 8000"),
        (register("int64", codes=(0x8000000000000000,)), "8000000000000000"),
    ],
)
def test_codes_for_no_value(each: Register, words: str) -> None:
    assert one(each, words) == (None, Quality.NOT_AVAILABLE)


@pytest.mark.parametrize(
    ("each", "words"),
    [
        (register("float32"), "7f800000"),
        (register("float32"), "ff800000"),
        (register("float32"), "7f7fffff"),
        (register("float64"), "7ff0000000000000"),
        (register("float64"), "7fefffffffffffff"),
        (register("uint64"), "8000000000000000"),
        (register("int64", scale="10"), "7fffffffffffffff"),
    ],
)
def test_what_does_not_fit_is_missing_and_flagged(each: Register, words: str) -> None:
    assert one(each, words) == (None, Quality.OVERFLOW)


def test_the_ends_of_64_bits_fit() -> None:
    assert one(register("int64"), "7fffffffffffffff") == (2**63 - 1, 0)
    assert one(register("int64"), "8000000000000000") == (-(2**63), 0)
    assert one(register("float32"), "df000000") == (-(2**63), 0)


def test_the_ratio_multiplies_current_power_and_energy_only() -> None:
    assert one(register("uint16", "0.1"), "00e6", ct_ratio=40) == (2300, 0)
    assert one(register("uint16", "0.1", measurand="current_l1"), "0005", ct_ratio=40) == (2000, 0)
    assert one(register("float32", "0.1", measurand="power_active_total"), "3f800000", ct_ratio=0.3) == (3, 0)


def test_extraordinary_factors_stay_exact() -> None:
    each = register("float32", "0.000000001", scale="1.000000001", measurand="current_l1")
    assert one(each, struct.pack(">f", 3.0).hex()) == (3_000_000_003, 0)
    assert converter(each)(math.inf) == (None, Quality.OVERFLOW)


def test_numbers_beyond_the_whole_numbers_of_a_float_stay_exact() -> None:
    """Found by the property test: 2**57 * 0.3 is no float, and -1212252180072740.571 is nearer to a tie in floats."""
    each = register("float32", measurand="current_l1")
    assert one(each, struct.pack(">f", 2.0**57).hex(), ct_ratio=0.3) == (43234556422756762, 0)
    third = register("float32", "7", scale="24", measurand="current_l1")
    assert one(third, struct.pack(">f", -353573552521216.0).hex()) == (-1212252180072741, 0)


def test_values_come_in_the_order_asked_for_across_blocks_and_gaps() -> None:
    asked = [register("uint16", address=9), register("uint16", address=1), register("float32", address=4)]
    blocks = [Block(4, 0, 7), Block(4, 9, 1)]
    first = bytes.fromhex("dead 0001 dead dead 43663333 dead")
    assert decode(asked, blocks, [first, b"\x00\x02"]) == ((2, 1, 230), ())


def test_flags_stand_beside_their_values() -> None:
    asked = [register("uint16", address=0), register("uint16", address=1, codes=(0xFFFF,))]
    assert decode(asked, [Block(4, 0, 2)], [b"\x00\x01\xff\xff"]) == ((1, None), (0, Quality.NOT_AVAILABLE))


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("special", [math.nan, math.inf, -math.inf, 3e38])
def test_one_special_float_among_good_ones_changes_none_of_them(place: int, special: float) -> None:
    asked = [register("float32", address=2 * at) for at in range(3)]
    raws = [230.0, 231.0, 232.0]
    raws[place] = special
    values, flags = decode(asked, [Block(4, 0, 6)], [struct.pack(">3f", *raws)])
    alone = [
        decode([each], [Block(4, each.address, 2)], [struct.pack(">f", raw)])
        for each, raw in zip(asked, raws, strict=True)
    ]
    assert values == tuple(value for (value,), _flags in alone)
    assert flags == tuple(flag[0] if flag else 0 for _values, flag in alone) or not any(flags)


def test_a_register_without_a_block_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no block holds voltage_l1_n at 0"):
        decode([register("uint32")], [Block(4, 0, 1)], [b"\0\0"])
    with pytest.raises(ValueError, match="no block holds"):
        decode([register("uint32")], [Block(3, 0, 2)], [b"\0\0\0\0"])


@pytest.mark.parametrize(("raw", "expected"), [(0.9, 900), (-0.9, -900), (1, 1000), (1.1, 900), (-1.25, -750), (2, 0)])
def test_a_power_factor_in_four_quadrants(raw: float, expected: int) -> None:
    each = replace(register("float32", "0.001", measurand="power_factor_total"), encoding="four_quadrant")
    assert one(each, struct.pack(">f", raw).hex()) == (expected, 0)
    assert one(each, struct.pack(">f", math.nan).hex()) == (None, Quality.NOT_AVAILABLE)


@pytest.mark.parametrize(
    ("raw", "scale", "expected"),
    [(950, "0.001", 950), (9500, "0.01", 950), (-9500, "0.01", -950), (100, "0.01", 1000), (-32768, "0.01", None)],
)
def test_a_power_factor_in_percent_or_not(raw: int, scale: str, expected: int | None) -> None:
    plain = register("int16", "0.001", scale=scale, codes=(0x8000,), measurand="power_factor_total")
    assert one(replace(plain, encoding="percent_or_one"), struct.pack(">h", raw).hex())[0] == expected


def test_a_power_of_ten_from_the_meter_counts_for_its_own_answer() -> None:
    volts = replace(register("int16", "0.01", codes=(0x8000,)), scale_register=3)
    hertz = register("uint16", "0.01", scale="0.01", address=1, measurand="frequency")
    blocks = plan_reads([volts, hertz], ReadLimits())
    assert blocks == (Block(4, 0, 4),)
    decoder = Decoder([hertz, volts], blocks)

    def values(raw: int, exponent: int) -> tuple[tuple[int | None, ...], tuple[int, ...]]:
        return decoder([struct.pack(">hHHh", raw, 5000, 0, exponent)])

    assert values(2301, -1) == ((5000, 23010), ())
    assert values(230, 0) == ((5000, 23000), ())
    assert values(23, 1) == ((5000, 23000), ())
    assert values(-32768, 0) == ((5000, None), (0, Quality.NOT_AVAILABLE))
    for not_an_exponent in (-32768, 11, -11, 32767):
        assert values(230, not_an_exponent) == ((5000, None), (0, Quality.NOT_AVAILABLE))
    for exponent in range(-10, 11):  # more than are kept
        assert values(0, exponent) == ((5000, 0), ())


def test_a_power_of_ten_may_lie_in_a_block_of_its_own() -> None:
    volts = replace(register("int16"), scale_register=100)
    blocks = plan_reads([volts], ReadLimits(registers_max=2))
    assert len(blocks) == 2
    assert decode([volts], blocks, [struct.pack(">h", 23), struct.pack(">h", 1)]) == ((230,), ())


def test_a_voltage_transformer_multiplies_voltages_powers_and_energies() -> None:
    words = struct.pack(">H", 100)
    for measurand, expected in (("voltage_l1_n", 1000), ("current_l1", 200), ("power_active_total", 2000)):
        each = register("uint16", measurand=measurand)
        assert decode([each], [Block(4, 0, 1)], [words], 2, 10)[0] == (expected,)

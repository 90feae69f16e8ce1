"""Values whose power of ten the meter says: however they lie and are read, each gets its own exponent."""

from __future__ import annotations

import struct
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.block_plan import plan_reads
from drivers.modbus.decode import Decoder
from drivers.profile.model import ReadLimits, Register
from wire.batch import Quality
from wire.measurand import VOCABULARY
from wire.resolution import Resolution

NOT_IMPLEMENTED = -32768
RESOLUTION = Resolution(1, -2)
RAWS = st.one_of(st.integers(-32767, 32767), st.just(NOT_IMPLEMENTED))
EXPONENTS = st.one_of(st.integers(-10, 10), st.sampled_from([NOT_IMPLEMENTED, 11, -11]))


@given(
    st.lists(st.tuples(RAWS, st.integers(0, 4)), min_size=1, max_size=40),
    st.lists(EXPONENTS, min_size=5, max_size=5),
    st.permutations(range(60)),
    st.builds(ReadLimits, st.integers(1, 60), st.just(False), st.booleans()),
)
def test_each_value_has_its_exponent(
    values: list[tuple[int, int]], exponents: list[int], places: list[int], limits: ReadLimits
) -> None:
    words = dict.fromkeys(range(60), 0x7777)
    scale_places = [places.pop() for _ in exponents]
    words |= {place: exponent & 0xFFFF for place, exponent in zip(scale_places, exponents, strict=True)}
    registers = []
    for measurand, (raw, scale) in zip(VOCABULARY, values, strict=False):
        address = places.pop()
        words[address] = raw & 0xFFFF
        registers.append(
            Register(
                measurand.name, 3, address, "int16", RESOLUTION,
                not_available=(0x8000,), scale_register=scale_places[scale],
            )
        )  # fmt: skip
    blocks = plan_reads(registers, limits)
    assert all(block.count <= limits.registers_max for block in blocks)
    answers = [
        struct.pack(f">{block.count}H", *[words[at] for at in range(block.address, block.end)]) for block in blocks
    ]
    decoder = Decoder(registers, blocks)
    steps, flags = decoder(answers)
    assert (steps, flags) == decoder(answers)
    for value, flag, (raw, scale) in zip(steps, flags or (0,) * len(steps), values, strict=True):
        exponent = exponents[scale]
        if raw == NOT_IMPLEMENTED or not -10 <= exponent <= 10:
            assert (value, flag) == (None, Quality.NOT_AVAILABLE)
        else:
            assert (value, flag) == (round(Fraction(raw) * Fraction(10) ** exponent / Fraction(RESOLUTION.step)), 0)

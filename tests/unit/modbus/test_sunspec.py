"""Searching a SunSpec device: bases, the chain and its bounds, and where registers come to lie. No line."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from drivers.modbus.block_plan import Block
from drivers.modbus.sunspec import FoundModel, NotFoundError, is_laid_out_as, nameplate, placed, search
from drivers.profile.files import find_profile
from drivers.profile.model import SunSpec

SPEC = SunSpec((203, 204))
SUNS = struct.unpack(">HH", b"SunS")


def device(base: int, *models: tuple[int, int]) -> dict[int, int]:
    """The headers of a device, by address; models are (number, length)."""
    words = dict(enumerate(SUNS, base))
    address = base + 2
    for model, length in models:
        words |= {address: model, address + 1: length}
        address += 2 + length
    return words


def run(words: dict[int, int], spec: SunSpec = SPEC) -> tuple[FoundModel, list[Block]]:
    """What the search finds, and the blocks it asked for; what is not in `words` is refused."""
    steps = search(spec)
    asked = [next(steps)]
    try:
        while True:
            block = asked[-1]
            there = [words.get(at) for at in range(block.address, block.end)]
            data = None if None in there else struct.pack(f">{len(there)}H", *there)
            asked.append(steps.send(data))
    except StopIteration as done:
        return done.value, asked


@pytest.mark.parametrize("base", [40000, 50000, 0])
def test_the_base_is_searched_and_the_chain_followed(base: int) -> None:
    found, asked = run(device(base, (1, 66), (103, 50), (203, 105), (0xFFFF, 0)))
    assert found == FoundModel(base, 203, base + 2 + 68 + 52, 105, base + 2)
    assert len(asked) == SPEC.bases.index(base) + 1 + 3


def test_the_meter_has_the_common_model_that_stands_before_it() -> None:
    found, _asked = run(device(40000, (1, 65), (103, 50), (1, 66), (204, 105)))
    assert (found.model, found.common) == (204, 40000 + 2 + 67 + 52)


def test_a_meter_without_a_common_model() -> None:
    assert run(device(0, (203, 105)))[0].common is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({}, '"SunS" at 40000, 50000, 0'),
        (dict.fromkeys(range(65536), 0), '"SunS" at'),  # a meter that answers zeros to any register
        (device(40000, (1, 66), (0xFFFF, 0), (203, 105)), "are 1, and not one of 203, 204"),
        (device(40000, (1, 66), (101, 50)), "are 1, 101, and"),  # the chain is cut off
        (device(40000), "are none, and"),
        (device(40000, (1, 0xFFF0)), "are 1, and"),  # a length that leads beyond the last address
        (device(40000, *[(7, 0)] * 200, (203, 105)), "and not one of"),
    ],
)
def test_what_is_not_there_is_said_and_the_search_ends(words: dict[int, int], says: str) -> None:
    with pytest.raises(NotFoundError, match=says):
        run(words)


def test_registers_come_to_lie_behind_the_header() -> None:
    profile = find_profile("sunspec-203")
    absolute = placed(profile, profile, FoundModel(40000, 203, 40070, 105, None))
    volts = absolute.select(("voltage_l1_n",))[0]
    assert (volts.address, volts.scale_register, volts.relative, absolute.sunspec) == (40078, 40085, False, None)


def test_a_model_that_is_too_short_for_its_values_is_not_read() -> None:
    profile = find_profile("sunspec-203")
    with pytest.raises(NotFoundError, match="ends after 40"):
        placed(profile, profile, FoundModel(40000, 203, 40070, 40, None))


def test_the_floats_of_another_model_are_kept_in_the_steps_of_the_profile() -> None:
    profile, floats = find_profile("sunspec"), find_profile("sunspec-213")
    assert is_laid_out_as(profile, 204)
    assert not is_laid_out_as(profile, 213)
    assert is_laid_out_as(replace(profile, sunspec=None), 213)
    absolute = placed(profile, floats, FoundModel(0, 213, 70, 124, None))
    assert [each.resolution for each in absolute.registers] == [each.resolution for each in profile.registers]
    assert {each.data_type for each in absolute.registers} == {"float32"}


def test_the_nameplate_of_the_common_model() -> None:
    texts = {2: "Acme", 18: "Meter One", 50: "S-1234"}
    data = bytearray(2 * 66)
    for at, text in texts.items():
        data[2 * at : 2 * at + len(text)] = text.encode()
    assert nameplate(bytes(data)) == {"manufacturer": "Acme", "model": "Meter One", "serial_number": "S-1234"}
    assert nameplate(bytes(2 * 66)) == {}

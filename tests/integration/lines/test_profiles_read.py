"""Every profile, read from a server that holds the registers of the fact table, filled by the table's own columns.

The table is in no repository of ours: without it these are skipped, and tests/golden/test_profiles_golden.py remains.
"""

from __future__ import annotations

import asyncio
import math
import random
import struct
from dataclasses import replace
from fractions import Fraction
from functools import cache

import pytest
from register_table import SUNS_BASES, TABLE, Registers, Row, put, read_table, serving, some_raw, sunspec_device

from drivers.meter import MeterError, Sample
from drivers.modbus.block_plan import WireCost, plan_reads
from drivers.modbus.decode import Decoder
from drivers.modbus.line import ModbusLine
from drivers.modbus.sunspec_meter import SunSpecMeter, modbus_meter
from drivers.profile.files import find_profile, shipped_profiles
from wire.batch import Quality

pytestmark = pytest.mark.skipif(not TABLE.exists(), reason="needs ../shared/meters/registers.csv beside the checkout")

# What each model is called in the table, and what its makers say it refuses (serial.csv).
MAPS: dict[str, tuple[tuple[str, str], dict[str, object]]] = {
    "eastron-sdm120": (("Eastron", "SDM120-Modbus"), {"count_max": 60, "is_even": True}),
    "eastron-sdm220": (("Eastron", "SDM220-Modbus"), {"count_max": 60, "is_even": True}),
    "eastron-sdm230": (("Eastron", "SDM230-Modbus"), {"count_max": 60, "is_even": True}),
    "eastron-sdm630": (("Eastron", "SDM630-Modbus (V1/V2, MCT, MID)"), {"count_max": 60, "is_even": True}),
    "eastron-sdm630-mct": (("Eastron", "SDM630-Modbus (V1/V2, MCT, MID)"), {"count_max": 80, "is_even": True}),
    "eastron-sdm72d": (("Eastron", "SDM72D-M (v1)"), {"count_max": 10, "is_even": True}),
    "eastron-sdm72d-v2": (("Eastron", "SDM72D-M v2"), {"count_max": 60, "is_even": True}),
    "carlo-gavazzi-em112": (("Carlo Gavazzi", "EM111/EM112/ET112"), {"count_max": 50}),
    "carlo-gavazzi-em340": (("Carlo Gavazzi", "EM340/ET340 (EM330/ET330 same map)"), {"count_max": 50}),
    "carlo-gavazzi-em330": (("Carlo Gavazzi", "EM340/ET340 (EM330/ET330 same map)"), {"count_max": 50, "strict": True}),
    "carlo-gavazzi-em24": (("Carlo Gavazzi", "EM24-DIN RS485 (PFA/PFB/X)"), {"count_max": 11}),
    "carlo-gavazzi-em24-e1": (("Carlo Gavazzi", "EM24 Ethernet (E1, Modbus TCP)"), {"strict": True}),
    "schneider-iem3155": (("Schneider Electric", "iEM3155/iEM3255 (iEM3000 series)"), {}),
    "schneider-iem3255": (("Schneider Electric", "iEM3155/iEM3255 (iEM3000 series)"), {"strict": True}),
    "schneider-pm5110": (("Schneider Electric", "PM5110 (PM5100 series)"), {}),
    "abb-b23": (("ABB", "B23/B24"), {}),
    "abb-b24": (("ABB", "B23/B24"), {"strict": True}),
    "abb-b21": (("ABB", "B21 (1-phase)"), {}),
    "siemens-pac1600": (("Siemens", "7KT PAC1600 (7KT1665/1666 3ph 80A)"), {"strict": True}),
    "siemens-pac2200": (("Siemens", "7KM PAC2200"), {"whole_values": True}),
    "janitza-umg96rm": (("Janitza", "UMG 96RM/96RM-E (19000 block also on UMG 604/508/509/512)"), {"count_max": 125}),
    "janitza-umg604": (("Janitza", "UMG 604"), {}),
    "janitza-b23": (("Janitza", "B23 (B-series, FW with 19000 block)"), {}),
    "dzg-dvh4013": (("DZG", "DVH4013"), {"absent": frozenset({0x14, 0x16})}),
    "inepro-pro380": (("Inepro", "PRO380-Mod (PRO1 1-phase: total registers)"), {}),
    "wago-879-3000": (("WAGO", "879-3000/3020/3040 (4PU/4PS/2PCT)"), {"strict": True}),
    "orno-we514": (("ORNO", "OR-WE-514/515 (1-phase)"), {}),
    "orno-we516": (("ORNO", "OR-WE-516/517 (3-phase)"), {"count_max": 60}),
    "socomec-countis-e24": (("Socomec", "Countis E23/E24/E27/E28/E34/E44"), {}),
    "socomec-diris-a10": (("Socomec", "Diris A10/A14"), {}),
    "socomec-countis-e14": (("Socomec", "Countis E13/E14 (1-phase)"), {}),
    "finder-7e23": (("Finder", "7E.23.8.230.02x0 (1-phase, Modbus variant)"), {"count_max": 20}),
    "finder-7m38": (("Finder", "7M.38 (3-phase; 7M.24 1-phase same map, L1 only)"), {}),
    "peacefair-pzem016": (("Peacefair", "PZEM-004T v3 / PZEM-014 / PZEM-016"), {"count_max": 10}),
    "chint-dtsu666": (("Chint", "DTSU666 (3-phase, 2017+ map)"), {"count_max": 34}),
    "chint-ddsu666": (("Chint", "DDSU666 (1-phase)"), {}),
}
SUNSPEC = (201, 202, 203, 204, 211, 212, 213, 214)
INTEGERS_LENGTH, FLOATS_LENGTH = 105, 124
SEEDS = (1, 2, 3, 4, 5, 6)
BUDGET_MS = 10_000
table = cache(read_table)


def a_meter(model: str, dice: random.Random) -> tuple[Registers, dict[str, Fraction]]:
    """Its registers with chance values, and what those mean."""
    key, refuses = MAPS[model]
    rows = table()[key]
    raws = {row.measurand: some_raw(row, dice) for row in rows}
    codes = frozenset(row.function_code for row in rows)
    starts = frozenset(row.address for row in rows)
    registers = Registers(put(rows, raws), dice, codes, starts, **refuses)  # type: ignore[arg-type]
    return registers, {row.measurand: meant(row, raws[row.measurand]) for row in rows}


def meant(row: Row, raw: float, exponent: int = 0) -> Fraction:
    """The value in the vocabulary's unit, as the table has it."""
    if row.notes.startswith("4Q_FP_PF") and abs(raw) > 1:
        return Fraction(math.copysign(2, raw)) - Fraction(raw)
    value = Fraction(raw) * row.scale * Fraction(10) ** exponent
    return value / 100 if row.scale_at is not None and row.unit == "1" and abs(value) > 1 else value


async def read_all(model: str, url: str) -> tuple[Sample, list[tuple[str, Fraction]]]:
    profile = find_profile(model)
    line = ModbusLine("test", url)
    meter = modbus_meter(line, 1, profile, model, [register.measurand for register in profile.registers])
    try:
        sample = await meter.read(BUDGET_MS)
    finally:
        await line.close()
    return sample, [(column.measurand, Fraction(column.resolution.step)) for column in meter.columns]


def check(sample: Sample, columns: list[tuple[str, Fraction]], expected: dict[str, Fraction]) -> None:
    """Every measurand of the table is there, and is the whole number of steps that is nearest to what was put in."""
    assert {name for name, _step in columns} == set(expected)
    assert sample.flags == ()
    wrong = {
        name: (value, float(expected[name]), float(step))
        for (name, step), value in zip(columns, sample.values, strict=True)
        if value != round(expected[name] / step)
    }
    assert wrong == {}


def test_every_map_of_the_table_has_its_profile() -> None:
    sunspec = {f"sunspec-{number}": ("SunSpec", f"model {number}") for number in SUNSPEC}
    assert {key for key, _refuses in MAPS.values()} | set(sunspec.values()) == set(table())
    assert set(MAPS) | set(sunspec) | {"sunspec"} <= set(shipped_profiles())
    assert sum(map(len, table().values())) == 1107


@pytest.mark.parametrize("model", MAPS)
@pytest.mark.parametrize("seed", SEEDS[:2])
def test_a_profile_reads_what_was_put_in(model: str, seed: int) -> None:
    dice = random.Random(f"{model} {seed}")
    registers, expected = a_meter(model, dice)

    async def scenario() -> None:
        async with serving(registers) as url:
            check(*await read_all(model, url), expected)

    asyncio.run(scenario())


@pytest.mark.parametrize("model", MAPS)
def test_a_profile_decodes_what_was_put_in_however_its_reads_are_planned(model: str) -> None:
    """For slow and fast lines, wide and tight limits: in memory, with many fills."""
    profile = find_profile(model)
    costs = (WireCost.tcp(40), WireCost.serial(2400, meter_ms=100), WireCost.serial(115200, meter_ms=5))
    plans = [
        plan_reads(profile.registers, limits, cost)
        for limits in {profile.limits, profile.fallback or profile.limits}
        for cost in costs
    ]
    columns = [(register.measurand, Fraction(register.resolution.step)) for register in profile.registers]
    for seed in SEEDS:
        registers, expected = a_meter(model, random.Random(f"{model} {seed}"))
        registers.strict = registers.is_even = False  # tried above, with a meter that refuses
        registers.count_max = 125
        for blocks in plans:
            answers = [registers.answer(block.function_code, block.address, block.count) for block in blocks]
            good = [answer for answer in answers if isinstance(answer, bytes)]
            assert len(good) == len(blocks)
            check(Sample(*Decoder(profile.registers, blocks)(good)), columns, expected)


@pytest.mark.parametrize("model", MAPS)
def test_whole_numbers_are_kept_to_the_last_digit(model: str) -> None:
    steps = {each.measurand: Fraction(each.resolution.step) for each in find_profile(model).registers}
    for row in table()[MAPS[model][0]]:
        if "int" in row.data_type:
            assert (row.scale / steps[row.measurand]).denominator == 1, row.measurand


def a_sunspec_device(number: int, dice: random.Random) -> tuple[Registers, dict[str, Fraction]]:
    rows = table()["SunSpec", f"model {number}"]
    raws = {row.measurand: some_raw(row, dice) for row in rows}
    length = INTEGERS_LENGTH if number < 210 else FLOATS_LENGTH
    words, header = sunspec_device(number, length, dice.choice(SUNS_BASES), "Acme")
    exponents: dict[int | None, int] = {None: 0}
    for row in rows:
        exponents.setdefault(row.scale_at, -2 if row.unit == "1" else dice.randint(-3, 2))
    body = put(rows, raws, header) | {
        header + at: exponent & 0xFFFF for at, exponent in exponents.items() if at is not None
    }
    for at in range(header + 2, header + 2 + length):
        words[at] = body.get(at, 0x8000)
    expected = {row.measurand: meant(row, raws[row.measurand], exponents[row.scale_at]) for row in rows}
    return Registers(words, dice, frozenset({3}), strict=True), expected


@pytest.mark.parametrize("number", SUNSPEC)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("general", [False, True], ids=["by number", "by search"])
def test_a_sunspec_meter_is_found_and_read(number: int, seed: int, general: bool) -> None:
    registers, expected = a_sunspec_device(number, random.Random(f"{number} {seed}"))

    async def scenario() -> None:
        async with serving(registers) as url:
            check(*await read_all("sunspec" if general else f"sunspec-{number}", url), expected)

    asyncio.run(scenario())


@pytest.mark.parametrize("raw", [98.5, -73.0, 0.985, 1.0])
def test_a_sunspec_power_factor_is_told_from_its_percent(raw: float) -> None:
    registers, expected = a_sunspec_device(213, random.Random(9))
    row = next(row for row in table()["SunSpec", "model 213"] if row.measurand == "power_factor_total")
    header = next(at for at, word in registers.words.items() if word == 213 and registers.words.get(at + 1) == 124)
    for at, word in enumerate(row.words(raw), header + row.address):
        registers.words[at] = word
    single = Fraction(struct.unpack(">f", struct.pack(">f", raw))[0])
    expected["power_factor_total"] = single / 100 if abs(single) > 1 else single

    async def scenario() -> None:
        async with serving(registers) as url:
            check(*await read_all("sunspec-213", url), expected)

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sunspec_meter_says_who_it_is_and_is_found_again_elsewhere(seed: int) -> None:
    """The device is exchanged for one with another model, at the same base or at another; the columns stay."""

    async def scenario() -> None:
        first, expected_first = a_sunspec_device(203, random.Random(1))
        second, expected_second = a_sunspec_device(214, random.Random(seed))
        async with serving(first) as url:
            line = ModbusLine("test", url)
            profile = find_profile("sunspec")
            meter = modbus_meter(line, 1, profile, "pv", [register.measurand for register in profile.registers])
            assert isinstance(meter, SunSpecMeter)
            columns = [(column.measurand, Fraction(column.resolution.step)) for column in meter.columns]
            check(await meter.read(BUDGET_MS), columns, expected_first)
            assert await meter.identify(BUDGET_MS) == {"manufacturer": "Acme"}
            asked = len(first.requests)
            await meter.read(BUDGET_MS)
            assert len(first.requests) == asked + 1 + len(meter.blocks)  # not searched each time, but looked for
            first.words = second.words
            check(await meter.read(BUDGET_MS), columns, expected_second)
            assert meter.found is not None
            assert meter.found.model == 214
            await line.close()

    asyncio.run(scenario())


def test_a_device_without_the_model_is_named() -> None:
    registers, _expected = a_sunspec_device(203, random.Random(1))

    async def scenario(model: str) -> str:
        async with serving(registers) as url:
            with pytest.raises(MeterError) as caught:
                await read_all(model, url)
            return str(caught.value)

    text = asyncio.run(scenario("sunspec-211"))
    assert "its SunSpec models are 1, 103, 203, and not one of 211" in text
    registers.words = dict.fromkeys(range(65536), 0)
    assert 'there is no "SunS" at 40000, 50000, 0' in asyncio.run(scenario("sunspec"))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_device_that_is_silent_at_one_base_is_asked_at_the_next_one_afterwards(seed: int) -> None:
    registers, expected = a_sunspec_device(201, random.Random(seed))
    base = next(base for base in SUNS_BASES if registers.words.get(base) == 0x5375)
    registers.silent = frozenset(SUNS_BASES) - {base}
    given = find_profile("sunspec-201")
    profile = replace(given, timing=replace(given.timing, answer_timeout_ms=50))

    async def scenario() -> None:
        async with serving(registers) as url:
            line = ModbusLine("test", url)
            names = [register.measurand for register in profile.registers]
            meter = modbus_meter(line, 1, profile, "pv", names)
            columns = [(column.measurand, Fraction(column.resolution.step)) for column in meter.columns]
            for _base in SUNS_BASES[: SUNS_BASES.index(base)]:
                with pytest.raises(MeterError, match="no answer"):
                    await meter.read(BUDGET_MS)
            check(await meter.read(BUDGET_MS), columns, expected)
            await line.close()

    asyncio.run(scenario())


def test_a_device_that_stays_silent_costs_one_time_out_a_reading() -> None:
    registers, _expected = a_sunspec_device(201, random.Random(1))
    given = find_profile("sunspec-201")
    profile = replace(given, timing=replace(given.timing, answer_timeout_ms=50))

    async def scenario() -> list[int]:
        async with serving(registers) as url:
            line = ModbusLine("test", url)
            meter = modbus_meter(line, 1, profile, "pv")
            await meter.read(BUDGET_MS)
            registers.silent = frozenset(range(65536))
            asked = []
            for _reading in range(3):
                registers.requests.clear()
                with pytest.raises(MeterError, match="no answer"):
                    await meter.read(BUDGET_MS)
                asked.append(len(registers.requests))
            registers.silent = frozenset()
            await meter.read(BUDGET_MS)
            await line.close()
            return asked

    assert asyncio.run(scenario()) == [2, 1, 1]


def test_a_model_that_ends_before_its_values() -> None:
    registers, _expected = a_sunspec_device(203, random.Random(1))
    header = next(at for at, word in registers.words.items() if word == 203 and registers.words.get(at + 1) == 105)
    registers.words[header + 1] = 40

    async def scenario() -> None:
        async with serving(registers) as url:
            with pytest.raises(MeterError, match="model 203 ends after 40 registers"):
                await read_all("sunspec", url)

    asyncio.run(scenario())


def test_only_profiles_of_sunspec_are_searched() -> None:
    with pytest.raises(ValueError, match="no profile of SunSpec"):
        SunSpecMeter(ModbusLine("test", "tcp://127.0.0.1:1"), 1, find_profile("abb-b23"), "main")


def test_codes_for_no_value_are_missing_and_flagged() -> None:
    """Of the makers: ABB's largest numbers, Carlo Gavazzi's EEE, Schneider's lowest, SunSpec's 0x8000, 0 and NaN."""
    cases = {
        "abb-b23": {"uint64": -1, "uint32": -1, "int32": 0x7FFFFFFF, "uint16": -1, "int16": 0x7FFF},
        "carlo-gavazzi-em340": {"int32": 0x7FFFFFFF, "int16": 0x7FFF},
        "schneider-iem3155": {"int64": 1 << 63, "float32": 0xFFC00000},
    }
    for model, codes in cases.items():
        registers, expected = a_meter(model, random.Random(model))
        for row in table()[MAPS[model][0]]:
            code = (codes[row.data_type] % (1 << 16 * row.count)).to_bytes(2 * row.count, "big")
            words = struct.unpack(f">{row.count}H", code)
            for at, word in enumerate(words[::-1] if row.is_little else words, row.address):
                registers.words[at] = word

        async def scenario(model: str = model, registers: Registers = registers) -> Sample:
            async with serving(registers) as url:
                return (await read_all(model, url))[0]

        sample = asyncio.run(scenario())
        assert sample.values == (None,) * len(expected)
        assert set(sample.flags) == {int(Quality.NOT_AVAILABLE)}

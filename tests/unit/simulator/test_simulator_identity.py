"""What a simulated meter says of itself: marks, serial number, FC 43/14, SunSpec's chain; for every shipped profile."""

from __future__ import annotations

import struct

import pytest

from drivers.profile.files import find_profile, load_profile, shipped_profiles
from meter_sim.faults.condition import Condition
from meter_sim.faults.schedule import Fault
from meter_sim.modbus.frames import Asked, crc16, rtu_frame, take_rtu, take_tcp
from meter_sim.modbus.line import Line, SimulatedMeter
from meter_sim.modbus.registers import Refusal, RegisterMap
from meter_sim.world.household import Household
from meter_sim.world.instrument import Instrument

SERIAL = 76543210
PROFILES = {model: load_profile(path) for model, path in shipped_profiles().items()}
MODBUS = {model: profile for model, profile in PROFILES.items() if profile.protocol == "modbus"}
MARKED = [model for model, profile in MODBUS.items() if profile.identity.marks]
NUMBERED = [model for model, profile in MODBUS.items() if profile.identity.serial_number]
SUNSPEC = [model for model, profile in MODBUS.items() if profile.sunspec]


def words(registers: RegisterMap, code: int, address: int, count: int) -> bytes:
    return registers.read(code, address, count, {}).data


@pytest.mark.parametrize("model", MARKED)
def test_marks_are_answered_when_exactly_they_are_asked_for(model: str) -> None:
    registers = RegisterMap(MODBUS[model], SERIAL)
    for mark in MODBUS[model].identity.marks:
        data = words(registers, mark.function_code, mark.address, mark.count)
        assert len(data) == 2 * mark.count
        assert int.from_bytes(data, "big") in mark.any_of or (mark.ascii and data.startswith(mark.ascii.encode()))


@pytest.mark.parametrize("model", NUMBERED)
def test_serial_numbers_are_where_the_profile_says(model: str) -> None:
    place = MODBUS[model].identity.serial_number
    assert place is not None
    data = words(RegisterMap(MODBUS[model], SERIAL), place.function_code, place.address, place.count)
    if place.type == "ascii":
        assert data.rstrip(b"\0") == str(SERIAL).encode()[: 2 * place.count]
    else:
        ordered = (
            data if place.word_order == "big" else b"".join(reversed(struct.unpack(f"{place.count * '2s'}", data)))
        )
        assert int.from_bytes(ordered, "big") == SERIAL


def test_a_mark_inside_a_value_is_a_value_where_more_is_read() -> None:
    """Carlo Gavazzi's 0x000B: one word alone is the identification code."""
    registers = RegisterMap(find_profile("carlo-gavazzi-em112"), SERIAL)
    assert words(registers, 3, 0x000B, 1) == struct.pack(">H", 100)
    demand = registers.read(3, 0x000A, 2, {"power_active_demand": 1234.5})
    assert demand.values == {"power_active_demand": 1234.5}
    assert struct.unpack(">HH", demand.data) == (12345, 0)


@pytest.mark.parametrize("base", [None, 0, 50000])
@pytest.mark.parametrize("model", SUNSPEC)
def test_a_sunspec_map_is_a_chain(model: str, base: int | None) -> None:
    profile = MODBUS[model]
    assert profile.sunspec is not None
    registers = RegisterMap(profile, SERIAL, base)
    at = 40000 if base is None else base
    assert words(registers, 3, at, 2) == b"SunS"
    chain = []
    at += 2
    while True:
        number, length = struct.unpack(">HH", words(registers, 3, at, 2))
        if number == 0xFFFF:
            assert length == 0
            break
        chain.append((number, length))
        if number == 1:
            assert words(registers, 3, at + 2 + 48, 16).rstrip(b"\0") == str(SERIAL).encode()
        for place in {register.scale_register for register in profile.registers} - {None} if number > 1 else ():
            (power,) = struct.unpack(">h", words(registers, 3, at + (place or 0), 1))
            assert -10 <= power <= 10
        at += 2 + length
    first = profile.sunspec.models[0]
    assert chain == [(1, 66), (first, 105 if first < 211 else 124)]


def test_a_meter_without_a_map_there_refuses_and_a_lenient_one_says_zeros() -> None:
    profile = find_profile("eastron-sdm120")
    with pytest.raises(Refusal):
        words(RegisterMap(profile), 3, 40000, 2)
    lenient = RegisterMap(profile, lenient=True)
    assert words(lenient, 3, 40000, 2) == bytes(4)
    assert words(lenient, 4, 60000, 2) == bytes(4)
    assert lenient.read(4, 0, 2, {"voltage_l1_n": 230.0}).values == {"voltage_l1_n": 230.0}
    with pytest.raises(Refusal):
        words(lenient, 4, 0, 62)


def meter(model: str) -> SimulatedMeter:
    registers = RegisterMap(find_profile(model), SERIAL)
    return SimulatedMeter(registers, Instrument(Household("1", 3), "1", 1), Condition("1", registers.wraps))


def test_read_device_identification() -> None:
    line = Line({1: meter("schneider-iem3155"), 2: meter("eastron-sdm120")}, lambda: 0.0, lambda: 0.0, None)
    request = bytes.fromhex("012b0e0100")
    frame = request + crc16(request)
    asked, rest = take_rtu(frame + b"\x01")
    assert (asked, rest) == (Asked(1, 0x2B, 0x0E01, 0), b"\x01")
    assert take_rtu(frame[:-1]) == (None, frame[:-1])
    assert asked is not None
    tcp, _ = take_tcp(bytes.fromhex("000700000005") + request)
    assert tcp == Asked(1, 0x2B, 0x0E01, 0, 7)
    reply = line.answer(asked)
    assert reply is not None
    assert reply.body.startswith(bytes.fromhex("2b0e01810000 03 00 12") + b"Schneider Electric" + b"\x01\x07iEM3155")
    one = line.answer(Asked(1, 0x2B, 0x0E04, 1))
    assert one is not None
    assert one.body == bytes.fromhex("2b0e04810000 01 01 07") + b"iEM3155"
    for refused in (Asked(1, 0x2B, 0x0E04, 99), Asked(2, 0x2B, 0x0E01, 0)):
        refusal = line.answer(refused)
        assert refusal is not None
        assert refusal.body[0] == 0xAB
    assert take_rtu(rtu_frame(1, bytes.fromhex("0400000002")))[0] == Asked(1, 4, 0, 2)


def test_another_meter_in_its_place_has_another_serial_number() -> None:
    there = meter("eastron-sdm630")
    there.registers.name_it(there.condition.serial_number)
    before = words(there.registers, 3, 0xFC00, 2)
    there.suffer(Fault("swap"), 0)
    assert words(there.registers, 3, 0xFC00, 2) != before

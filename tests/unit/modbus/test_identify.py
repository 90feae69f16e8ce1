"""Every shipped profile is recognised from what its simulated meter says, or named with the sibling it looks like."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from drivers.modbus.evidence import device_id_objects
from drivers.modbus.identify import Identified, identify
from drivers.modbus.probe import rtu_frame, understood
from drivers.profile.files import load_profile, shipped_profiles
from meter_sim.cli import make_line
from meter_sim.faults.spoil import RtuWire
from meter_sim.modbus.frames import take_rtu
from meter_sim.options import parser, wanted_meters

PROFILES = [load_profile(path) for path in shipped_profiles().values()]
MODBUS = [profile.model for profile in PROFILES if profile.protocol == "modbus"]
# On a meter that answers zeros to registers that it does not have, these cannot be told from one another.
SIBLINGS = {"eastron-sdm220": {"eastron-sdm230"}, "janitza-b23": {"janitza-umg96rm"}}
ANY_MODEL = {"sunspec"}  # reads every SunSpec meter; the model itself is named

Ask = Callable[[bytes], Awaitable[bytes | None]]


def meter(model: str, *options: str) -> Ask:
    line = make_line(
        wanted_meters([f"{model}:1"], [], "household"), parser().parse_args(["--pty", "x", *options]), None
    )
    wire = RtuWire()

    async def ask(body: bytes) -> bytes | None:
        assert body[0] in {3, 4, 0x2B}, "only reading functions"
        frame = rtu_frame(1, body)
        asked, _ = take_rtu(frame)
        outcome = line.serve(wire, asked, frame) if asked is not None else None
        if outcome is None:
            return None
        return understood(b"".join(piece.data for piece in outcome.sent.pieces), frame).answers.get(1)

    return ask


def identified(ask: Ask) -> Identified:
    return asyncio.run(identify(ask, PROFILES))


@pytest.mark.parametrize("model", [model for model in MODBUS if model not in ANY_MODEL])
def test_a_meter_is_recognised(model: str) -> None:
    found = identified(meter(model))
    assert [candidate.model for candidate in found.candidates][:1] == [model], found
    assert found.tied == ()
    assert found.candidates[0].confidence >= 0.6
    assert found.requests < 60
    profile = next(profile for profile in PROFILES if profile.model == model)
    if profile.identity.serial_number is not None or profile.sunspec is not None:
        assert found.serial_number.isdecimal()


@pytest.mark.parametrize("model", [model for model in MODBUS if model not in ANY_MODEL])
def test_a_meter_that_answers_zeros_to_any_register(model: str) -> None:
    found = identified(meter(model, "--lenient"))
    front = set(found.tied) or {found.candidates[0].model}
    assert model in front, found
    assert front - {model} <= SIBLINGS.get(model, set())


def test_any_sunspec_meter_is_named_by_its_model() -> None:
    found = identified(meter("sunspec-203", "--sunspec-base", "50000"))
    assert [candidate.model for candidate in found.candidates] == ["sunspec-203", "sunspec"]
    assert 'SunSpec model 203 at 50070 ("SunS" at 50000)' in found.candidates[0].decided
    assert 200 < found.values["voltage_l1_n"] < 250


def test_a_tie_is_said() -> None:
    found = identified(meter("eastron-sdm220", "--lenient"))
    assert set(found.tied) == {"eastron-sdm220", "eastron-sdm230"}
    assert "the same registers as eastron-sdm230" in found.candidates[0].decided
    assert sum(candidate.confidence for candidate in found.candidates) <= 1


@pytest.mark.parametrize("word", [b"\0\0", b"\xff\xff", b"\x12\x34"], ids=["zeros", "ones", "nonsense"])
def test_what_answers_the_same_to_everything_is_no_meter(word: bytes) -> None:
    async def ask(body: bytes) -> bytes | None:
        count = int.from_bytes(body[3:5], "big")
        return bytes((body[0], 2 * count)) + word * count

    assert identified(ask).candidates == ()


def test_what_refuses_or_says_nothing_is_asked_little() -> None:
    asked: list[bytes] = []

    async def silent(body: bytes) -> bytes | None:
        asked.append(body)
        return None

    assert identified(silent).candidates == ()
    assert len(asked) <= 8

    async def refuses(body: bytes) -> bytes | None:
        return bytes((body[0] | 0x80, 2))

    assert identified(refuses).candidates == ()


def test_texts_of_function_43() -> None:
    answer = b"\x2b\x0e\x01\x81\x00\x00\x02" + b"\x00\x09Schneider" + b"\x01\x07iEM3155"
    assert device_id_objects(answer) == {0: "Schneider", 1: "iEM3155"}
    for cut in range(len(answer)):
        device_id_objects(answer[:cut])
    assert device_id_objects(b"\xab\x01") == {}

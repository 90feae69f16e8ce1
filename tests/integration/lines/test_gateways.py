"""Modbus TCP gateways with habits: what is said of wrong transaction ids, and that a lost answer is asked for again."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import pytest
from modbus_peers import (
    Asked,
    Script,
    failure,
    good,
    once,
    opened,
    rtu_good,
    scripted_server,
    scripted_terminal,
    tcp_good,
    works,
)

from agent.cli.scan.run import ScannedLine, scan
from agent.core.metering.scan_plan import ScanStep
from drivers.meter import MeterError
from drivers.modbus.probe import tcp_frame, tcp_oddity
from meter_sim.modbus.frames import rtu_frame
from meter_sim.modbus.frames import tcp_frame as framed


def with_transaction(change: object) -> Script:
    """A gateway whose transaction ids are not those of the requests."""
    assert callable(change)

    def script(asked: Asked) -> list[bytes]:
        return [framed(replace(asked, transaction=change(asked.transaction)), good(asked))]

    return script


def refusing(code: int, function_code: int = 4) -> Script:
    return lambda asked: [framed(asked, bytes((function_code | 0x80, code)))]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda number: number + 1, r"answer with transaction id 3 instead of 2 \(M"),
        (
            lambda number: (number & 0xFF) << 8 | number >> 8,
            r"answer with transaction id 512 instead of 2 \(its bytes are swapped\)",
        ),
        (lambda _number: 0, r"answer with transaction id 0 instead of 2 \(M"),
        (lambda number: number ^ 0x8000, r"answer with transaction id 32770 instead of 2 \(M"),
    ],
)
def test_a_wrong_transaction_id_is_named(change: object, says: str) -> None:
    async def scenario() -> None:
        async with scripted_server(with_transaction(change)) as server, opened(server.url) as meter:
            error = await failure(meter)
            assert error.reason == "garbage"
            assert re.search(says, error.cause), str(error)
            assert "transaction id" in error.next_step
            server.script = tcp_good
            await works(meter)

    asyncio.run(scenario())


def test_a_late_answer_is_none_with_a_wrong_id() -> None:
    async def scenario() -> None:
        async with scripted_server(once(lambda _asked: [], tcp_good)) as server, opened(server.url) as meter:
            await works(meter)
            server.script = with_transaction(lambda number: number - 1)
            assert "only a late answer came, to request" in (await failure(meter)).cause

    asyncio.run(scenario())


@pytest.mark.parametrize("code", [10, 11])
def test_an_answer_that_a_gateway_lost_is_asked_for_again(code: int) -> None:
    async def scenario() -> None:
        async with scripted_server(once(refusing(code), tcp_good)) as server, opened(server.url) as meter:
            await works(meter)
            server.script = refusing(code)
            error = await failure(meter)
            assert (error.reason, f"exception {code}" in error.cause) == ("silent", True)

    asyncio.run(scenario())


@pytest.mark.parametrize("code", [10, 11])
def test_it_is_the_same_on_a_serial_line(code: int) -> None:
    def lost(asked: Asked) -> list[bytes]:
        return [rtu_frame(asked.unit, bytes((asked.function_code | 0x80, code)))]

    async def scenario() -> None:
        with scripted_terminal(once(lost, rtu_good)) as meters:
            async with opened(meters.path) as meter:
                await works(meter)

    asyncio.run(scenario())


@pytest.mark.parametrize("code", [1, 2, 4])
def test_a_refusal_of_the_meter_is_none_that_a_gateway_lost(code: int) -> None:
    asked_for: list[int] = []

    def script(asked: Asked) -> list[bytes]:
        asked_for.append(asked.count)
        return refusing(code)(asked)

    async def scenario() -> None:
        async with scripted_server(script) as server, opened(server.url) as meter:
            assert (await failure(meter)).reason == "exception"

    asyncio.run(scenario())
    assert len(asked_for) == 1 or code == 2, "only an address may be refused by mistake, and is tried apart"


class Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def planned(self, port: str, left_ms: float) -> None: ...
    def advanced(self, port: str, step: ScanStep, unit: int, left_ms: float) -> None: ...
    def found(self, found: object) -> None: ...
    def said(self, port: str, text: str) -> None:
        self.texts.append(text)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (with_transaction(lambda number: number + 1), "with transaction id 2 instead of 1"),
        (with_transaction(lambda number: number << 8), "with transaction id 256 instead of 1"),
        (lambda asked: [b"\x01\x03\x04Cf33" + bytes((asked.count, 0))], "without a Modbus TCP header: 01 03 04"),
    ],
)
def test_a_scan_says_that_something_answers(script: Script, says: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with scripted_server(script) as server:
            line, notes = ScannedLine(server.url, [ScanStep(None, tuple(range(1, 40)), 50)]), Notes()
            await scan([line], [], notes, tmp_path / "status.json")
            assert not line.found
            assert says in notes.texts[0]
            assert isinstance(line.error, MeterError)
            assert ("something answers" in line.error.cause, line.error.reason) == (True, "garbage")
            assert server.connections == 1

    asyncio.run(scenario())


def test_late_answers_to_a_scan_are_not_odd() -> None:
    frame = tcp_frame(7, 1, b"\x83\x02")
    assert [tcp_oddity(frame, number) for number in (7, 8, 300)] == [""] * 3
    assert tcp_oddity(frame, 6) == "with transaction id 7 instead of 6"
    assert tcp_oddity(frame[:7], 6) == ""

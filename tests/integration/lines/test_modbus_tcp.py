"""Modbus TCP: failing peers, late answers, lost connections, and a server that we did not write."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from math import inf

import pytest
from modbus_peers import (
    LATE_VOLTS,
    Asked,
    Script,
    failure,
    good,
    once,
    opened,
    scripted_server,
    tcp_good,
    works,
)
from name_server import answer_names
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.modbus.block_plan import Block
from drivers.modbus.line import ModbusLine, Request
from drivers.profile.files import find_profile
from drivers.profile.parse import parse_profile
from meter_sim.modbus.frames import tcp_frame


@pytest.mark.parametrize(
    ("broken", "reason", "says"),
    [
        (lambda _asked: [], "silent", "no answer within"),
        (lambda asked: [tcp_frame(Asked(9, 4, 0, 2, asked.transaction), good(asked))], "garbage", "unit 9"),
        (lambda asked: [tcp_frame(asked, b"\x04\x02\0\0")], "garbage", "2 bytes of data instead of 4"),
        (lambda _asked: [b"HTTP/1.1 400 Bad Request\r\n\r\n"], "garbage", "no Modbus TCP header"),
        (lambda asked: [tcp_frame(asked, good(asked))[:9]], "garbage", "no complete answer"),
        (lambda asked: [tcp_frame(asked, b"\x84\x0b")], "silent", "gateway target"),
        (lambda asked: [tcp_frame(asked, b"\x84\x01")], "exception", "illegal function"),
        (lambda _asked: [b""], "line_lost", ""),
    ],
)
def test_a_tcp_meter_that_fails_is_named_and_the_line_goes_on(broken: Script, reason: str, says: str) -> None:
    async def scenario() -> None:
        async with scripted_server(broken) as server, opened(server.url) as meter:
            error = await failure(meter)
            assert (error.reason, says in error.cause) == (reason, True), str(error)
            server.script = tcp_good
            await works(meter)

    asyncio.run(scenario())


def test_a_late_tcp_answer_is_passed_over() -> None:
    kept: list[bytes] = []

    def script(asked: Asked) -> list[bytes]:
        if not kept:
            kept.append(tcp_frame(asked, good(asked, LATE_VOLTS)))
            return []
        return [kept[0], *tcp_good(asked)]

    async def scenario() -> None:
        async with scripted_server(script) as server, opened(server.url) as meter:
            await works(meter)
            assert server.connections == 1

    asyncio.run(scenario())


def test_a_tcp_meter_has_its_pauses_also_after_a_late_answer() -> None:
    times: list[float] = []

    def script(asked: Asked) -> list[bytes]:
        times.append(time.monotonic())
        return tcp_good(asked)

    async def scenario() -> None:
        async with scripted_server(script) as server:
            line = ModbusLine("gateway", server.url)
            request = Request(1, Block(4, 0, 2), typical_s=0.001, timeout_s=0.5, quiet_s=0.05, subject="meter")
            async with line.claim(inf):
                await line.ask(request, asyncio.get_running_loop().time() + 5)
                line.received(b"late")
                for _ in range(3):
                    await line.ask(request, asyncio.get_running_loop().time() + 5)
            await line.close()

    asyncio.run(scenario())
    assert all(later - sooner > 0.045 for sooner, later in pairwise(times))


def test_a_dead_tcp_peer_is_noticed_at_once_and_reopened() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with scripted_server(once(lambda _asked: [b""], tcp_good)) as server, opened(server.url) as meter:
            started = loop.time()
            await works(meter)
            assert loop.time() - started < 0.09, "without waiting for the time-out"
            assert server.connections == 2

    asyncio.run(scenario())


def test_a_connection_closed_between_two_reads_costs_the_second_nothing() -> None:
    async def scenario() -> None:
        async with scripted_server(lambda asked: [*tcp_good(asked), b""]) as server, opened(server.url) as meter:
            await works(meter)
            await asyncio.wait_for(server.hung_up.wait(), 5)
            await works(meter)
            assert server.connections == 2

    asyncio.run(scenario())


def test_a_connection_that_stays_silent_is_opened_anew() -> None:
    async def scenario() -> None:
        async with scripted_server(lambda _asked: []) as server, opened(server.url) as meter:
            assert (await failure(meter)).reason == "silent"
            assert not meter.line.is_open
            assert (await failure(meter)).reason == "silent"
            assert server.connections == 2

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("tcp://127.0.0.1:1", "connection refused"),
        ("tcp://localhost:1", "connection refused"),
        ("tcp://no-such-host.invalid:502", "unknown host name"),
        ("tcp://no..host:502", "unknown host name"),
    ],
)
def test_a_tcp_line_that_cannot_be_opened(url: str, says: str) -> None:
    async def scenario() -> None:
        async with opened(url) as meter:
            error = await failure(meter, 3000)
            assert (error.reason, error.cause) == ("line_missing", says)

    asyncio.run(scenario())


def test_a_name_server_that_does_not_answer_keeps_nobody_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM ends the daemon within 5 s, and a name server may take 20."""
    answered = threading.Event()
    lookups = 0

    def ask() -> list[tuple[object, ...]]:
        nonlocal lookups
        lookups += 1
        answered.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))]

    async def scenario() -> None:
        async with opened("tcp://gateway.example:502") as meter:
            for _ in range(2):
                error = await failure(meter, 50)
                assert (error.reason, error.cause) == ("line_missing", "its name was not resolved within 50 ms")
            assert lookups == 1, "one thread at most"

    answer_names(monkeypatch, ask)
    started = time.monotonic()
    asyncio.run(scenario())
    assert time.monotonic() - started < 5
    answered.set()


def test_a_name_that_is_resolved_late_serves_the_next_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        answered = threading.Event()

        async with scripted_server(tcp_good) as server:
            port = int(server.url.rpartition(":")[2])

            def ask() -> list[tuple[object, ...]]:
                answered.wait(30)
                return [(0, 0, 0, "", ("127.0.0.2", port)), (0, 0, 0, "", ("127.0.0.1", port))]

            answer_names(monkeypatch, ask)
            async with opened(f"tcp://gateway.example:{port}") as meter:
                assert "not resolved" in (await failure(meter, 50)).cause
                loop.call_later(0.05, answered.set)
                await works(meter)

    asyncio.run(scenario())


def test_a_server_that_we_did_not_write() -> None:
    profile = find_profile("eastron-sdm630")
    told = [float(at) + 0.25 for at in range(40)]
    whole = parse_profile("""
model = "whole"
vendor = "Test"
description = "Whole numbers"
sources = ["this test"]
[defaults]
function = 3
[registers]
power_active_total = { address = 200, type = "int16", resolution = 1 }
energy_active_import_total = { address = 201, type = "uint32", resolution = 1 }
energy_active_export_total = { address = 203, type = "int64", resolution = 1 }
""")

    async def body(url: str) -> None:
        async with opened(url, profile) as meter:
            sample = await meter.read(1000)
            for column, register, steps in zip(meter.columns, profile.select(), sample.values, strict=True):
                exact = told[register.address // 2] * float(register.scale)
                assert steps == column.resolution.to_steps(exact), register.measurand
        async with opened(url, whole) as meter:
            assert (await meter.read(1000)).values == (-5, 70_000, 2**40)

    data = [
        SimData(0, values=list(told), datatype=DataType.FLOAT32),
        SimData(200, values=[-5], datatype=DataType.INT16),
        SimData(201, values=[70_000], datatype=DataType.UINT32),
        SimData(203, values=[2**40], datatype=DataType.INT64),
    ]
    asyncio.run(with_foreign_server(SimDevice(1, simdata=data), body))


async def with_foreign_server(device: SimDevice, body: Callable[[str], Awaitable[None]]) -> None:
    """pymodbus's own server: it knows nothing of us, and we nothing of it."""
    server = ModbusTcpServer(device, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    assert isinstance(server.transport, asyncio.AbstractServer)
    sockets = getattr(server.transport, "sockets")  # noqa: B009 - asyncio.Server's, which the type does not say
    try:
        await body(f"tcp://127.0.0.1:{sockets[0].getsockname()[1]}")
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]

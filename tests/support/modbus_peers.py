"""Scripted meters: a terminal and a server that answer as a test tells them to."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest

from drivers.meter import MeterError, Sample
from drivers.modbus.line import ModbusLine
from drivers.modbus.meter import ModbusMeter
from drivers.profile.parse import Profile, parse_profile
from meter_sim.modbus.frames import Asked, rtu_frame, take_rtu, take_tcp, tcp_frame

PROFILE = parse_profile("""
model = "test-meter"
vendor = "Test"
description = "Two values, far apart for a serial line"
sources = ["this test"]
default = ["voltage_l1_n"]
[timing]
answer_timeout_ms = 100
[registers]
voltage_l1_n = { address = 0, resolution = 0.1 }
frequency = { address = 100, resolution = 0.01 }
""")
VOLTS = bytes.fromhex("43663333")  # 230.2
LATE_VOLTS = bytes.fromhex("42c80000")  # 100.0
SLACK_S = 0.15
Script = Callable[[Asked], list[bytes]]


def good(asked: Asked, data: bytes | None = None) -> bytes:
    """As many registers as asked for, the first of which are `VOLTS`; or `data`, whatever was asked for."""
    if data is None:
        data = VOLTS.ljust(2 * asked.count, b"\0")
    return bytes((asked.function_code, len(data))) + data


def rtu_good(asked: Asked) -> list[bytes]:
    return [rtu_frame(asked.unit, good(asked))]


def tcp_good(asked: Asked) -> list[bytes]:
    return [tcp_frame(asked, good(asked))]


def once(first: Script, then: Script = rtu_good) -> Script:
    """A script that fails as `first` for the first request and works as `then` from the second on."""
    scripts = iter([first])

    def script(asked: Asked) -> list[bytes]:
        return next(scripts, then)(asked)

    return script


class Terminal:
    """A pseudo-terminal on which the bytes of `script` answer every request."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.meters_end, self.masters_end = os.openpty()
        tty.setraw(self.masters_end)
        self.path = os.ttyname(self.masters_end)
        self._buffer = b""

    def readable(self) -> None:
        self._buffer += os.read(self.meters_end, 1000)
        asked, self._buffer = take_rtu(self._buffer)
        if asked is not None:
            self.write(*self.script(asked))

    def write(self, *parts: bytes) -> None:
        for part in parts:
            os.write(self.meters_end, part)


@contextmanager
def scripted_terminal(script: Script) -> Iterator[Terminal]:
    """To be used within a running loop."""
    terminal = Terminal(script)
    loop = asyncio.get_running_loop()
    loop.add_reader(terminal.meters_end, terminal.readable)
    try:
        yield terminal
    finally:
        loop.remove_reader(terminal.meters_end)
        os.close(terminal.masters_end)
        os.close(terminal.meters_end)


class Server:
    """A TCP server likewise; an empty part closes the connection."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connections = 0
        self.url = ""
        self.hung_up = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        buffer = b""
        with suppress(ConnectionError, asyncio.CancelledError):
            while data := await reader.read(1000):
                asked, buffer = take_tcp(buffer + data)
                for part in self.script(asked) if asked else []:
                    if not part:
                        writer.transport.abort()
                        self.hung_up.set()
                        return
                    writer.write(part)
        writer.transport.abort()


@asynccontextmanager
async def scripted_server(script: Script) -> AsyncIterator[Server]:
    scripted = Server(script)
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield scripted


@asynccontextmanager
async def opened(port: str, profile: Profile = PROFILE, unit: int = 1) -> AsyncIterator[ModbusMeter]:
    line = ModbusLine("rs485", port)
    try:
        yield ModbusMeter(line, unit, profile, "main")
    finally:
        await line.close()


async def failure(meter: ModbusMeter, budget_ms: int = 400) -> MeterError:
    """The error of one read, which must come within the budget."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(MeterError) as caught:
        await meter.read(budget_ms)
    assert loop.time() - started < budget_ms / 1000 + SLACK_S
    error = caught.value
    assert str(error) == f"{error.operation} {error.subject}: {error.cause}; {error.next_step}"
    assert "\n" not in str(error)
    return error


async def works(meter: ModbusMeter) -> Sample:
    sample = await meter.read(1000)
    assert sample.values == (2302,)
    assert sample.flags == ()
    assert sample.words[0].words == (0x4366, 0x3333)
    return sample

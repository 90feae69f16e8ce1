"""The line and its meters on real parts: pseudo-terminals and TCP, a foreign Modbus server, and every way to fail."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.meter import MeterError, Sample
from drivers.modbus import ModbusLine
from drivers.modbus_meter import ModbusMeter
from drivers.profile import Profile, find_profile, parse_profile
from meter_sim.frames import Asked, rtu_frame, take_rtu, take_tcp, tcp_frame

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


def good(asked: Asked, data: bytes = VOLTS) -> bytes:
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


@pytest.mark.parametrize(
    ("broken", "reason", "says"),
    [
        (lambda _asked: [], "silent", "no answer within"),
        (lambda asked: [rtu_frame(asked.unit + 1, good(asked))], "garbage", "unit 2 instead of 1"),
        (lambda asked: [rtu_frame(asked.unit, good(asked, VOLTS[:2]))], "garbage", "2 bytes of data instead of 4"),
        (lambda asked: [rtu_frame(asked.unit, good(asked))[:5]], "garbage", "short answer, 5 of 9 bytes"),
        (lambda _asked: [bytes(range(7, 47))], "garbage", "no Modbus answer"),
        (lambda asked: [rtu_frame(asked.unit, good(asked))[:-1] + b"\0"], "garbage", "checksum"),
        (lambda asked: [rtu_frame(asked.unit, b"\x84\x02")], "exception", "illegal data address"),
        (lambda asked: [rtu_frame(asked.unit, b"\x84\x0b")], "silent", "gateway target"),
        (lambda asked: [rtu_frame(asked.unit, b"\x84\x63")], "exception", "exception 99 (unknown)"),
    ],
)
def test_a_serial_meter_that_fails_is_named_and_the_line_goes_on(broken: Script, reason: str, says: str) -> None:
    async def scenario() -> None:
        with scripted_terminal(broken) as terminal:
            async with opened(terminal.path) as meter:
                error = await failure(meter)
                assert (error.reason, says in error.cause) == (reason, True), str(error)
                assert "meter main (unit 1 on rs485)" in str(error)
                terminal.script = rtu_good
                await works(meter)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "first",
    [
        lambda _asked: [],
        lambda asked: [rtu_frame(2, good(asked))],
        lambda asked: [rtu_frame(asked.unit, b"\x84\x06")],
    ],
    ids=["silent", "wrong unit", "busy"],
)
def test_one_disturbance_is_retried_within_the_budget(first: Script) -> None:
    async def scenario() -> None:
        with scripted_terminal(once(first)) as terminal:
            async with opened(terminal.path) as meter:
                await works(meter)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "parts",
    [
        lambda frame: [b"\0", frame],
        lambda frame: [frame, b"\0"],
        lambda frame: [bytes((byte,)) for byte in frame],
        lambda frame: [bytes.fromhex("01040000000271cb"), frame],
    ],
    ids=["noise before", "noise after", "byte by byte", "echo"],
)
def test_a_good_answer_is_found_whatever_is_around_it(parts: Callable[[bytes], list[bytes]]) -> None:
    async def scenario() -> None:
        with scripted_terminal(lambda asked: parts(rtu_good(asked)[0])) as terminal:
            async with opened(terminal.path) as meter:
                await works(meter)
                await works(meter)

    asyncio.run(scenario())


def test_a_late_serial_answer_is_not_taken_for_the_next() -> None:
    """The meter answers after the budget's end: the reading after that must not get the old value."""

    async def scenario() -> None:
        with scripted_terminal(lambda _asked: []) as terminal:
            async with opened(terminal.path) as meter:
                assert (await failure(meter, 120)).reason == "silent"
                late = rtu_frame(1, good(Asked(1, 4, 0, 2), LATE_VOLTS))
                asyncio.get_running_loop().call_later(0.05, terminal.write, late)
                terminal.script = rtu_good
                await works(meter)

    asyncio.run(scenario())


def test_an_unplugged_adapter_is_noticed_and_a_returned_one_used(tmp_path: Path) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        link = tmp_path / "by-id"
        terminal = Terminal(lambda _asked: [])
        link.symlink_to(terminal.path)
        async with opened(str(link)) as meter:
            await meter.line.open()
            os.close(terminal.masters_end)

            def unplug() -> None:
                link.unlink()
                os.close(terminal.meters_end)

            loop.call_later(0.02, unplug)
            started = loop.time()
            error = await failure(meter, 3000)
            assert error.reason in {"line_lost", "line_missing"}, str(error)
            assert loop.time() - started < 0.09, "without waiting for the time-out"
            assert not meter.line.is_open
            with scripted_terminal(rtu_good) as again:
                link.symlink_to(again.path)
                await works(meter)

    asyncio.run(scenario())


def test_a_missing_port() -> None:
    async def scenario() -> None:
        async with opened("/dev/serial/by-id/usb-nothing") as meter:
            error = await failure(meter)
            assert error.reason == "line_missing"
            assert "no such device" in error.cause
            assert "ls /dev/serial/by-id/" in error.next_step

    asyncio.run(scenario())


def test_a_port_that_is_no_serial_port(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "file").write_text("")
        async with opened(str(tmp_path / "file")) as meter:
            error = await failure(meter)
            assert (error.reason, error.cause) == ("line_missing", "not a serial port")
        async with opened(str(tmp_path)) as meter:
            assert (await failure(meter)).reason == "line_missing"

    asyncio.run(scenario())


@contextmanager
def holder_of(path: str) -> Iterator[int]:
    """Another process that has locked `path`; yields its pid."""
    code = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    command = [sys.executable, "-c", code, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.communicate("\n")


@contextmanager
def not_for_us(path: str) -> Iterator[None]:
    """Nobody but root may open `path`, and we are not root."""
    Path(path).chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_busy_port_says_who_holds_it() -> None:
    async def scenario() -> None:
        with scripted_terminal(rtu_good) as terminal:
            async with opened(terminal.path) as meter:
                with holder_of(terminal.path) as pid:
                    error = await failure(meter)
                assert error.reason == "line_busy"
                assert f"(pid {pid})" in error.cause
                await works(meter)

    asyncio.run(scenario())


def test_a_port_that_this_user_may_not_open() -> None:
    async def scenario() -> None:
        with scripted_terminal(rtu_good) as terminal:
            async with opened(terminal.path) as meter:
                with not_for_us(terminal.path):
                    error = await failure(meter)
        assert (error.reason, error.cause) == ("line_busy", "permission denied")
        assert "dialout" in error.next_step

    asyncio.run(scenario())


def test_a_second_line_on_the_same_port_is_refused() -> None:
    async def scenario() -> None:
        with scripted_terminal(rtu_good) as terminal:
            async with opened(terminal.path) as first, opened(terminal.path) as second:
                await works(first)
                error = await failure(second)
                assert error.reason == "line_busy"
                assert "another program" in error.cause

    asyncio.run(scenario())


def test_who_waits_too_long_for_the_line_is_told() -> None:
    async def scenario() -> None:
        with scripted_terminal(lambda asked: rtu_good(asked) if asked.unit == 1 else []) as terminal:
            async with opened(terminal.path, unit=2) as dead:
                meter = ModbusMeter(dead.line, 1, PROFILE, "main")
                reading = asyncio.create_task(failure(dead))
                await asyncio.sleep(0)
                error = await failure(meter, 50)
                assert error.reason == "line_busy"
                assert "other meters" in error.cause
                assert (await reading).reason == "silent"
                await works(meter)

    asyncio.run(scenario())


def test_meters_of_one_line_wait_for_each_other() -> None:
    async def scenario() -> None:
        with scripted_terminal(rtu_good) as terminal:
            async with opened(terminal.path) as first:
                second = ModbusMeter(first.line, 7, PROFILE, "second")
                await asyncio.gather(*(works(meter) for meter in (first, second) * 3))

    asyncio.run(scenario())


def test_a_cancelled_read_leaves_the_line_usable() -> None:
    async def scenario() -> None:
        asked = asyncio.Event()

        def silent_once(_asked: Asked) -> list[bytes]:
            asked.set()
            return []

        with scripted_terminal(once(silent_once)) as terminal:
            async with opened(terminal.path) as meter:
                reading = asyncio.create_task(meter.read(1000))
                await asked.wait()
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
                await works(meter)

    asyncio.run(scenario())


def test_a_refused_block_is_read_in_smaller_ones_from_then_on() -> None:
    counts: list[int] = []

    def old_meter(asked: Asked) -> list[bytes]:
        counts.append(asked.count)
        return [tcp_frame(asked, b"\x84\x03" if asked.count > 60 else good(asked, bytes(2 * asked.count)))]

    async def scenario() -> None:
        async with scripted_server(old_meter) as server, opened(server.url, find_profile("eastron-sdm630")) as meter:
            assert len((await meter.read(1000)).values) == 16
            assert counts[0] > 60
            assert len(meter.blocks) == 2
            del counts[:]
            await meter.read(1000)
            assert len(counts) == 2
            assert max(counts) <= 60

    asyncio.run(scenario())


def test_a_refusal_of_the_smaller_blocks_too_is_the_error() -> None:
    def refuse(asked: Asked) -> list[bytes]:
        return [tcp_frame(asked, b"\x84\x02")]

    async def scenario() -> None:
        async with scripted_server(refuse) as server, opened(server.url, find_profile("eastron-sdm630")) as meter:
            assert (await failure(meter)).reason == "exception"
            assert (await failure(meter)).reason == "exception"

    asyncio.run(scenario())


def test_the_box_applies_a_transformer_ratio_only_where_the_profile_says_so() -> None:
    text = """
model = "ct-meter"
vendor = "Test"
description = "One current"
sources = ["this test"]
ct = "{ct}"
[registers]
current_l1 = {{ address = 0, resolution = 0.1 }}
"""

    async def read(ct: str, url: str) -> tuple[int | None, ...]:
        line = ModbusLine("net", url)
        sample = await ModbusMeter(line, 1, parse_profile(text.format(ct=ct)), "m", ["current_l1"], 40).read(1000)
        await line.close()
        return sample.values

    async def scenario() -> None:
        async with scripted_server(tcp_good) as server:
            assert await read("box", server.url) == (92080,)
            assert await read("meter", server.url) == (2302,)

    asyncio.run(scenario())


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
    [("tcp://127.0.0.1:1", "connection refused"), ("tcp://no-such-host.invalid:502", "unknown host name")],
)
def test_a_tcp_line_that_cannot_be_opened(url: str, says: str) -> None:
    async def scenario() -> None:
        async with opened(url) as meter:
            error = await failure(meter, 3000)
            assert (error.reason, error.cause) == ("line_missing", says)

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

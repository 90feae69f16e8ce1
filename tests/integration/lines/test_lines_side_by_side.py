"""Several lines polled at once, real ports: unplugged adapters come back by name, and no line waits for another."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from modbus_peers import PROFILE, Terminal, rtu_good, scripted_server, scripted_terminal

from agent.adapters.system.clock import SystemClock
from agent.core.metering.slots import MeterSlots
from agent.core.records import NewEvent, NewReading, NewRecord
from agent.core.system.watchdog import Watchdog
from agent.services.metering.polled_meter import PolledMeter
from agent.services.progress import MeterProgress
from agent.tasks.polling import LinePoller
from drivers.modbus.line import ModbusLine
from drivers.modbus.meter import ModbusMeter
from meter_sim.modbus.frames import Asked

INTERVAL_MS = 300


class Notebook(list[NewRecord]):
    """What the journal was given."""

    add = list.extend

    def read_ms(self) -> list[int]:
        return [record.mono_ms for record in self if isinstance(record, NewReading)]

    def reasons(self) -> set[str]:
        return {record.data["reason"] for record in self if isinstance(record, NewEvent) and record.kind == "gap"}


class Polling:
    """One meter on a port, polled until `end`."""

    def __init__(self, port: str, interval_ms: int = INTERVAL_MS) -> None:
        self.clock = SystemClock("system")
        self.notebook = Notebook()
        self.line = ModbusLine(port[-12:], port)
        meter = ModbusMeter(self.line, 1, PROFILE, "main")
        self.slots = MeterSlots("main", interval_ms, self.clock.mono_ms() + 1)
        journal: Any = self.notebook
        polled = [PolledMeter(meter, self.slots, 0, MeterProgress())]
        poller = LinePoller(self.line.name, polled, journal, self.clock, Watchdog())
        self.task = asyncio.create_task(poller.run())

    async def end(self) -> None:
        assert not self.task.done()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.notebook.add(self.slots.end(self.clock.mono_ms()))
        await self.line.close()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - what is waited for is a reading, of which nobody tells us
                await asyncio.sleep(0.01)


def test_an_adapter_is_found_again_by_its_name_within_an_interval(tmp_path: Path) -> None:
    """Each time it is another device; the name in /dev/serial/by-id points to it."""

    async def scenario() -> None:
        link = tmp_path / "usb-FTDI_FT232R_A50285BI-if00-port0"
        polling = Polling(str(link))
        for absent_s in (0.05, 0.4, 1.0):
            with ExitStack() as stack:
                terminal = stack.enter_context(scripted_terminal(rtu_good))
                link.symlink_to(terminal.path)
                back_ms, before = polling.clock.mono_ms(), len(polling.notebook.read_ms())
                await polling.until(lambda before=before: len(polling.notebook.read_ms()) >= before + 3)  # type: ignore[misc]
                assert polling.notebook.read_ms()[before] <= back_ms + INTERVAL_MS
                link.unlink()
            await asyncio.sleep(absent_s)
        await polling.end()
        assert polling.notebook.reasons() <= {"line_missing", "line_lost", "not_running"}
        assert len(polling.notebook.read_ms()) == 9

    asyncio.run(scenario())


def test_an_adapter_that_is_pulled_out_while_it_is_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        link = tmp_path / "by-id"
        dying = Terminal(rtu_good)
        link.symlink_to(dying.path)

        def pull(asked: Asked) -> list[bytes]:
            if len(polling.notebook.read_ms()) < 2:
                return rtu_good(asked)
            asyncio.get_running_loop().remove_reader(dying.meters_end)
            link.unlink()
            os.close(dying.masters_end)
            os.close(dying.meters_end)
            return []

        dying.script = pull
        asyncio.get_running_loop().add_reader(dying.meters_end, dying.readable)
        polling = Polling(str(link))
        await polling.until(lambda: not link.is_symlink())
        with scripted_terminal(rtu_good) as terminal:
            link.symlink_to(terminal.path)
            await polling.until(lambda: len(polling.notebook.read_ms()) >= 5)
            await polling.end()

    asyncio.run(scenario())


@contextmanager
def deaf_server() -> Iterator[str]:
    """A TCP port whose queue of connections is full, so that the kernel leaves further ones without an answer."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def test_a_gateway_that_hangs_delays_no_serial_line() -> None:
    """One takes connections and says nothing, one does not even do that."""

    async def scenario() -> None:
        with ExitStack() as stack:
            terminals = [stack.enter_context(scripted_terminal(rtu_good)) for _ in range(2)]
            async with scripted_server(lambda _asked: []) as mute:
                lines = [Polling(terminal.path, 100) for terminal in terminals]
                hanging = [Polling(mute.url, 100), Polling(stack.enter_context(deaf_server()), 100)]
                first_ms = [line.slots.next_ms for line in lines]
                await asyncio.sleep(3)
                for line in (*lines, *hanging):
                    await line.end()
        for line, first in zip(lines, first_ms, strict=True):
            begun = (line.clock.mono_ms() - first) // 100
            assert len(line.notebook.read_ms()) >= begun - 3
            assert line.notebook.reasons() <= {"not_running"}
        assert [line.notebook.read_ms() for line in hanging] == [[], []]
        assert "silent" in hanging[0].notebook.reasons()
        assert "line_missing" in hanging[1].notebook.reasons()

    asyncio.run(scenario())

"""Real parts that know nothing of ours: pymodbus's server for meters, mosquitto for a broker, paho for a cloud."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_process import BOX, TOLD, AgentProcess, meter_tables
from broker import PROGRAM, Authority, Mosquitto
from foreign_cloud import ForeignCloud
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


@pytest.fixture(scope="session")
def meters() -> Iterator[str]:
    """pymodbus's own server with units 1 and 2, on a thread of its own; where it is."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def serve() -> ModbusTcpServer:
        data = [SimData(0, values=list(TOLD), datatype=DataType.FLOAT32)]
        server = ModbusTcpServer([SimDevice(unit, simdata=data) for unit in (1, 2)], address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        return server

    server = asyncio.run_coroutine_threadsafe(serve(), loop).result(10)
    port = server.transport.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    yield f"tcp://127.0.0.1:{port}"
    asyncio.run_coroutine_threadsafe(server.shutdown(), loop).result(10)  # type: ignore[no-untyped-call]
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture
def broker(tmp_path: Path) -> Mosquitto:
    if PROGRAM is None:
        pytest.skip("needs mosquitto: apt-get install mosquitto")
    return Mosquitto(tmp_path, Authority(tmp_path))


@pytest.fixture
def running_broker(broker: Mosquitto) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The broker's process, to which a test appends those that it starts."""
    started = [broker.start()]
    yield started
    for process in started:
        process.terminate()
        process.wait(10)


@pytest.fixture
def cloud(broker: Mosquitto, running_broker: object) -> Iterator[ForeignCloud]:
    cloud = ForeignCloud(broker.port, broker.authority.ca, *broker.authority.issue("receiver"))
    yield cloud
    cloud.close()


@pytest.fixture
def make_box(tmp_path: Path, broker: Mosquitto, meters: str) -> Iterator[Callable[..., AgentProcess]]:
    """A box that is configured for the broker and reads unit 1; options replace what is said here."""
    made: list[AgentProcess] = []

    def make(**options: Any) -> AgentProcess:
        cert, key = broker.authority.issue(BOX)
        given = {"port": broker.port, "ca": broker.authority.ca, "cert": cert, "key": key}
        made.append(AgentProcess(tmp_path, **given | {"meters": meter_tables(meters)} | options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def box(make_box: Callable[..., AgentProcess]) -> AgentProcess:
    return make_box()

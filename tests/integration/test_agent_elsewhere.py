"""The agent among strangers: pymodbus's server for a meter, mosquitto for a broker, a subscriber that sends receipts.

Nothing here is the simulator, the receiver or the local AWS: what holds here, holds against any Modbus server and any
MQTT 5 broker with client certificates.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from broker import PROGRAM, Authority, Mosquitto
from foreign_cloud import ForeignCloud
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.profile import find_profile

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs mosquitto: apt-get install mosquitto")

BOX = "apt-7"
MODEL = "eastron-sdm630"
TOLD = [float(at) + 0.25 for at in range(40)]  # input registers 0, 2, 4 ...
DEADLINE_S = 30.0

CONFIG = """\
[box]
id = "{box}"
[clock]
source = "system"
[[bus]]
name = "lan"
port = "{meter}"
[[meter]]
name = "main"
bus = "lan"
unit = 1
model = "{model}"
interval = "200ms"
[buffer]
path = "{folder}/buffer.db"
durability = "400ms"
[batch]
max_age = "1s"
[uplink]
endpoint = "localhost"
port = {port}
ca = "{ca}"
cert = "{cert}"
key = "{key}"
topic = "wattpost/{{box}}/batches"
confirm_interval = "0s"
[status]
path = "{folder}/status.json"
interval = "1s"
"""


@dataclass
class Box:
    """`wattpost run` as a process, with what it says and what it knows of itself."""

    folder: Path
    config: Path
    process: subprocess.Popen[bytes] | None = None
    codes: list[int] = field(default_factory=list)

    def start(self) -> None:
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent", "run", "--config", str(self.config)], stdout=log, stderr=log
            )

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(10)

    def waiting(self) -> int | None:
        """Sealed batches on the disk, of this process; None while it has not said."""
        try:
            status = json.loads((self.folder / "status.json").read_text())
        except (OSError, ValueError):
            return None
        assert self.process is not None
        return int(status["buffer"]["batches"]) if status["pid"] == self.process.pid else None

    def log(self) -> str:
        return (self.folder / "agent.log").read_text()


def until(condition: Callable[[], Any], what: str, timeout_s: float = DEADLINE_S) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} did not happen within {timeout_s} s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def meter() -> Iterator[str]:
    """pymodbus's own server, on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def serve() -> ModbusTcpServer:
        device = SimDevice(1, simdata=[SimData(0, values=list(TOLD), datatype=DataType.FLOAT32)])
        server = ModbusTcpServer(device, address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        return server

    server = asyncio.run_coroutine_threadsafe(serve(), loop).result(10)
    port = server.transport.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    yield f"tcp://127.0.0.1:{port}"
    asyncio.run_coroutine_threadsafe(server.shutdown(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture
def broker(tmp_path: Path) -> Mosquitto:
    return Mosquitto(tmp_path, Authority(tmp_path))


@pytest.fixture
def running_broker(broker: Mosquitto) -> Iterator[list[subprocess.Popen[bytes]]]:
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
def box(tmp_path: Path, broker: Mosquitto, meter: str) -> Iterator[Box]:
    cert, key = broker.authority.issue(BOX)
    config = tmp_path / "agent.toml"
    values = {"box": BOX, "meter": meter, "model": MODEL, "folder": tmp_path, "port": broker.port}
    config.write_text(CONFIG.format(**values, ca=broker.authority.ca, cert=cert, key=key))
    box = Box(tmp_path, config)
    yield box
    if box.process is not None and box.process.poll() is None:
        box.process.kill()
        box.process.wait(10)


def test_readings_arrive_with_the_values_that_were_served(box: Box, cloud: ForeignCloud) -> None:
    box.start()
    while not (batch := cloud.next_batch()).series or not batch.series[0].readings:
        pass
    (series,) = batch.series
    assert (batch.key.device, series.meter) == (BOX, "main")
    registers = find_profile(MODEL).select()
    for column, register, steps in zip(series.columns, registers, series.readings[0].values, strict=True):
        exact = TOLD[register.address // 2] * float(register.scale)
        assert steps == column.resolution.to_steps(exact), register.measurand
    began_s = time.monotonic()
    assert box.end() == 0
    assert time.monotonic() - began_s < 5


def test_only_the_receipt_deletes(box: Box, cloud: ForeignCloud) -> None:
    box.start()
    until(lambda: (box.waiting() or 0) >= 3, "keeping what no receipt has confirmed")
    until(lambda: len(cloud.batches) >= 3, "the arrival of three batches")
    assert box.waiting() >= 3, "the broker's PUBACK has deleted something"

    def emptied() -> bool:
        cloud.confirm(BOX)
        return box.waiting() == 0

    until(emptied, "deletion after the receipt")
    assert cloud.different == 0


@pytest.mark.timeout(150)
def test_killed_and_cut_off_nothing_committed_is_lost(
    box: Box, cloud: ForeignCloud, broker: Mosquitto, running_broker: list[subprocess.Popen[bytes]]
) -> None:
    """The broker goes, the agent is killed meanwhile and started again, the broker comes back: no number is missing."""
    box.start()
    cloud.next_batch()
    running_broker[-1].terminate()
    running_broker[-1].wait(10)
    until(lambda: (box.waiting() or 0) >= 2, "keeping batches while the broker is away")
    assert box.end(signal.SIGKILL) == -signal.SIGKILL
    box.start()
    until(lambda: (box.waiting() or 0) >= 3, "going on where the killed one stopped")
    running_broker.append(broker.start())
    cloud.wait_subscribed()

    def drained() -> bool:
        if cloud.batches:
            cloud.confirm(BOX)
        return box.waiting() == 0

    # What the broker took while nobody was subscribed is gone; the agent sends it again when no receipt comes.
    until(drained, "delivery of the backlog", timeout_s=75)
    assert box.end() == 0
    numbers = cloud.numbers()
    assert numbers == list(range(1, numbers[-1] + 1))
    assert cloud.different == 0, "a batch sent again was not the same, byte for byte"
    assert "did not end cleanly" in box.log()
    assert len(box.log()) < 8_000

"""`wattpost run` as a process, configured for a test: started, signalled, killed, and watched from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wire.batch import Batch
from wire.codec import decode

BOX = "apt-7"
MODEL = "eastron-sdm630"
DEADLINE_S = 30.0
# What the meters of the tests serve in input registers 0, 2, 4 ...: of an SDM630, all of it plausible.
TOLD = [float(at) + 0.25 for at in range(40)]
TOLD[:3] = [230.25, 231.25, 229.25]
TOLD[31], TOLD[35] = 0.75, 50.25  # power factor and frequency

CONFIG = """\
[box]
id = "{box}"
[clock]
source = "system"
{meters}
[buffer]
path = "{folder}/buffer.db"
durability = "{durability}"
[batch]
max_age = "{max_age}"
[uplink]
endpoint = "localhost"
port = {port}
ca = "{ca}"
cert = "{cert}"
key = "{key}"
topic = "wattpost/{{box}}/batches"
confirm = "{confirm}"
confirm_interval = "0s"
[status]
path = "{folder}/status.json"
interval = "1s"
"""


def meter_tables(port: str, *units: int, name: str = "lan", interval: str = "200ms") -> str:
    """A bus with a meter per unit: `main`, then `meter2` ..."""
    tables = f'[[bus]]\nname = "{name}"\nport = "{port}"\n'
    for unit in units or (1,):
        meter = ("main" if unit == 1 else f"meter{unit}") if name == "lan" else f"{name}{unit}"
        tables += f'[[meter]]\nname = "{meter}"\nbus = "{name}"\nunit = {unit}\nmodel = "{MODEL}"\n'
        tables += f'interval = "{interval}"\n'
    return tables


def until(condition: Callable[[], Any], what: str, timeout_s: float = DEADLINE_S) -> None:
    """Wait for `condition`, looking often."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} did not happen within {timeout_s} s"
        time.sleep(0.05)


class AgentProcess:
    """Configured in `folder`; `options` are the placeholders of CONFIG."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.folder = folder
        self.config = folder / "agent.toml"
        self.options: dict[str, object] = {
            "box": BOX, "folder": folder, "durability": "400ms", "max_age": "1s", "confirm": "receipt",
        }  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None
        self.configure(**options)

    def configure(self, **options: object) -> None:
        """Write the configuration with other options than before."""
        self.options |= options
        self.config.write_text(CONFIG.format(**self.options))

    def start(self, **environment: str) -> None:
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent", "run", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                env=os.environ | environment,
            )

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 10) -> int:
        self.send(number)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 10) -> int:
        assert self.process is not None
        return self.process.wait(timeout_s)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    # Looking

    def status(self) -> dict[str, Any] | None:
        """What this process says of itself; None until it has."""
        assert self.process is not None
        try:
            status: dict[str, Any] = json.loads((self.folder / "status.json").read_text())
        except (OSError, ValueError):
            return None
        return status if status["pid"] == self.process.pid else None

    def waiting(self) -> int | None:
        """Sealed batches on the disk; None until it has said."""
        status = self.status()
        return None if status is None else int(status["buffer"]["batches"])

    def readings(self, meter: str = "main") -> int:
        """Of this process; 0 until it has said."""
        status = self.status()
        return 0 if status is None or meter not in status["meters"] else int(status["meters"][meter]["readings"])

    def works(self) -> None:
        """It goes on reading, whatever else there is."""
        before = self.readings()
        until(lambda: self.readings() > before + 3, "reading on")

    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    def lines(self, *words: str) -> list[str]:
        """Lines of the log that have all of `words`, without the time of day."""
        return [line[9:] for line in self.log().splitlines() if all(word in line for word in words)]

    def wait_for_line(self, *words: str) -> str:
        """The one line that says so; a second one is a failure."""
        until(lambda: self.lines(*words), f"a line with {words}; the log says:\n{self.log()}")
        (line,) = self.lines(*words)
        return line


def uncovered_slots(batches: Sequence[Batch], meter: str, interval_ms: int) -> list[int]:
    """Slots of `meter` from its first record to its last that are in no reading and no gap, or in more than one."""
    covered: list[int] = []
    for batch in batches:
        assert batch.anchor is not None
        phase_ms = batch.anchor.boot_utc_ms % interval_ms
        for series in batch.series:
            if series.meter == meter:
                covered += [(reading.mono_ms + phase_ms) // interval_ms for reading in series.readings]
        for event in batch.events:
            if event.kind == "gap" and event.meter == meter:
                first, end = ((event.data[name] + phase_ms) // interval_ms for name in ("from_ms", "to_ms"))
                assert end - first == event.data["slots"], event
                covered += range(first, end)
    covered.sort()
    return [
        slot
        for slot, should in zip(covered, range(covered[0], covered[0] + len(covered)), strict=True)
        if slot != should
    ]


def decode_all(bodies: Sequence[bytes]) -> list[Batch]:
    """In the order of their numbers."""
    return sorted(map(decode, bodies), key=lambda batch: batch.key.first)

"""The play: a meter on a serial line, the agent, a network that can fail, a cloud; and the comparison at the end."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.core.system.status import Status, StatusError, parse_status
from demo.compare import Comparison, Outage, compare
from demo.processes import Child, ChildError, output_of
from drivers.profile.files import find_profile

BOX = "apt-demo"
MODEL = "eastron-sdm630"
INTERVAL_MS = 1_000
DURABILITY_MS = 5_000
DRAIN_S = 60.0
QUIET_AT = 0.7  # seconds into a slot, when its read is over
SILENT_SHARE = 0.7  # of an outage; the rest answers with resets

CONFIG = """\
[box]
id = "{box}"

[clock]
source = "system"

[[bus]]
name = "rs485"
port = "{port}"

[[meter]]
name = "main"
bus = "rs485"
unit = 1
model = "{model}"
interval = "{interval_ms}ms"

[buffer]
path = "{folder}/buffer.db"
durability = "{durability_ms}ms"

[batch]
max_age = "5s"

[uplink]
endpoint = "{endpoint}"
port = {uplink_port}
ca = "{ca}"
cert = "{cert}"
key = "{key}"
topic = "{topic}"
receipts = "{receipts}"
confirm_interval = "0s"

[status]
path = "{folder}/status.json"
interval = "1s"
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """`for_s` None: until stopped. The outage lies in the middle; the kill in the middle of the outage."""

    for_s: float | None
    outage_s: float = 0.0
    crash: bool = False
    seed: int = 1

    def middle(self) -> float:
        """When the outage (or the kill alone) is at its middle, in seconds after the start."""
        return (self.for_s or 60.0) / 2


@dataclass(slots=True)
class Scenario:
    """Make it, `start` it, `play` it, `finish` it; `stop` in any case. `say` gets one line per thing that happens."""

    plan: Plan
    folder: Path
    say: Callable[[str], None]
    connection: dict[str, Any] = field(default_factory=dict)
    stored: list[dict[str, Any]] = field(default_factory=list)
    link: str = "up"
    started_s: float = field(default_factory=time.monotonic)
    proxy: Child = field(init=False)
    meter: Child = field(init=False)
    agent: Child = field(init=False)
    _children: list[Child] = field(default_factory=list)
    _power: list[float] = field(default_factory=list)
    _power_bytes: int = 0
    _killed: list[Outage] = field(default_factory=list)

    @property
    def served_path(self) -> Path:
        return self.folder / "served.jsonl"

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_s

    # Start

    async def start(self) -> None:
        """Start all parts, each when what it needs is ready. Raises `ChildError`."""
        self.say("starting a cloud: MiniStack with our template deployed, a box registered")
        arguments = ["cloud", "local", "--dir", str(self.folder / "cloud"), "--box", BOX]
        cloud = self._child(Child.python("cloud", "agent", arguments, self._log("cloud")))
        await cloud.start()
        await cloud.ready()
        self.connection = json.loads((self.folder / "cloud" / "connection.json").read_text())
        cloud_at = f"{self.connection['endpoint']}:{self.connection['port']}"
        arguments = ["--listen", "0", "--to", cloud_at]
        self.proxy = self._child(Child.python("network", "cloud.local.proxy", arguments, self._log("network")))
        await self.proxy.start()
        proxy_port = int(await self.proxy.ready())
        self.say("starting a meter: a simulated Eastron SDM630 on a serial line at 9600 baud")
        line = self.folder / "ttyMETER"
        arguments = ["--pty", str(line), "--meter", f"{MODEL}:1", "--seed", str(self.plan.seed)]
        arguments += ["--served", str(self.served_path), "--baud-pace", "--baud", "9600"]
        self.meter = self._child(Child.python("meter", "meter_sim", arguments, self._log("meter")))
        await self.meter.start()
        await self.meter.ready()
        self._write_config(str(line), proxy_port)
        self.say("starting the agent: wattpost run")
        arguments = ["run", "--config", str(self.folder / "agent.toml")]
        self.agent = self._child(Child.python("agent", "agent", arguments, self._log("agent")))
        await self.agent.start()
        self.started_s = time.monotonic()

    def _child(self, child: Child) -> Child:
        self._children.append(child)
        return child

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _write_config(self, line: str, proxy_port: int) -> None:
        values = {key: self.connection[key] for key in ("endpoint", "ca", "cert", "key", "topic", "receipts")}
        text = CONFIG.format(
            box=BOX,
            port=line,
            model=MODEL,
            folder=self.folder,
            interval_ms=INTERVAL_MS,
            durability_ms=DURABILITY_MS,
            uplink_port=proxy_port,
            **values,
        )
        (self.folder / "agent.toml").write_text(text)

    # Play

    async def play(self) -> None:
        """Let it run, with the faults that the plan has; returns when the time is over, or never."""
        await asyncio.gather(self._until_over(), self._outage(), self._crash())

    async def _until_over(self) -> None:
        while self.plan.for_s is None or self.elapsed_s < self.plan.for_s:
            for child in self._children:
                if not child.running and child is not self.agent:
                    raise ChildError(f"the {child.name} ended with code {child.exit_code}; see {child.log}")
            await asyncio.sleep(0.2)

    async def _outage(self) -> None:
        if not self.plan.outage_s:
            return
        await self._sleep_until(self.plan.middle() - self.plan.outage_s / 2)
        await self._set_link("silent", "the network goes silent: nothing arrives, nothing is refused")
        await self._sleep_until(self.plan.middle() + self.plan.outage_s * (SILENT_SHARE - 0.5))
        await self._set_link("reset", "the network resets every connection")
        await self._sleep_until(self.plan.middle() + self.plan.outage_s / 2)
        await self._set_link("pass", "the network is back")

    async def _set_link(self, mode: str, text: str) -> None:
        await self.proxy.ask(mode)
        self.link = "up" if mode == "pass" else mode
        self.say(text)

    async def _crash(self) -> None:
        if not self.plan.crash:
            return
        await self._sleep_until(self.plan.middle())
        killed_ms = _utc_ms()
        await self.agent.kill()
        self._killed.append(Outage(killed_ms - DURABILITY_MS, killed_ms))
        self.say("kill -9 to the agent; what it had not yet committed may be gone")
        await self.agent.start()
        self.say("the agent is started again, as systemd would do it")

    async def _sleep_until(self, elapsed_s: float) -> None:
        await asyncio.sleep(max(0.0, elapsed_s - self.elapsed_s))

    # Look

    async def look(self) -> None:
        """Read what the cloud's store holds."""
        command = [sys.executable, "-m", "agent", "cloud", "readings", "--json"]
        output = await output_of([*command, "--local", str(self.folder / "cloud")], self._log("readings"))
        self.stored = [json.loads(line) for line in output.splitlines()]

    def status(self) -> Status | None:
        """The agent's own status, None while there is none."""
        try:
            return parse_status((self.folder / "status.json").read_bytes())
        except (OSError, StatusError):
            return None

    def served(self) -> list[dict[str, Any]]:
        """What the meter has served so far; a last line that is still being written is left out."""
        try:
            text = self.served_path.read_text()
        except OSError:
            return []
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def power(self) -> list[float]:
        """The active power of each round that the meter has answered; reads only what is new since the last look."""
        try:
            with self.served_path.open("rb") as file:
                file.seek(self._power_bytes)
                new = file.read()
        except OSError:
            return []
        whole = new[: new.rfind(b"\n") + 1]
        self._power_bytes += len(whole)
        answers = (json.loads(line)["values"] for line in whole.splitlines())
        self._power += [values["power_active_total"] for values in answers if "power_active_total" in values]
        return self._power

    # Finish

    async def finish(self) -> Comparison:
        """Stop the meter between two reads, let the agent deliver what it has, and compare."""
        into_s = _utc_ms() % INTERVAL_MS / 1000
        await asyncio.sleep((QUIET_AT - into_s) % (INTERVAL_MS / 1000))
        await self.meter.stop()
        self.say("the meter is off; waiting until all that it served is stored in the cloud")
        deadline_s = time.monotonic() + DRAIN_S
        while True:
            await self.look()
            result = self.compare()
            if result.lost == 0 or time.monotonic() > deadline_s:
                return result
            await asyncio.sleep(1.0)

    def compare(self) -> Comparison:
        """The comparison as things are now."""
        registers = find_profile(MODEL).select()
        steps = {register.measurand: float(register.resolution.step) for register in registers}
        readings = [reading for reading in self.stored if reading["meter"] == "main" and reading["at"]]
        return compare(self.served(), readings, steps, INTERVAL_MS, self._killed)

    async def stop(self) -> None:
        """End every process, the agent first."""
        for child in reversed(self._children):
            await child.stop()


@dataclass(frozen=True, slots=True)
class Counts:
    """How far the readings have come; those of the agent are since its start."""

    read: int
    waiting: int
    sent: int
    stored: int
    confirmed: int

    @classmethod
    def of(cls, scenario: Scenario, status: Status | None) -> Counts:
        stored = len(scenario.stored)
        if status is None:
            return cls(0, 0, 0, stored, 0)
        read = status.meters["main"].readings if "main" in status.meters else 0
        uplink = status.uplink
        return cls(read, status.buffer.records, uplink.published_batches, stored, uplink.confirmed_records)


def short(path: Path) -> str:
    """As seen from here, where that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)


def _utc_ms() -> int:
    return time.time_ns() // 1_000_000  # noqa: TID251 - the meter dates what it serves by the same clock

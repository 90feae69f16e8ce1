"""Simulated meters, the agent, a counting proxy, mosquitto with mutual TLS and a receiver: what the benches run."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from broker import Authority, Mosquitto, free_port  # noqa: E402 - the tests' broker serves the benches too

from agent.adapters.system.status_file import StatusFileError, read_status  # noqa: E402
from agent.core.system.status import Status  # noqa: E402

BOX = "apt-bench"
WATTPOST = [sys.executable, "-m", "agent"]

CONFIG = """\
[box]
id = "{box}"
[clock]
source = "system"
[[bus]]
name = "lan"
port = "tcp://127.0.0.1:{meter_port}"
{meters}
[buffer]
path = "{buffer}"
{buffer_keys}
[batch]
{batch_keys}
[uplink]
endpoint = "localhost"
port = {uplink_port}
ca = "{ca}"
cert = "{cert}"
key = "{key}"
topic = "wattpost/{{box}}/batches"
{uplink_keys}
[status]
path = "{status}"
interval = "{status_interval}"
"""
METER = """[[meter]]
name = "meter-{unit}"
bus = "lan"
unit = {unit}
model = "eastron-sdm630"
interval = "{interval}"
"""


class Rig:
    """All parts but the agent, started by `open`, in `folder`; the agent is started as often as one likes."""

    def __init__(self, folder: Path, meters: int = 1, interval: str = "1s") -> None:
        self.folder = folder
        self.meters = meters
        self.interval = interval
        self.buffer = folder / "buffer.db"
        self.status = Path("/dev/shm" if Path("/dev/shm").is_dir() else folder) / f"wattpost-bench-{folder.name}.json"
        self._stack = contextlib.ExitStack()
        self._proxy: subprocess.Popen[str] | None = None

    @classmethod
    @contextlib.contextmanager
    def open(cls, folder: Path, **options: Any) -> Iterator[Rig]:
        rig = cls(folder, **options)
        with rig._stack:
            rig._start()
            yield rig
        rig.status.unlink(missing_ok=True)

    def _start(self) -> None:
        folder = self.folder
        self.authority = Authority(folder)
        self._mosquitto = Mosquitto(folder, self.authority)
        self.broker_port = self._mosquitto.port
        self.start_broker()
        meter_port = free_port()
        units = [word for unit in range(1, self.meters + 1) for word in ("--meter", f"eastron-sdm630:{unit}")]
        simulator = ["meter_sim", "--tcp", f"127.0.0.1:{meter_port}", *units]
        self._until_ready(self.spawn([*python_m(*simulator), "--served", str(folder / "served.jsonl")], "meter"))
        proxy = python_m("cloud.local.proxy", "--listen", "0", "--to", f"127.0.0.1:{self.broker_port}")
        self._proxy = self.spawn(proxy, "proxy")
        uplink_port = int(self._until_ready(self._proxy).split()[1])
        cert, key = self.authority.issue(BOX)
        self._values = {"meter_port": meter_port, "uplink_port": uplink_port, "cert": cert, "key": key}
        self.start_receiver()

    def start_broker(self) -> None:
        self.broker = self._mosquitto.start()
        self._stack.callback(end, self.broker)

    def start_receiver(self) -> None:
        cert, key = self.authority.issue("receiver")
        command = [*WATTPOST, "receive", "--broker", f"mqtts://localhost:{self.broker_port}"]
        command += ["--ca", str(self.authority.ca), "--cert", str(cert), "--key", str(key)]
        self.receiver = self.spawn([*command, "--store", str(self.folder / "store")], "receiver")

    def write_config(
        self, *, buffer_keys: str = "", batch_keys: str = "", uplink_keys: str = "", status_interval: str = "10s"
    ) -> Path:
        """The agent's configuration: defaults, but for the keys given."""
        config = self.folder / "agent.toml"
        meters = "".join(METER.format(unit=unit, interval=self.interval) for unit in range(1, self.meters + 1))
        keys = {"buffer_keys": buffer_keys, "batch_keys": batch_keys, "uplink_keys": uplink_keys}
        keys["status_interval"] = status_interval
        values = {"box": BOX, "meters": meters, "buffer": self.buffer, "ca": self.authority.ca, "status": self.status}
        config.write_text(CONFIG.format(**values, **keys, **self._values))
        return config

    def start_agent(self, config: Path, wrapper: Sequence[str] = ()) -> subprocess.Popen[str]:
        return self.spawn([*wrapper, *WATTPOST, "run", "--config", str(config)], "agent")

    def start_tutorial(self) -> subprocess.Popen[str]:
        """The peer of `tutorial.py` on the same meter and broker."""
        cert, key = self.authority.issue("tutorial")
        words = [self._values["meter_port"], self.broker_port, self.authority.ca, cert, key]
        script = str(Path(__file__).with_name("tutorial.py"))
        return self.spawn([sys.executable, script, *map(str, words)], "tutorial")

    def served(self) -> int:
        """Answers that the meters have given."""
        with (self.folder / "served.jsonl").open() as lines:
            return sum(1 for _ in lines)

    def spawn(self, command: Sequence[str], name: str) -> subprocess.Popen[str]:
        """Start a process that ends with the rig; its standard error goes to a log."""
        log: IO[bytes] = self._stack.enter_context((self.folder / f"{name}.log").open("ab"))
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT, bufsize=1
        )
        self._stack.callback(end, process)
        return process

    def _until_ready(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line.startswith("ready"):
            raise RuntimeError(f"{process.args!r} did not become ready; see {self.folder}")
        return line

    def proxy(self, command: str) -> str:
        """`pass`, `silent`, `reset` or `stats`; the answer."""
        assert self._proxy is not None
        assert self._proxy.stdin is not None
        assert self._proxy.stdout is not None
        self._proxy.stdin.write(command + "\n")
        self._proxy.stdin.flush()
        return self._proxy.stdout.readline().strip()

    def uplink_bytes(self) -> int:
        """TLS bytes both ways through the proxy so far."""
        stats = json.loads(self.proxy("stats"))
        return int(stats["up_bytes"]) + int(stats["down_bytes"])

    def agent_status(self) -> Status | None:
        """What the agent last said, None while there is nothing."""
        with contextlib.suppress(OSError, StatusFileError):
            return read_status(self.status)
        return None

    def stored(self) -> list[dict[str, Any]]:
        """What the receiver's store holds."""
        command = [*WATTPOST, "cloud", "readings", "--store", str(self.folder / "store"), "--json"]
        output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
        return [json.loads(line) for line in output.splitlines()]


def python_m(*words: str) -> list[str]:
    return [sys.executable, "-m", *words]


def end(process: subprocess.Popen[Any]) -> None:
    """Ask a process to end, insist after ten seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def wait_until(condition: Any, timeout_s: float, what: str) -> None:
    """Poll `condition` until it is true; raises RuntimeError naming `what` after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"{what} did not happen within {timeout_s:.0f} s")
        time.sleep(0.1)

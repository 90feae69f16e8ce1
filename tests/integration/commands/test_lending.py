"""A line lent by the real daemon: its slots are explained, and it comes back whatever the borrower does."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from agent_process import AgentProcess, decode_all, meter_tables, uncovered_slots, until

from agent.adapters.buffer.buffer_reader import BufferReader
from agent.adapters.system.lending_fifo import Lender, LendError, find_lender

BORROW = """
import sys, time
from pathlib import Path
from agent.adapters.system.lending_fifo import find_lender
lender = find_lender(Path(sys.argv[1]), sys.argv[2])
lender.borrow(10, int(sys.argv[3]))
print("mine", flush=True)
time.sleep(60)
"""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "meter_sim", "--pty", str(tmp_path / "bus")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready ")
        yield str(tmp_path / "bus")
        process.kill()


@pytest.fixture
def daemon(tmp_path: Path, port: str) -> Iterator[AgentProcess]:
    nowhere = tmp_path / "none.pem"
    agent = AgentProcess(tmp_path, meters=meter_tables(port), port=1, ca=nowhere, cert=nowhere, key=nowhere)
    try:
        agent.start()
        until(lambda: agent.readings() > 3, "the first readings")
        yield agent
    finally:
        agent.close()


@contextmanager
def borrower(daemon: AgentProcess, port: str, seconds: int = 60) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", BORROW, str(daemon.folder / "status.json"), port, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "mine\n"
        try:
            yield process
        finally:
            process.kill()


def loan(daemon: AgentProcess) -> Any:
    status = daemon.status()
    return None if status is None else status["lines"]["lan"]["lent"]


def missed(daemon: AgentProcess) -> int:
    status = daemon.status()
    return 0 if status is None else int(status["meters"]["main"]["slots_missed"])


def gaps(daemon: AgentProcess) -> Sequence[tuple[str, int]]:
    """Reasons and slots of all gaps on the disk, after checking that nothing is left unsaid."""
    with BufferReader.open(daemon.folder / "buffer.db") as reader:
        batches = decode_all([reader.body(row.id) for row in reader.batches()])
    assert uncovered_slots(batches, "main", 200) == []
    events = [event for batch in batches for event in batch.events if event.kind == "gap"]
    return [(event.data["reason"], event.data["slots"]) for event in events]


def test_a_line_is_lent_and_returned(daemon: AgentProcess, port: str) -> None:
    status_path = daemon.folder / "status.json"
    lender = find_lender(status_path, port)
    assert lender is not None
    assert (lender.line, lender.pid) == ("lan", daemon.process.pid if daemon.process else 0)
    assert lender.interval_s == 0.2
    assert find_lender(status_path, "/dev/null") is None
    began_s = time.monotonic()
    lender.borrow(10)
    assert time.monotonic() - began_s < 5
    assert loan(daemon)["pid"] == os.getpid()
    before = daemon.readings()
    opened = [str(entry.readlink()) for entry in Path(f"/proc/{lender.pid}/fd").iterdir()]
    assert os.path.realpath(port) not in opened
    until(lambda: missed(daemon) >= 5, "slots explained")
    assert daemon.readings() == before
    lender.give_back()
    until(lambda: loan(daemon) is None, "the return")
    daemon.works()
    assert daemon.end() == 0
    assert sum(slots for reason, slots in gaps(daemon) if reason == "lent") >= 5
    assert not (daemon.folder / "lend.fifo").exists()


def test_the_line_of_a_killed_borrower_is_taken_back(daemon: AgentProcess, port: str) -> None:
    with borrower(daemon, port) as process:
        assert loan(daemon)["pid"] == process.pid
        process.kill()
        process.wait(10)
        killed_s = time.monotonic()
        until(lambda: loan(daemon) is None, "the line's return")
        assert time.monotonic() - killed_s < 3
    daemon.works()
    assert daemon.wait_for_line("taken back").endswith("ended without returning it; taken back")


def test_a_lease_ends_with_its_time(daemon: AgentProcess, port: str) -> None:
    with borrower(daemon, port, seconds=1):
        until(lambda: loan(daemon) is None, "the line's return")
        daemon.works()
    daemon.wait_for_line("had it for as long as a line is lent")


def test_a_line_is_lent_to_one_at_a_time(daemon: AgentProcess, port: str) -> None:
    with borrower(daemon, port) as process:
        lender = find_lender(daemon.folder / "status.json", port)
        assert lender is not None
        with pytest.raises(LendError, match=f"it is lent to process {process.pid}; wait until that one has ended"):
            lender.borrow(0.3)
        assert loan(daemon)["pid"] == process.pid


def test_a_reload_while_a_line_is_lent(daemon: AgentProcess, port: str) -> None:
    with borrower(daemon, port) as process:
        daemon.configure(max_age="2s")
        daemon.send(signal.SIGHUP)
        daemon.wait_for_line("reload: ")
        before, read = missed(daemon), daemon.readings()
        until(lambda: missed(daemon) > before + 2, "slots explained after the reload")
        assert loan(daemon)["pid"] == process.pid
        assert daemon.readings() == read
        process.kill()
    daemon.works()
    assert daemon.end() == 0
    assert {reason for reason, _ in gaps(daemon)} <= {"lent", "not_running"}


def test_who_may_not_ask_is_told_how_to(daemon: AgentProcess) -> None:
    fifo = daemon.folder / "lend.fifo"
    assert stat.S_IMODE(fifo.stat().st_mode) == 0o620
    assert daemon.process is not None
    nobody = Lender(daemon.folder / "status.json", "lan", daemon.process.pid)
    if os.geteuid() == 0:
        os.seteuid(65534)
        try:
            with pytest.raises(LendError, match=r"this user may not write to .*lend.fifo; run this with sudo, or join"):
                nobody.borrow(1)
        finally:
            os.seteuid(0)


def test_rubbish_in_the_fifo_and_a_daemon_that_was_killed(daemon: AgentProcess, port: str) -> None:
    fifo = daemon.folder / "lend.fifo"
    with fifo.open("wb") as file:
        for rubbish in (b"\xff" * 10_000, b"\nlend\n", b"lend nowhere 1 60\n", b"return lan 1\n", b"x" * 300):
            file.write(rubbish)
    daemon.works()
    daemon.send(signal.SIGKILL)
    daemon.wait()
    assert find_lender(daemon.folder / "status.json", port) is None
    assert daemon.process is not None
    with pytest.raises(LendError, match=r"cannot ask through .*: No such device or address; stop the daemon"):
        Lender(daemon.folder / "status.json", "lan", daemon.process.pid).borrow(1)
    daemon.start()
    until(lambda: daemon.readings() > 3, "readings")
    lender = find_lender(daemon.folder / "status.json", port)
    assert lender is not None
    lender.borrow(10)
    lender.give_back()


def test_read_borrows_the_line_and_returns_it_after_ctrl_c(daemon: AgentProcess) -> None:
    command = [sys.executable, "-m", "agent", "read", "--config", str(daemon.config), "--watch=0.1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for _ in range(10):
            assert json.loads(process.stdout.readline())["values"]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert daemon.process is not None
        assert process.stderr.read() == (
            f"the daemon (pid {daemon.process.pid}) lends line lan and reads on afterwards\n"
        )
    until(lambda: loan(daemon) is None, "the line's return")
    daemon.works()
    assert not daemon.lines("taken back")
    once = [*command[:-2], "--json", "-m", "frequency"]
    assert subprocess.run(once, capture_output=True, timeout=30, check=False).returncode == 0


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            lambda _: None,
            "No such file or directory; scan and read cannot ask for a line; set [status] path to a folder",
        ),
        (
            lambda fifo: (fifo.parent.mkdir(), fifo.touch()),
            "is there and is no FIFO; scan and read cannot ask for a line; remove",
        ),
    ],
    ids=["no folder", "another file"],
)
def test_a_fifo_that_cannot_be_made_is_said_with_its_folder_and_a_way_out(
    tmp_path: Path, port: str, spoil: Callable[[Path], object], says: str
) -> None:
    fifo = tmp_path / "status" / "lend.fifo"
    spoil(fifo)
    nowhere = tmp_path / "none.pem"
    agent = AgentProcess(tmp_path, meters=meter_tables(port), port=1, ca=nowhere, cert=nowhere, key=nowhere)
    agent.config.write_text(agent.config.read_text().replace("status.json", "status/status.json"))
    try:
        agent.start()
        line = agent.wait_for_line("lending")
        assert line.startswith(f"WARNING lending: cannot make {fifo}: {says}")
        assert line.endswith(", and restart the agent")
        assert agent.end() == 0
    finally:
        agent.close()


def test_a_gateway_that_takes_one_connection_is_lent_like_a_line(tmp_path: Path) -> None:
    """The daemon's connection is closed before the borrower is told that the line is his."""
    command = [sys.executable, "-m", "meter_sim", "--tcp", "127.0.0.1:0"]
    nowhere = tmp_path / "none.pem"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulator:
        assert simulator.stdout is not None
        url = simulator.stdout.readline().split()[1]
        agent = AgentProcess(tmp_path, meters=meter_tables(url), port=1, ca=nowhere, cert=nowhere, key=nowhere)
        try:
            agent.start()
            until(lambda: agent.readings() > 3, "the first readings")
            lender = find_lender(tmp_path / "status.json", url)
            assert lender is not None
            assert connections(lender.pid)
            lender.borrow(10)
            assert connections(lender.pid) == 0
            assert find_lender(tmp_path / "status.json", "tcp://127.0.0.1:1") is None
            lender.give_back()
            agent.works()
            read = [sys.executable, "-m", "agent", "read", "--config", str(agent.config), "-m", "frequency"]
            assert subprocess.run(read, capture_output=True, timeout=30, check=False).returncode == 0
            agent.works()
        finally:
            agent.close()
            simulator.kill()


def connections(pid: int) -> int:
    """Sockets of the process that are connected by TCP."""
    connected = {
        fields[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if (fields := line.split())[3] == "01"
    }
    links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(link.removeprefix("socket:[").removesuffix("]") in connected for link in links if "socket:" in link)

"""The daemon as a process: started, reloaded, watched over by systemd, stopped."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_process import AgentProcess, meter_tables, uncovered_slots, until
from broker import Mosquitto
from foreign_cloud import ForeignCloud
from recording_rig import batches_in

from agent.adapters.system.clock import boot_id, machine_id
from agent.core.buffer.numbering import BoxIdentity
from wire.batch import Batch

SLOT_MS = 200


def kept(box: AgentProcess) -> list[Batch]:
    """All that the stopped box has in its buffer."""
    return batches_in(box.folder / "buffer.db", BoxIdentity("apt-7", machine_id(), boot_id()))


def kinds(batches: list[Batch]) -> list[str]:
    return [event.kind for batch in batches for event in batch.events]


def readings(batches: list[Batch], meter: str = "main") -> int:
    return sum(len(series.readings) for batch in batches for series in batch.series if series.meter == meter)


class Manager:
    """systemd's end of $NOTIFY_SOCKET."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(20)

    def wait_for(self, *wanted: str) -> list[str]:
        """The message that has these lines; those before it are passed over."""
        while True:
            lines = self._socket.recv(10_000).decode().split("\n")
            if all(any(line.startswith(one) for line in lines) for one in wanted):
                return lines

    def next_of(self, *among: str) -> str:
        """Which of the messages comes next."""
        while True:
            first = self._socket.recv(10_000).decode().split("\n")[0]
            if first in among:
                return first

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.close()


def test_told_to_stop_it_writes_everything_and_ends_within_five_seconds(make_box: Callable[..., AgentProcess]) -> None:
    """Nothing was due to be written for ten minutes, and there is no broker."""
    box = make_box(durability="10min", max_age="1h")
    box.start()
    until(lambda: box.readings() >= 10, "ten readings")
    began_s = time.monotonic()
    assert box.end() == 0
    assert time.monotonic() - began_s < 5
    batches = kept(box)
    assert readings(batches) >= 10
    assert (kinds(batches)[0], kinds(batches)[-1]) == ("start", "stop")
    assert uncovered_slots(batches, "main", SLOT_MS) == []
    assert "everything read is in the buffer" in box.log()
    assert not (box.folder / "status.json").exists()


def test_interrupted_in_a_terminal_it_ends_as_well(box: AgentProcess) -> None:
    box.start()
    until(lambda: box.readings() >= 3, "three readings")
    assert box.end(signal.SIGINT) == 0


def test_a_restart_goes_on_with_the_numbers_and_accounts_for_the_time_between(box: AgentProcess) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        box.start()
        until(lambda: box.readings() >= 10, "ten readings")
        box.end(number)
    batches = kept(box)
    assert [b.key.first for b in batches] == [1, *(b.key.last + 1 for b in batches[:-1])]
    assert uncovered_slots(batches, "main", SLOT_MS) == []
    starts = [event.data["clean"] for batch in batches for event in batch.events if event.kind == "start"]
    assert starts == [True, True, False]
    reasons = {e.data["reason"] for batch in batches for e in batch.events if e.kind == "gap"}
    assert "not_running" in reasons


def test_a_reload_adds_and_removes_meters_and_loses_no_slot(box: AgentProcess, meters: str) -> None:
    box.start()
    until(lambda: box.readings() >= 5, "five readings")
    box.configure(meters=meter_tables(meters, 1, 2))
    box.send(signal.SIGHUP)
    until(lambda: box.readings("meter2") >= 5, "readings of the added meter")
    until(lambda: box.readings("main") >= 5, "readings of the one that was there")
    box.configure(meters=meter_tables(meters, 2))
    box.send(signal.SIGHUP)
    until(lambda: "main" not in (box.status() or {"meters": "main"})["meters"], "leaving out the removed meter")
    until(lambda: box.readings("meter2") >= 5, "reading on")
    assert box.end() == 0
    batches = kept(box)
    assert uncovered_slots(batches, "main", SLOT_MS) == []
    assert uncovered_slots(batches, "meter2", SLOT_MS) == []
    assert kinds(batches).count("config") == 2
    assert len(box.lines("INFO", "reload: configuration revision")) == 2


def test_a_reload_of_a_bad_file_says_all_that_is_wrong_and_changes_nothing(box: AgentProcess, meters: str) -> None:
    box.start()
    until(lambda: box.readings() >= 3, "three readings")
    good = box.config.read_text()
    box.config.write_text(
        good.replace("unit = 1", "unit = 1000").replace('model = "eastron-sdm630"', 'model = "sdm360"')
    )
    box.send(signal.SIGHUP)
    unit = box.wait_for_line("ERROR", "reload:", "meter[0].unit")
    assert unit.endswith("expected a whole number from 0 to 255; the old configuration stays in force")
    assert "eastron-sdm630" in box.wait_for_line("reload:", "meter[0].model")
    box.works()
    assert box.readings() >= 5
    box.config.write_text(good)
    box.send(signal.SIGHUP)
    until(lambda: box.lines("reload: configuration revision"), "taking over the good one")
    assert box.end() == 0
    assert uncovered_slots(kept(box), "main", SLOT_MS) == []


def test_what_only_a_restart_can_change_stays_in_force(
    make_box: Callable[..., AgentProcess], cloud: ForeignCloud
) -> None:
    """Above all the name: batches under another one would be refused by every cloud."""
    box = make_box()
    box.start()
    cloud.next_batch()
    box.configure(box="apt-99")
    box.send(signal.SIGHUP)
    box.wait_for_line("WARNING", "reload: box.id needs a restart to change; apt-7 stays in force")
    until(lambda: box.lines("reload: configuration revision"), "the reload")
    before = len(cloud.batches)
    until(lambda: len(cloud.batches) > before + 2, "batches after the reload")
    assert {batch.key.device for batch in cloud.in_order()} == {"apt-7"}
    assert not box.lines("denies")
    assert box.end() == 0


def test_a_reload_reconnects_only_for_what_concerns_the_connection(
    make_box: Callable[..., AgentProcess], meters: str, broker: Mosquitto, running_broker: object
) -> None:
    box = make_box()
    box.start()
    until(lambda: box.lines("uplink: connected"), "connecting")
    box.configure(meters=meter_tables(meters, interval="500ms"))
    box.send(signal.SIGHUP)
    until(lambda: box.lines("reload: configuration revision"), "the reload")
    until(lambda: box.readings() >= 3, "reading at the new interval")
    assert not box.lines("WARNING")
    assert len(box.lines("uplink:")) == 1
    broker.authority.issue("apt-7")  # a new certificate under the old name
    box.send(signal.SIGHUP)
    until(lambda: len(box.lines("uplink: connected")) == 2, "connecting with the new certificate")
    assert box.lines("INFO", "uplink: connecting anew")
    assert box.end() == 0


def test_the_status_says_what_waits_for_a_restart(box: AgentProcess) -> None:
    box.start()
    until(box.status, "a status")
    good = box.config.read_text()
    box.config.write_text(good.replace("buffer.db", "other.db").replace('"system"', '"ntp"'))
    box.send(signal.SIGHUP)

    def waiting() -> list[str] | None:
        status = box.status()
        return None if status is None else status["settings"]["waiting_for_restart"]

    until(lambda: waiting() == ["clock.source", "buffer.path"], "saying so")
    status = box.status()
    assert status is not None
    assert status["settings"]["buffer_path"] == str(box.folder / "buffer.db"), "what is open"
    command = [sys.executable, "-m", "agent", "buffer", "--config", str(box.config)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    assert shown.stdout.startswith(f"buffer  {box.folder}/buffer.db\n")
    assert f"{box.folder}/buffer.db, which the daemon still has open" in shown.stderr
    box.config.write_text(good)
    box.send(signal.SIGHUP)
    until(lambda: waiting() == [], "saying that it is no longer so")
    assert box.end() == 0


def test_systemd_is_told_of_start_life_reload_and_end(box: AgentProcess, manager: Manager, meters: str) -> None:
    box.start(NOTIFY_SOCKET=str(manager.path), WATCHDOG_USEC="1000000")
    manager.wait_for("READY=1")
    for _ in range(3):
        (status,) = [line for line in manager.wait_for("WATCHDOG=1", "STATUS=") if line.startswith("STATUS=")]
        assert "1 meter, " in status
    box.send(signal.SIGHUP)
    before_us = time.monotonic_ns() // 1000
    since = manager.wait_for("RELOADING=1", "MONOTONIC_USEC=")[1]
    assert abs(int(since.removeprefix("MONOTONIC_USEC=")) - before_us) < 5_000_000
    assert manager.next_of("READY=1", "STOPPING=1") == "READY=1"
    box.config.write_text("nonsense")
    box.send(signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    assert manager.next_of("READY=1", "STOPPING=1") == "READY=1"
    box.send(signal.SIGTERM)
    assert manager.next_of("READY=1", "STOPPING=1") == "STOPPING=1"
    assert box.wait() == 0


def test_a_stopped_process_is_no_hang_once_it_goes_on(box: AgentProcess) -> None:
    """SIGSTOP and SIGCONT, as a suspended machine: one gap, no burst, nothing twice."""
    box.start()
    until(lambda: box.readings() >= 5, "five readings")
    box.send(signal.SIGSTOP)
    time.sleep(1.5)
    box.send(signal.SIGCONT)
    box.works()
    assert box.end() == 0
    batches = kept(box)
    assert uncovered_slots(batches, "main", SLOT_MS) == []
    late = [
        e.data["slots"] for batch in batches for e in batch.events if e.kind == "gap" and e.data["reason"] == "late"
    ]
    assert 4 <= max(late) <= 9


def test_a_serial_line(make_box: Callable[..., AgentProcess], cloud: ForeignCloud, tmp_path: Path) -> None:
    """RTU on a pseudo-terminal, as USB adapters are."""
    command = [sys.executable, "-m", "meter_sim", "--pty", str(tmp_path / "rs485"), "--meter", "eastron-sdm630:1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulator:
        assert simulator.stdout is not None
        assert simulator.stdout.readline().startswith("ready")
        box = make_box(meters=meter_tables(str(tmp_path / "rs485")))
        box.start()
        while not any(len(series.readings) > 2 for series in cloud.next_batch().series):
            pass
        simulator.terminate()
        box.wait_for_line("WARNING", "line lan:", str(tmp_path / "rs485"))
        assert box.end() == 0
    assert uncovered_slots(cloud.in_order(), "main", SLOT_MS) == []

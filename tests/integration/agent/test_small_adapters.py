"""Clock, status file, log lines and messages to systemd, each on the real thing."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.adapters.system import clock as clock_module
from agent.adapters.system import logs
from agent.adapters.system.clock import SystemClock, boot_id, machine_id
from agent.adapters.system.logs import Changes, set_up
from agent.adapters.system.notify import Notifier
from agent.adapters.system.status_file import StatusFile, StatusFileError, read_status, running_status
from agent.core.system.status import MeterStatus, Status, UplinkStatus

# Clocks


def test_the_boot_clock_goes_on_and_utc_is_that_of_the_system() -> None:
    clock = SystemClock("system")
    first = clock.mono_ms()
    look = clock.look()
    assert first <= look.mono_ms <= clock.mono_ms()
    assert abs(look.utc_ms - time.time() * 1000) < 1_000
    assert look.synchronised
    assert look.uncertainty_ms == 1_000


def test_the_kernel_is_asked_whether_the_clock_is_right() -> None:
    look = SystemClock("ntp").look()
    assert isinstance(look.synchronised, bool)
    assert look.uncertainty_ms >= 0


@pytest.mark.parametrize(("state", "synchronised"), [(0, True), (5, False)])
def test_adjtimex_says_whether_the_clock_is_disciplined(
    state: int, synchronised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Libc:
        def adjtimex(self, timex: object) -> int:
            timex._obj.maxerror = 1_234_567  # type: ignore[attr-defined]
            return state

    clock = SystemClock("ntp")
    monkeypatch.setattr(clock, "_libc", Libc())
    look = clock.look()
    assert (look.synchronised, look.uncertainty_ms) == (synchronised, 1_235)


@pytest.mark.parametrize("there", [True, False])
def test_where_adjtimex_is_not_permitted_timesyncds_file_decides(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Libc:
        def adjtimex(self, _timex: object) -> int:
            return -1

    if there:
        (tmp_path / "synchronized").touch()
    monkeypatch.setattr(clock_module, "TIMESYNCD", tmp_path / "synchronized")
    clock = SystemClock("ntp")
    monkeypatch.setattr(clock, "_libc", Libc())
    assert clock.look().synchronised is there


def test_a_pause_between_the_two_clocks_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped for two seconds just there, twice: the third look counts."""
    pauses_ns = iter([0, 2 * 10**9, 2 * 10**9, 2 * 10**9] + [0] * 100)
    paused_ns = 0

    def mono(_clock: int) -> int:
        nonlocal paused_ns
        paused_ns += next(pauses_ns)
        return 10**12 + paused_ns

    monkeypatch.setattr(time, "clock_gettime_ns", mono)
    monkeypatch.setattr(time, "time_ns", lambda: 17 * 10**17 + paused_ns)
    look = SystemClock("system").look()
    assert look.utc_ms - look.mono_ms == (17 * 10**17 - 10**12) // 10**6


def test_boot_and_machine_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert boot_id() == bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", ""))[:8]
    monkeypatch.setattr(clock_module, "BOOT_ID", tmp_path / "none")
    assert boot_id() == boot_id()
    assert len(boot_id()) == 8
    (tmp_path / "machine-id").write_text("abc\n")
    monkeypatch.setattr(clock_module, "MACHINE_ID", tmp_path / "machine-id")
    assert machine_id() == "abc"
    monkeypatch.setattr(clock_module, "MACHINE_ID", tmp_path / "none")
    assert machine_id() == ""


# The status file


STATUS = Status(box="größe", pid=321, boot="0102030405060708", mono_ms=1)


def test_the_status_is_replaced_as_a_whole_and_everybody_may_read_it(tmp_path: Path) -> None:
    file = StatusFile(tmp_path / "status.json")
    for mono_ms in (1, 2):
        file.write(dataclasses.replace(STATUS, mono_ms=mono_ms))
    assert read_status(tmp_path / "status.json") == dataclasses.replace(STATUS, mono_ms=2)
    assert stat.S_IMODE((tmp_path / "status.json").stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]
    file.remove()
    file.remove()
    with pytest.raises(FileNotFoundError):
        read_status(tmp_path / "status.json")


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[1]", b"\x00", b"\xff", b'"\xff"', b'{"pid": 1}', b'{"box":"a","pid":"1","boot":"","mono_ms":1}'],
)
def test_a_file_of_something_else_is_one_error_that_names_it(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "status.json"
    path.write_bytes(data)
    with pytest.raises(StatusFileError, match=f"{path} is not a status that this version can read: "):
        read_status(path)
    assert running_status(path) is None


def test_the_status_of_a_newer_and_of_an_older_daemon_can_be_read(tmp_path: Path) -> None:
    """A newer one says more, an older one less; either way each figure that both know has its value."""
    path = tmp_path / "status.json"
    newer = {"box": "a", "pid": 5, "boot": "00", "mono_ms": 7, "heat": 41, "uplink": {"connected": True, "rtt_ms": 30}}
    path.write_text(json.dumps(newer))
    assert read_status(path) == Status(box="a", pid=5, boot="00", mono_ms=7, uplink=UplinkStatus(connected=True))
    path.write_text(json.dumps({"box": "a", "pid": 5, "boot": "00", "mono_ms": 7, "meters": {"main": {}}}))
    assert read_status(path) == Status(box="a", pid=5, boot="00", mono_ms=7, meters={"main": MeterStatus()})


def test_only_the_daemon_that_runs_is_a_running_one(tmp_path: Path) -> None:
    path, file = tmp_path / "status.json", StatusFile(tmp_path / "status.json")
    assert running_status(path) is None
    now_ms = SystemClock("system").mono_ms()
    mine = dataclasses.replace(STATUS, pid=os.getpid(), boot=boot_id().hex(), mono_ms=now_ms)
    file.write(mine)
    assert running_status(path) == mine
    file.write(dataclasses.replace(mine, boot="00" * 8))
    assert running_status(path) is None
    file.write(dataclasses.replace(mine, mono_ms=0))
    assert running_status(path) is None, "this process began later than that"


# Log lines


@pytest.fixture
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("_restored_logging")
def test_journald_gets_levels_and_a_terminal_the_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    set_up()
    logging.getLogger("agent").error("broken")
    logging.getLogger("agent").warning("worn")
    logging.getLogger("agent").info("fine")
    logging.getLogger("agent").debug("chatter")
    logging.getLogger("agent").critical("dead")
    assert capsys.readouterr().err.splitlines() == ["<3>broken", "<4>worn", "<6>fine", "<3>dead"]
    monkeypatch.delenv("JOURNAL_STREAM")
    set_up(verbose=True)
    logging.getLogger("agent").debug("chatter")
    (line,) = capsys.readouterr().err.splitlines()
    assert line[2] + line[5] + line[8:] == ":: DEBUG   chatter"


def test_a_state_is_said_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    troubles: dict[str, str] = {}
    changes = Changes(logging.getLogger("test"), troubles)
    with caplog.at_level(logging.DEBUG):
        said = [
            changes.say("uplink", "broken", logging.ERROR),
            changes.say("uplink", "broken", logging.ERROR),
            changes.say("meter", "answers"),
            changes.say("uplink", "works", logging.DEBUG),
            changes.say("uplink", "broken", logging.ERROR),
        ]
    assert said == [True, False, True, True, True]
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("ERROR", "uplink: broken"),
        ("INFO", "meter: answers"),
        ("DEBUG", "uplink: works"),
        ("ERROR", "uplink: broken"),
    ]
    assert troubles == {"uplink": "broken"}
    assert changes.said("uplink")
    assert not changes.said("clock")


def test_states_with_one_key_are_the_same_state(caplog: pytest.LogCaptureFixture) -> None:
    changes = Changes(logging.getLogger("test"))
    assert changes.say("line", "waited 998 ms", key="waited")
    assert not changes.say("line", "waited 999 ms", key="waited")
    assert changes.say("line", "works")
    assert changes.say("line", "waited 997 ms", key="waited")


def test_a_state_that_changes_all_the_time_is_said_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    """A meter on a loose wire changed twice each ten seconds: that would be 17,000 lines a day."""
    now_s, troubles = 1_000_000.0, dict[str, str]()
    changes = Changes(logging.getLogger("test"), troubles, now_s=lambda: now_s)
    with caplog.at_level(logging.INFO):
        for _ in range(8640):
            changes.say("meter", "silent", logging.WARNING)
            assert troubles == {"meter": "silent"}
            now_s += 5
            changes.say("meter", "answers")
            assert troubles == {}
            now_s += 5
        lines = len(caplog.records)
        assert 24 * 12 <= lines <= 24 * 12 + 20
        now_s += 300
        changes.say("meter", "silent", logging.WARNING)
        changes.say("meter", "answers")
        for _ in range(10):  # what it was last is said, though later
            now_s += 60
            changes.say("meter", "answers")
        assert caplog.records[-1].getMessage() == "meter: answers"
        changes.say("other", "silent", logging.WARNING)
        assert caplog.records[-1].getMessage() == "other: silent"


# systemd


def manager(address: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind("\0" + address[1:] if address.startswith("@") else address)
    listening.settimeout(5)
    return listening


@pytest.mark.parametrize("abstract", [True, False])
def test_messages_reach_the_service_manager(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"@wattpost-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    with manager(address) as listening:
        with Notifier() as notifier:
            assert notifier.watchdog_ms == 30_000
            notifier.send("WATCHDOG=1", "STATUS=fine")
            assert listening.recv(1000) == b"WATCHDOG=1\nSTATUS=fine"
            before_us = time.monotonic_ns() // 1000
            notifier.reloading()
        first, second = listening.recv(1000).decode().split("\n")
        assert first == "RELOADING=1"
        assert before_us <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_a_manager_that_is_gone_or_was_never_there_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    monkeypatch.setenv("WATCHDOG_USEC", "soon")
    with Notifier() as notifier:
        notifier.send("READY=1")
        assert notifier.watchdog_ms is None
    monkeypatch.delenv("NOTIFY_SOCKET")
    with Notifier() as notifier:
        notifier.send("READY=1")


def test_the_levels_are_those_of_syslog() -> None:
    assert logs._PREFIX[logging.ERROR] == "<3>"

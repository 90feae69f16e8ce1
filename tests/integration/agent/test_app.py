"""The composition: what a reload may change, and a start anew when the buffer turns out to be damaged."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest
from agent_process import CONFIG

from agent import app as app_module
from agent.adapters.buffer.buffer import Buffer, Opening
from agent.adapters.buffer.buffer_file import BufferFileError
from agent.adapters.system.notify import Notifier
from agent.app import App, _without_restart, policies
from agent.core.records import NewEvent
from agent.settings import Settings, parse

DAMAGED = BufferFileError("write to", Path("b"), "database disk image is malformed", sqlite3.SQLITE_CORRUPT)
FAILING = BufferFileError("open", Path("b"), "disk I/O error", sqlite3.SQLITE_IOERR)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    options = {"box": "apt-7", "meters": "", "folder": tmp_path, "durability": "5s", "max_age": "5min", "port": 8883}
    text = CONFIG.format(**options, ca="ca.pem", cert="c.pem", key="k.pem", confirm="receipt")
    return parse(text.encode(), tmp_path / "agent.toml")


def test_a_reload_keeps_what_only_a_restart_can_change(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    new = replace(
        settings,
        box=replace(settings.box, id="apt-99"),
        clock=replace(settings.clock, source="ntp"),
        buffer=replace(settings.buffer, path=Path("/elsewhere"), durability_ms=1),
        status_path=Path("/elsewhere/status.json"),
        uplink=replace(settings.uplink, topic="wattpost/apt-99/batches", endpoint="other"),
    )
    kept = _without_restart(settings, new)
    assert (kept.box, kept.clock, kept.status_path) == (settings.box, settings.clock, settings.status_path)
    assert (kept.buffer.path, kept.buffer.durability_ms) == (settings.buffer.path, 1)
    assert (kept.uplink.topic, kept.uplink.receipts) == (settings.uplink.topic, settings.uplink.receipts)
    assert kept.uplink.endpoint == "other"
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "reload: box.id needs a restart to change",
        "reload: clock.source needs a restart to change",
        "reload: buffer.path needs a restart to change",
        "reload: status.path needs a restart to change",
    ]
    caplog.clear()
    assert _without_restart(kept, settings).uplink == settings.uplink
    assert caplog.records == [], "back to what is in force"


def test_a_reload_takes_over_topics_while_the_name_stays(settings: Settings) -> None:
    new = replace(settings, uplink=replace(settings.uplink, topic="other/apt-7/batches"))
    assert _without_restart(settings, new).uplink.topic == "other/apt-7/batches"


def test_policies_keep_what_was_learned(settings: Settings) -> None:
    first = policies(settings)
    first.seal.bytes_per_record = 7.5
    second = policies(settings, first)
    assert second.seal.bytes_per_record == 7.5
    assert (second.durability_ms, second.max_bytes, second.seal.max_age_ms) == (5_000, 3_600, 300_000)


class Runs:
    """What each run of the daemon comes to, one after another."""

    def __init__(self, *ends: BufferFileError | None) -> None:
        self.ends = list(ends)
        self.began = 0

    async def run(self, _app: App) -> None:
        self.began += 1
        end = self.ends.pop(0)
        if end is not None:
            raise end


def started(runs: Runs, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(app: App) -> None:
        await runs.run(app)

    monkeypatch.setattr(App, "run", run)
    asyncio.run(App.main(settings, Path("agent.toml")))


def test_a_damaged_buffer_makes_it_begin_anew(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(DAMAGED, None)
    started(runs, settings, monkeypatch)
    assert runs.began == 2


def test_a_card_that_damages_one_file_after_another_ends_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(DAMAGED, DAMAGED, None)
    with pytest.raises(BufferFileError, match="malformed"):
        started(runs, settings, monkeypatch)
    assert runs.began == 2


def test_damage_long_after_the_last_begins_anew_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "RENEW_PAUSE_MS", 0)
    runs = Runs(DAMAGED, DAMAGED, DAMAGED, None)
    started(runs, settings, monkeypatch)
    assert runs.began == 4


def test_all_runs_share_one_socket_to_systemd(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setattr(app_module, "RENEW_PAUSE_MS", 0)
    ends, sockets = [DAMAGED, DAMAGED, None], set[socket.socket]()

    async def run(app: App) -> None:
        assert app.notifier._socket is not None
        sockets.add(app.notifier._socket)
        end = ends.pop(0)
        if end is not None:
            raise end

    monkeypatch.setattr(App, "run", run)
    asyncio.run(App.main(settings, Path("agent.toml")))
    assert (len(sockets), ends) == (1, [])
    assert sockets.pop().fileno() == -1, "left open"


def test_any_other_error_of_the_buffer_ends_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(FAILING, None)
    with pytest.raises(BufferFileError, match="disk I/O error"):
        started(runs, settings, monkeypatch)


def test_damage_while_it_runs_is_repaired_without_a_restart_of_the_process(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The real daemon, without meters and broker; its buffer says once that it is damaged."""
    caplog.set_level(logging.INFO)

    async def scenario() -> None:
        started: asyncio.Queue[App] = asyncio.Queue()
        say_started = App._say_started

        def noticed(app: App, opening: Opening) -> None:
            say_started(app, opening)
            started.put_nowait(app)

        said: list[str] = []
        monkeypatch.setattr(App, "_say_started", noticed)
        monkeypatch.setattr(Notifier, "send", lambda _self, *lines: said.extend(lines))
        main = asyncio.create_task(App.main(settings, Path("agent.toml")))
        first = await asyncio.wait_for(started.get(), 20)
        buffer = first.store.buffer

        def fail(_group: object) -> None:
            with buffer.file.translate("write to"):
                raise _malformed()

        buffer.commit = fail  # type: ignore[method-assign, assignment]
        first.journal.add([NewEvent(1, "config")], at_once=True)
        second = await asyncio.wait_for(started.get(), 20)
        assert "STOPPING=1" not in said, "systemd would kill the second one"
        second._stop.set()
        await main
        assert "STOPPING=1" in said

    asyncio.run(scenario())
    assert "buffer: damaged; kept as" in caplog.text
    assert "stop: everything read is in the buffer" in caplog.text


def test_systemd_is_asked_for_patience_while_a_buffer_takes_long_to_open(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "OPENING_ASK_S", 0.02)
    open_buffer, said = App._open_buffer, list[str]()

    def slowly(app: App) -> tuple[Buffer, Opening]:
        time.sleep(0.3)
        app._stop.set()
        return open_buffer(app)

    monkeypatch.setattr(App, "_open_buffer", slowly)
    monkeypatch.setattr(Notifier, "send", lambda _self, *lines: said.extend(lines))
    asyncio.run(App.main(settings, Path("agent.toml")))
    asked = said[: said.index("READY=1")]
    assert set(asked) == {"EXTEND_TIMEOUT_USEC=60000", "WATCHDOG=1"}
    assert len(asked) >= 6


def _malformed() -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def test_a_signal_while_it_begins_anew_is_not_lost(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`systemctl stop` between the one and the next; and SIGHUP, which the next one heeds."""

    async def scenario(number: signal.Signals) -> list[str]:
        happened: list[str] = []

        async def run(app: App) -> None:
            happened.append("run")
            if happened.count("run") == 1:
                loop = asyncio.get_running_loop()
                loop.add_signal_handler(signal.SIGTERM, app._stop.set)
                loop.add_signal_handler(signal.SIGHUP, app._reload.set)
                os.kill(os.getpid(), number)
                await asyncio.sleep(0.05)
                raise DAMAGED
            happened.append("reload" if app._reload.is_set() else "nothing said")

        monkeypatch.setattr(App, "run", run)
        await asyncio.wait_for(App.main(settings, Path("agent.toml")), 5)
        return happened

    assert asyncio.run(scenario(signal.SIGTERM)) == ["run"]
    assert asyncio.run(scenario(signal.SIGHUP)) == ["run", "run", "reload"]

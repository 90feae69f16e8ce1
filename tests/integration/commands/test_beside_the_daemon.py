"""`status`, `buffer` and `read` beside a running daemon: what they say is true, and the daemon does not notice."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.buffer.batch_files import is_sound
from agent.adapters.buffer.buffer_reader import BufferReader, BufferReadError
from agent.adapters.system.status_file import read_status
from wire.codec import decode

CONFIG = """[box]
id = "apt-1"
[clock]
source = "system"
[[bus]]
name = "rs485"
port = "{folder}/bus"
[[meter]]
name = "main"
bus = "rs485"
model = "eastron-sdm630"
interval = "200ms"
[buffer]
path = "{folder}/buffer.db"
durability = "300ms"
[batch]
max_age = "1s"
[uplink]
endpoint = "127.0.0.1"
port = 1
ca = "{folder}/ca.pem"
cert = "{folder}/cert.pem"
key = "{folder}/device.key"
[status]
path = "{folder}/status.json"
interval = "1s"
"""
HAMMER = """
import sys
from pathlib import Path
from agent.adapters.buffer.buffer import Buffer
from agent.core.buffer.numbering import BoxIdentity
from agent.core.records import Group, Layout, NewReading
from wire.batch import Column
from wire.resolution import Resolution

buffer, _ = Buffer.open(Path(sys.argv[1]), BoxIdentity("apt-1", "m", bytes(8)))
layout = buffer.layout_id(Layout("main", (Column("frequency", Resolution(1, -2)),)))
kept = []
for turn in range(10**9):
    buffer.commit(Group([NewReading(layout, turn * 10 + i, (turn * i,)) for i in range(10)], {}))
    if turn % 3 == 2:
        result = buffer.seal(None, 3600, everything=True, confirm_wanted=False, handed_out=False)
        kept += [batch.id for batch, _ in result.sealed]
    if len(kept) > 40:
        buffer.outbox.delete(kept[:20])
        del kept[:20]
    if turn == 30:
        print("ready", flush=True)
"""


def wattpost(*arguments: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "agent", *(str(argument) for argument in arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=50, check=False)


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.1)
    raise AssertionError(f"waited in vain for {what}")


@contextmanager
def running(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[Any]]:
    with subprocess.Popen([sys.executable, *arguments], **options) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """With a meter on the line `bus`, and a configuration."""
    (tmp_path / "agent.toml").write_text(CONFIG.format(folder=tmp_path))
    (tmp_path / "stick").mkdir()
    simulator = ("-m", "meter_sim", "--pty", str(tmp_path / "bus"))
    with running(*simulator, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"ready ")
        yield tmp_path


def status_of(folder: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads((folder / "status.json").read_bytes())
    except FileNotFoundError:
        return {}
    return document


@contextmanager
def daemon(folder: Path) -> Iterator[subprocess.Popen[Any]]:
    """Running since a few batches."""
    with (folder / "agent.log").open("wb") as log:
        arguments = ("-m", "agent", "run", "--config", str(folder / "agent.toml"))
        with running(*arguments, stderr=log, stdout=log) as process:
            wait_for(
                lambda: process.poll() is not None or status_of(folder).get("buffer", {}).get("batches", 0) >= 2,
                "two batches",
            )
            assert process.poll() is None, (folder / "agent.log").read_text()
            yield process


def test_a_day_with_the_daemon(folder: Path) -> None:
    config = folder / "agent.toml"
    with daemon(folder) as process:
        assert read_status(folder / "status.json").pid == process.pid

        status = wattpost("status", "--config", config, "--json")
        assert status.returncode == 1, status
        document = json.loads(status.stdout)
        assert [finding["subject"] for finding in document["findings"]] == ["uplink"]
        assert "cannot read" in document["findings"][0]["text"]
        assert document["status"]["meters"]["main"]["state"] == "ok"
        assert 0 < document["status"]["buffer"]["oldest_age_ms"] < 60_000
        assert document["status"]["buffer"]["used_bytes"] > 0

        read = wattpost("read", "--config", config)
        assert read.returncode == 0, read
        assert f"the daemon (pid {process.pid}) lends line rs485" in read.stderr.decode()
        assert b"voltage_l1_n" in read.stdout

        before = json.loads(wattpost("buffer", "--config", config, "--json").stdout)
        assert (before["box"], before["strange"], before["unsent_batches"]) == ("apt-1", None, before["batches"])
        assert before["batches"] >= 2

        exported = wattpost("buffer", "--config", config, "export", folder / "stick", "--json")
        assert exported.returncode == 0, exported
        assert json.loads(exported.stdout)["new"] >= before["batches"]
        batches = sorted(
            (decode(path.read_bytes()) for path in (folder / "stick").iterdir()), key=lambda b: b.key.first
        )
        assert [batch.key.first for batch in batches] == [1, *(batch.key.last + 1 for batch in batches[:-1])]
        assert sum(len(series.readings) for batch in batches for series in batch.series) > 5

        one = wattpost("buffer", "--config", config, "get", "1").stdout
        csv = wattpost("decode", "--csv", "-", stdin=one).stdout.decode()
        assert csv.startswith("seq,meter,at,mono_ms,voltage_l1_n,")

        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, (folder / "agent.log").read_text()
    log = (folder / "agent.log").read_text()
    assert " buffer: cannot" not in log
    assert "line rs485" not in log

    stopped = wattpost("status", "--config", config)
    assert stopped.returncode == 69
    assert b"not running" in stopped.stdout
    after = json.loads(wattpost("buffer", "--config", config, "--json").stdout)
    assert after["last_number"] > before["last_number"]
    assert wattpost("read", "--config", config).returncode == 0, "the line is free again"


def test_a_killed_daemon_is_seen_to_be_gone_and_its_wal_is_read(folder: Path) -> None:
    with daemon(folder) as process:
        committed = wait_for(lambda: status_of(folder)["buffer"]["committed_records"] > 30, "records")
        process.kill()
        process.wait(10)
    committed = status_of(folder)["buffer"]["committed_records"]
    gone = wattpost("status", "--file", folder / "status.json")
    assert gone.returncode == 69
    assert f"process {process.pid} ended without a clean stop".encode() in gone.stdout
    summary = json.loads(wattpost("buffer", "--file", folder / "buffer.db", "--json").stdout)
    assert summary["batch_records"] + summary["open_records"] >= committed


def test_every_look_at_a_buffer_under_a_storm_of_writes_is_consistent(tmp_path: Path) -> None:
    path = tmp_path / "buffer.db"
    looks = refused = 0
    numbers: list[int] = []
    with running("-c", HAMMER, str(path), stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        ends = time.monotonic() + 4
        while time.monotonic() < ends:
            try:
                numbers.append(look(path))
                looks += 1
            except BufferReadError:  # it writes without a pause
                refused += 1
        assert writer.poll() is None
    assert looks > 10
    assert looks > refused
    assert numbers == sorted(numbers)
    assert numbers[-1] > numbers[0]


def look(path: Path) -> int:
    """Everything fits together; returns the last number."""
    with BufferReader.open(path) as reader:
        assert reader._db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        about, rows = reader.about(), reader.batches()
        assert rows
        for row, following in pairwise(rows):
            assert following.first == row.last + 1
        assert about.last_number == rows[-1].last + about.open_records
        assert all(is_sound(row, reader.body(row.id)) for row in rows)
        return about.last_number


def test_the_daemons_file_cannot_be_opened_the_plain_way(folder: Path) -> None:
    """Why the reader copies: should this fail one day, it need not."""
    with daemon(folder):
        plain = sqlite3.connect(f"file:{folder}/buffer.db?mode=ro", uri=True, timeout=0.1)
        with closing(plain), pytest.raises(sqlite3.OperationalError, match="locked"):
            plain.execute("SELECT count(*) FROM batch")

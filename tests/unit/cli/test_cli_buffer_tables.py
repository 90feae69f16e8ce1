"""`wattpost buffer export --sqlite`: readings and events as tables of a SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from buffer_writer import ANCHOR, BOOT, BOX, Writer
from click.testing import CliRunner, Result

from agent.cli.buffer.command import command
from agent.core.records import Group, Layout, NewEvent, NewReading
from wire.batch import Column
from wire.resolution import Resolution
from wire.utc import format_utc

VOLTAGE = Column("voltage_l1_n", Resolution(1, -1))
ENERGY = Column("energy_active_import_total", Resolution(1, 0))


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(tmp_path)
    yield made
    made.close()


def export(writer: Writer, target: Path, *more: str) -> Result:
    arguments = ["export", "--sqlite", str(target), "--file", str(writer.path), *more]
    return CliRunner().invoke(command, arguments)


def rows(path: Path, sql: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(sql)]


def commit_reading(writer: Writer, mono_ms: int, meter: str, columns: tuple[Column, ...], *values: int | None) -> None:
    layout = writer.buffer.layout_id(Layout(meter, columns, None))
    writer.buffer.commit(Group([NewReading(layout, mono_ms, values)], {}))


def test_every_reading_is_a_row_with_a_column_for_each_measurand(writer: Writer, tmp_path: Path) -> None:
    commit_reading(writer, 1_000, "main", (VOLTAGE,), None)
    writer.seal()
    commit_reading(writer, 2_000, "main", (VOLTAGE,), 2301)
    commit_reading(writer, 2_000, "flat", (ENERGY,), 12)
    writer.seal()
    target = tmp_path / "readings.db"
    result = export(writer, target)
    assert (result.exit_code, result.stdout) == (0, f"{target}: 3 readings and 0 events\n")
    shared = {"device": BOX, "epoch": writer.buffer.epoch.hex(), "boot": BOOT.hex(), "quality": "{}"}
    times = {ms: {"at": format_utc(ANCHOR.boot_utc_ms + ms), "mono_ms": ms} for ms in (1_000, 2_000)}
    assert rows(target, "SELECT * FROM reading ORDER BY seq") == [
        {**shared, "seq": 1, "meter": "main", **times[1_000], "voltage_l1_n": None, ENERGY.measurand: None},
        {**shared, "seq": 2, "meter": "main", **times[2_000], "voltage_l1_n": 230.1, ENERGY.measurand: None},
        {**shared, "seq": 3, "meter": "flat", **times[2_000], "voltage_l1_n": None, ENERGY.measurand: 12.0},
    ]
    assert rows(target, "SELECT avg(voltage_l1_n) AS v FROM reading") == [{"v": 230.1}], "numbers, not text"


def test_every_event_is_a_row(writer: Writer, tmp_path: Path) -> None:
    writer.buffer.commit(Group([NewEvent(1_500, "gap", "main", {"slots": 3})], {}))
    writer.seal()
    target = tmp_path / "readings.db"
    document = json.loads(export(writer, target, "--json").stdout)
    assert document == {"file": str(target), "reading": 0, "event": 1, "open_records": 0, "complaints": []}
    (row,) = rows(target, "SELECT seq, meter, mono_ms, kind, data FROM event")
    assert row == {"seq": 1, "meter": "main", "mono_ms": 1_500, "kind": "gap", "data": '{"slots": 3}'}


def test_a_damaged_batch_is_left_out_and_named(writer: Writer, tmp_path: Path) -> None:
    writer.batch(3)
    writer.batch(2)
    writer.execute("UPDATE batch SET body = x'5750' WHERE id = 1")
    target = tmp_path / "readings.db"
    result = export(writer, target)
    assert result.exit_code == 65
    assert "skipped batch 1, which is damaged in the buffer" in result.stderr
    assert rows(target, "SELECT min(seq) AS first FROM (SELECT seq FROM reading UNION ALL SELECT seq FROM event)") == [
        {"first": 4}
    ]


def test_what_is_there_is_never_overwritten_and_nothing_half_done_is_left(writer: Writer, tmp_path: Path) -> None:
    writer.batch(3)
    there = tmp_path / "there.db"
    there.write_bytes(b"mine")
    result = export(writer, there)
    assert (result.exit_code, there.read_bytes()) == (73, b"mine")
    assert "it exists already; name a new file" in result.stderr
    result = export(writer, tmp_path / "nowhere" / "readings.db")
    assert result.exit_code == 73
    assert "unable to open database file; free space, or name a file elsewhere" in result.stderr


def test_a_failure_in_the_middle_leaves_no_file(
    writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    writer.batch(3)
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setattr("agent.cli.buffer.tables._insert", full)
    result = export(writer, folder / "readings.db")
    assert (result.exit_code, list(folder.iterdir())) == (73, [])


@pytest.mark.parametrize("arguments", [["export"], ["export", "folder", "--sqlite", "file.db"]])
def test_it_takes_one_target(arguments: list[str]) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert "name one target: DIR, or --sqlite FILE" in result.stderr

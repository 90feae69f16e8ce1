from __future__ import annotations

import json
import os
import socket
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent.cli.main import cli
from cloud.cli.snapshot import snapshot
from cloud.doors.topic_pattern import TopicPattern
from cloud.ingest.ingest import ingest
from cloud.ports import Stores
from cloud.stores.export import readings
from cloud.stores.sqlite.stores import open_to_read
from wire.batch import Reading
from wire.codec import encode
from wire.errors import WireError


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_readings_of_a_store_as_lines_and_as_json(sqlite_stores: Stores, box: Any, tmp_path: Path) -> None:
    ingest([box.message(1, 1), box.message(2, 2, anchor=None, boot=b"2nd-boot")], sqlite_stores)
    lines = run("cloud", "readings", "--store", str(tmp_path / "store")).output.splitlines()
    assert lines == [
        f"2026-09-21T14:13:21.000Z  {box.device}  main  #1  voltage_l1_n 230.0  energy_active_import_total 1",
        (
            f"? boot {b'2nd-boot'.hex()[:6]} +2000 ms  {box.device}  main  #2  voltage_l1_n 230.0"
            "  energy_active_import_total 2"
        ),
    ]
    as_json = run("cloud", "readings", "--store", str(tmp_path / "store"), "--device", box.device, "--json").output
    assert [json.loads(line)["seq"] for line in as_json.splitlines()] == [1, 2]


def test_numbers_that_a_float_cannot_hold_are_text_in_json(sqlite_stores: Stores, box: Any, tmp_path: Path) -> None:
    seq, value = 2**60, 2**53
    batch = box.batch(seq, seq)
    series = replace(batch.series[0], readings=(Reading(seq, 1000, (1, value)),))
    ingest([box.wrap(encode(replace(batch, series=(series,))))], sqlite_stores)
    said = json.loads(run("cloud", "readings", "--store", str(tmp_path / "store"), "--json").output)
    assert (said["seq"], said["values"]["energy_active_import_total"]) == (str(seq), str(value))


def test_quality_is_shown(sqlite_stores: Stores, box: Any, tmp_path: Path) -> None:
    batch = box.batch(1, 1)
    series = replace(batch.series[0], readings=(Reading(1, 1000, (None, 5), (1, 0)),))
    ingest([box.wrap(encode(replace(batch, series=(series,))))], sqlite_stores)
    assert "voltage_l1_n: ['not_available']" in run("cloud", "readings", "--store", str(tmp_path / "store")).output


def test_readings_of_a_store_as_a_table(sqlite_stores: Stores, box: Any, tmp_path: Path) -> None:
    undated = box.batch(2, 2, anchor=None, boot=b"2nd-boot")
    series = replace(undated.series[0], readings=(Reading(2, 2000, (None, 5), (1, 0)),))
    ingest([box.message(1, 1), box.wrap(encode(replace(undated, series=(series,))))], sqlite_stores)
    target = tmp_path / "readings.db"
    result = run("cloud", "readings", "--store", str(tmp_path / "store"), "--sqlite", str(target))
    assert (result.exit_code, result.output) == (0, f"{target}: 2 readings\n")
    with closing(sqlite3.connect(target)) as db:
        rows = db.execute("SELECT seq, at, voltage_l1_n, energy_active_import_total, quality FROM reading").fetchall()
    flags = '{"voltage_l1_n": ["not_available"]}'
    assert rows == [(1, "2026-09-21T14:13:21.000Z", 230.0, 1.0, "{}"), (2, None, None, 5.0, flags)]
    again = run("cloud", "readings", "--store", str(tmp_path / "store"), "--sqlite", str(target))
    assert again.exit_code == os.EX_CANTCREAT
    assert "it is there already; name a new file" in again.output
    assert [path.name for path in tmp_path.glob("readings.db*")] == ["readings.db"]


def test_reading_a_store_leaves_it_as_it_is_and_makes_its_receiver_wait_for_nothing(
    sqlite_stores: Stores, box: Any, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    ingest([box.message(1, 1)], sqlite_stores)

    def files() -> dict[str, bytes]:
        return {path.name: b"" if path.suffix == ".db-shm" else path.read_bytes() for path in store.glob("store.db*")}

    before = files()
    with snapshot(store) as copy:
        assert files() == before
        ingest([box.message(2, 2)], sqlite_stores)
        assert [one["seq"] for one in readings(open_to_read(copy))] == [1]
    assert not copy.exists()
    with snapshot(store) as copy:
        assert [one["seq"] for one in readings(open_to_read(copy))] == [1, 2]


def test_a_damaged_store_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"no database" * 1000)
    result = run("cloud", "readings", "--store", str(tmp_path))
    assert (result.exit_code, "file is not a database" in result.output) == (os.EX_IOERR, True)


@pytest.mark.parametrize("arguments", [[], ["--store", ".", "--local", "."]])
def test_one_place_must_be_named(arguments: list[str]) -> None:
    result = run("cloud", "readings", *arguments)
    assert "give one of --store DIR and --local DIR" in result.output


@pytest.mark.parametrize(
    ("option", "says"), [("--store", "give the folder of `wattpost receive --store`"), ("--local", "running?")]
)
def test_a_folder_that_holds_nothing_says_what_it_should_be(tmp_path: Path, option: str, says: str) -> None:
    result = run("cloud", "readings", option, str(tmp_path))
    assert result.exit_code == os.EX_IOERR
    assert says in result.output


def test_readings_of_the_local_cloud(cloud: Any, cloud_stores: Stores, box: Any) -> None:
    ingest([box.message(1, 2)], cloud_stores)
    folder = str(Path(cloud.connection.cert).parents[1])
    result = run("cloud", "readings", "--local", folder, "--device", box.device, "--json")
    assert [json.loads(line)["seq"] for line in result.output.splitlines()] == [1, 2]


@pytest.mark.parametrize("option", ["--mqtt-port", "--gateway-port"])
def test_a_taken_port_is_named(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = run("cloud", "local", "--dir", str(tmp_path), option, str(other.getsockname()[1]))
    assert result.exit_code == os.EX_UNAVAILABLE
    assert "taken" in result.output


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("cloud", "local", "--dir", str(tmp_path / "file" / "cloud"))
    assert result.exit_code == os.EX_UNAVAILABLE
    assert result.output.startswith(f"Error: make {tmp_path}/file/cloud: Not a directory; ")


@pytest.mark.parametrize("name", ["$box", "a/b", "a b", ""])
def test_a_box_that_cannot_be_a_thing_is_refused_before_anything_starts(tmp_path: Path, name: str) -> None:
    assert "--box" in run("cloud", "local", "--dir", str(tmp_path / "x"), "--box", name).output
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("filter_", "topic", "box"),
    [
        ("wattpost/+/batches", "wattpost/apt-1/batches", "apt-1"),
        ("wattpost/batches/+", "wattpost/batches/apt-1", "apt-1"),
        ("+", "apt-1", "apt-1"),
        ("a/b/+", "a", ""),
    ],
)
def test_the_box_is_at_the_plus(filter_: str, topic: str, box: str) -> None:
    assert TopicPattern.parse(filter_).box_of(topic) == box


@pytest.mark.parametrize("filter_", ["a/b", "+/+", "a/+/#", "a+/b", ""])
def test_a_filter_needs_one_place_for_the_box(filter_: str) -> None:
    with pytest.raises(WireError):
        TopicPattern.parse(filter_)


@pytest.mark.parametrize("words", [["local"], ["readings"]])
def test_without_the_extra_it_says_what_to_install(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("boto3", "ministack"):
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    result = run("cloud", *words, "--dir" if words == ["local"] else "--local", str(tmp_path))
    assert result.exit_code == os.EX_UNAVAILABLE
    (line,) = result.output.splitlines()
    assert line.startswith("Error: wattpost cloud ")
    assert line.endswith(" needs pip install 'wattpost[local]'")
    assert run("cloud", "--help").exit_code == 0

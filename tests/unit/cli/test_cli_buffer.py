"""`wattpost buffer` as a person and a script see it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from buffer_writer import ANCHOR, BOOT, BOX, HOUR_MS, Writer
from click.testing import CliRunner, Result

from agent.adapters.buffer.buffer_reader import BufferReader
from agent.adapters.system.clock import SystemClock, boot_id
from agent.cli.buffer.command import command
from agent.cli.buffer.view import when
from agent.cli.main import main
from wire.batch import Anchor, Batch, BatchKey, Event
from wire.codec import decode, digest, encode
from wire.utc import format_utc, parse_utc

CONFIG = """[box]
id = "{box}"
[buffer]
path = "buffer.db"
max_size = "1MB"
[uplink]
endpoint = "broker.example"
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(tmp_path)
    yield made
    made.close()


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    folder = tmp_path / "stick"
    folder.mkdir()
    return folder


def test_the_summary(writer: Writer) -> None:
    writer.batch(3, sent=True)
    writer.batch(2)
    writer.commit(4)
    result = run("--file", writer.path)
    assert result.exit_code == 0, result.output
    assert "5 records in 2 batches" in result.stdout
    assert "1 of them never sent" in result.stdout
    assert "4 records not yet in a batch" in result.stdout
    assert re.search(r"UTC, (2 h 59|3 h [0-9]+) min ago", result.stdout), "three hours before the tests began"
    assert f"box {BOX}, epoch {writer.buffer.epoch.hex()}, numbers used up to 9" in result.stdout


def test_held_batches_are_shown_with_their_reason(writer: Writer) -> None:
    writer.batch(3)
    writer.execute("UPDATE batch SET held = 'conflict: other content'")
    result = run("--file", writer.path)
    assert "1 batch in the cloud's quarantine" in result.stdout
    assert "1  records 1..3: conflict: other content" in result.stdout
    listed = run("list", "--file", writer.path)
    assert "held: conflict: other content" in listed.stdout


def test_the_way_back_is_named_where_there_is_one(writer: Writer) -> None:
    writer.batch(3)
    writer.execute("UPDATE batch SET held = 'conflict: other content; none of its records is stored'")
    assert "wattpost buffer renumber" in run("--file", writer.path).stdout
    writer.execute("UPDATE batch SET held = 'conflict: other content'")
    assert "renumber" not in run("--file", writer.path).stdout


def test_a_batch_without_a_date_says_what_is_known(writer: Writer) -> None:
    writer.commit(1)
    writer.seal(anchor=None)
    result = run("--file", writer.path)
    assert "oldest from 1.0 s after boot 01020304; the cloud dates it" in result.stdout
    document = json.loads(run("--file", writer.path, "--json").stdout)
    assert document["oldest"] == {"at": None, "boot": BOOT.hex(), "mono_ms": 1000}


def test_the_age_of_a_batch_of_this_boot_needs_no_date() -> None:
    now_ms = SystemClock("system").mono_ms()
    batch = Batch(BatchKey(BOX, bytes(8), 1, 1), boot_id(), None, False, (), (Event(1, now_ms - 500, "stop"),))
    seen, _ = when(encode(batch))
    assert seen.utc_ms is None
    assert seen.age_ms is not None
    assert 500 <= seen.age_ms < 60_000


def test_a_damaged_batch_does_not_hide_the_others(writer: Writer, stick: Path) -> None:
    writer.batch(3)
    writer.batch(2)
    writer.execute("UPDATE batch SET body = x'5750' WHERE id = 1")
    assert "oldest from an unknown time: its bytes are damaged" in run("--file", writer.path).stdout
    assert "damaged" in run("list", "--file", writer.path).stdout
    result = run("export", stick, "--file", writer.path)
    assert result.exit_code == 65
    assert "batch 1 is damaged in the buffer" in result.stderr
    assert len(list(stick.iterdir())) == 2


def test_the_list_shows_the_newest_and_says_how_many_are_left_out(writer: Writer) -> None:
    for _ in range(5):
        writer.batch(2)
    result = run("list", "--file", writer.path, "--limit", "2")
    assert "9..10" in result.stdout
    assert "5..6" not in result.stdout
    assert "and 3 older batches: --limit 0 lists all" in result.stdout
    documents = json.loads(run("list", "--file", writer.path, "--json").stdout)
    assert [document["first"] for document in documents] == [1, 3, 5, 7, 9]
    assert documents[0] | {"bytes": 0} == {
        "id": 1,
        "device": BOX,
        "epoch": writer.buffer.epoch.hex(),
        "first": 1,
        "last": 2,
        "rev": 0,
        "records": 2,
        "bytes": 0,
        "oldest": {"at": format_utc(ANCHOR.boot_utc_ms + 1000), "boot": BOOT.hex(), "mono_ms": 1000},
        "newest": {"at": format_utc(ANCHOR.boot_utc_ms + 1001), "boot": BOOT.hex(), "mono_ms": 1001},
        "sent": False,
        "confirm_wanted": False,
        "held": None,
    }


def test_a_list_of_batches_without_a_date_says_what_is_known(writer: Writer) -> None:
    writer.commit(2)
    writer.seal(anchor=None)
    (document,) = json.loads(run("list", "--file", writer.path, "--json").stdout)
    assert document["oldest"] == {"at": None, "boot": BOOT.hex(), "mono_ms": 1000}
    assert document["newest"] == {"at": None, "boot": BOOT.hex(), "mono_ms": 1001}
    assert "boot 01020304 + 1.0 s  + 1.0 s" in run("list", "--file", writer.path).stdout


def test_the_times_of_held_and_of_damaged_batches_are_in_the_documents(writer: Writer) -> None:
    writer.batch(1)
    writer.execute("UPDATE batch SET held = 'conflict: other content'")
    (held,) = json.loads(run("--file", writer.path, "--json").stdout)["held"]
    assert held["oldest"]["at"] == format_utc(ANCHOR.boot_utc_ms + 1000)
    writer.execute("UPDATE batch SET body = x'5750'")
    (damaged,) = json.loads(run("list", "--file", writer.path, "--json").stdout)
    assert damaged["oldest"] == damaged["newest"] == {"damage": "batch cut short: 2 bytes"}


@pytest.mark.parametrize(
    ("hours", "says"), [(1, "2026-09-21 23:30  00:30 "), (25, "2026-09-21 23:30  2026-09-23 00:30 ")]
)
def test_a_line_of_the_list_says_from_when_to_when_within_80_columns(writer: Writer, hours: int, says: str) -> None:
    writer.commit(1)
    writer.time_ms += hours * HOUR_MS - 1000
    writer.commit(1)
    start_ms = parse_utc("2026-09-21T23:30:00Z") - 1000
    writer.seal(anchor=Anchor(start_ms, 5), confirm_wanted=True, sent=True)
    result = CliRunner().invoke(command, ["list", "--file", str(writer.path)], env={"COLUMNS": "80"})
    header, line = result.stdout.splitlines()
    assert says in line
    assert len(line) <= 80 or hours > 24
    assert header.index("to") == line.index(says.split("  ")[1])


def test_export_can_be_done_again_and_deletes_nothing(writer: Writer, stick: Path) -> None:
    writer.batch(3)
    writer.batch(2)
    writer.commit(1)
    first = run("export", stick, "--file", writer.path)
    assert first.exit_code == 0, first.output
    assert "has all 2 batches with 5 records" in first.stdout
    assert "not in a batch yet: 1 record of the last minutes" in first.stdout
    writer.batch(1)
    again = json.loads(run("export", stick, "--file", writer.path, "--json").stdout)
    assert (again["new"], again["same"], again["open_records"]) == (1, 2, 0)
    with BufferReader.open(writer.path) as reader:
        kept = {digest(reader.body(row.id)) for row in reader.batches()}
    assert {digest(path.read_bytes()) for path in stick.iterdir()} == kept
    assert len(kept) == 3


def test_export_into_a_folder_that_is_not_there_creates_none(writer: Writer, tmp_path: Path) -> None:
    result = run("export", tmp_path / "usb", "--file", writer.path)
    assert result.exit_code == 73
    assert "mount the USB stick, or run: mkdir" in result.stderr
    assert not (tmp_path / "usb").exists()


def test_export_to_a_full_stick_says_how_far_it_came(
    writer: Writer, stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.batch(3)
    writer.batch(2)
    real, calls = os.fsync, []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    result = run("export", stick, "--file", writer.path)
    assert result.exit_code == 73
    assert "No space left on device; 1 of 2 batches are written; free space" in result.stderr


@pytest.mark.parametrize("which", [("2",), ("--first", "4")])
def test_get_writes_the_bytes_of_one_batch(writer: Writer, which: tuple[str, ...]) -> None:
    writer.batch(3)
    writer.batch(2)
    result = run("get", *which, "--file", writer.path)
    assert result.exit_code == 0, result.stderr
    assert decode(result.stdout_bytes).key.first == 4


def test_get_of_what_is_not_there(writer: Writer) -> None:
    result = run("get", "17", "--file", writer.path)
    assert result.exit_code == 66
    assert "no batch has the id 17; it may have been confirmed since" in result.stderr
    assert run("get", "--file", writer.path).exit_code == 2
    assert run("get", "1", "--first", "1", "--file", writer.path).exit_code == 2


def test_options_may_stand_before_the_subcommand(writer: Writer) -> None:
    writer.batch(1)
    assert "1..1" in run("--file", writer.path, "list").stdout


def test_the_configuration_names_the_buffer_and_its_limit(writer: Writer, tmp_path: Path) -> None:
    writer.batch(1)
    config = tmp_path / "agent.toml"
    config.write_text(CONFIG.format(box=BOX))
    assert "of 1 MB in use" in run("--config", config).stdout
    config.write_text(CONFIG.format(box="apt-2"))
    assert "the configuration is for box apt-2" in run("--config", config).stdout
    config.write_text("[box]\n")
    result = run("--config", config)
    assert result.exit_code == 78
    assert "box.id" in result.stderr
    assert "wattpost buffer --file" in result.stderr


def test_batches_of_another_box_are_pointed_out(writer: Writer) -> None:
    writer.batch(1)
    writer.execute("INSERT INTO epoch VALUES (x'0102030405060708', 'apt-9', 5)")
    writer.execute("UPDATE batch SET epoch = x'0102030405060708'")
    assert "1 batch of box apt-9, kept but not sent" in run("--file", writer.path).stdout


def test_a_buffer_of_another_machine_is_pointed_out(tmp_path: Path) -> None:
    writer = Writer(tmp_path, machine="another")
    writer.batch(1)
    assert "it was written on another machine" in run("--file", writer.path).stdout
    writer.close()


def test_a_missing_and_a_foreign_file(tmp_path: Path) -> None:
    missing = run("--file", tmp_path / "buffer.db")
    assert missing.exit_code == 66
    assert "there is no buffer" in missing.stderr
    (tmp_path / "other").write_text("not SQLite, and long enough to be sure of it" * 20)
    foreign = run("--file", tmp_path / "other")
    assert foreign.exit_code == 65
    assert "file is not a database; name the right file with --file" in foreign.stderr
    for folder in (tmp_path, Path(), Path("/")):
        result = run("--file", folder)
        assert result.exit_code == 66
        assert "Is a directory; name the file in it" in result.stderr


def test_a_file_that_this_user_may_not_read(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(source: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr(shutil, "copyfile", denied)
    result = run("--file", writer.path)
    assert result.exit_code == 66
    assert "Permission denied; run as root: sudo wattpost buffer" in result.stderr


def test_json_before_a_subcommand_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["buffer", "--json", "list"])
    assert caught.value.code == 64
    assert "write --json after list" in capsys.readouterr().err


def test_an_export_to_where_this_user_may_not_look(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may look everywhere, so it is acted."""

    def denied(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    writer.batch(1)
    monkeypatch.setattr(Path, "is_dir", denied)
    result = run("export", "closed/folder", "--file", writer.path)
    assert result.exit_code == 73
    assert "cannot open closed/folder: Permission denied; use a folder that this user can read" in result.stderr

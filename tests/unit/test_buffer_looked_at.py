"""Looking into a buffer and carrying it away: the reader beside its writer, the files, and `wattpost buffer`."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent.adapters.batch_files import Written, file_name, is_sound, write_batch
from agent.adapters.buffer import Buffer, Identity
from agent.adapters.buffer_reader import BatchRow, BufferReader, BufferReadError
from agent.adapters.clock import SystemClock, boot_id, machine_id
from agent.adapters.schema import VERSION
from agent.cli.buffer import command
from agent.cli.buffer_view import when
from agent.cli.main import main
from agent.core.records import Group, Layout, NewReading
from wire.batch import Anchor, Batch, BatchKey, Column, Event
from wire.codec import decode, digest, encode
from wire.resolution import Resolution

BOX = "apt:1"
COLUMNS = (Column("power_active_total", Resolution(1, -1)), Column("energy_active_import_total", Resolution(1, 0)))
BOOT = bytes.fromhex("0102030405060708")  # not this one: a machine that has just started has no past
HOUR_MS = 3_600_000
ANCHOR = Anchor(SystemClock("system").look().utc_ms - 3 * HOUR_MS, 5)
CONFIG = """[box]
id = "{box}"
[buffer]
path = "buffer.db"
max_size = "1MB"
[uplink]
endpoint = "broker.example"
"""


class Writer:
    """A real buffer, kept open and locked as the agent does."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "buffer.db"
        self.buffer, _ = Buffer.open(self.path, Identity(BOX, machine_id(), BOOT))
        self.layout = self.buffer.layout_id(Layout("main", COLUMNS))
        self.time_ms = 0

    def commit(self, records: int) -> None:
        self.time_ms += 1000
        rows = [NewReading(self.layout, self.time_ms + i, (i, 1000 + i)) for i in range(records)]
        self.buffer.commit(Group(rows, {"main": records}))

    def seal(self, *, anchor: Anchor | None = ANCHOR, confirm_wanted: bool = False, sent: bool = False) -> None:
        self.buffer.seal(anchor, 3600, everything=True, confirm_wanted=confirm_wanted, handed_out=sent)

    def batch(self, records: int, **options: bool) -> None:
        self.commit(records)
        self.seal(**options)

    def execute(self, sql: str, *values: object) -> None:
        self.buffer.file.db.execute(sql, values)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(tmp_path)
    yield made
    made.buffer.file.close()


def read(path: Path) -> tuple[BufferReader, Sequence[BatchRow]]:
    with BufferReader.open(path) as reader:
        return reader, reader.batches()


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    folder = tmp_path / "stick"
    folder.mkdir()
    return folder


# The reader


def test_everything_that_was_committed_is_seen_while_the_writer_goes_on(writer: Writer) -> None:
    writer.batch(3, confirm_wanted=True, sent=True)
    writer.batch(2)
    writer.commit(4)
    with BufferReader.open(writer.path) as reader:
        writer.batch(7)  # the copy stays as it was
        about, (first, second) = reader.about(), reader.batches()
        assert (about.box_id, about.epoch, about.boot) == (BOX, writer.buffer.epoch, BOOT)
        assert (about.open_records, about.last_number, about.clean) == (4, 9, False)
        assert (first.device, first.epoch, first.first, first.last, first.rev) == (BOX, about.epoch, 1, 3, 0)
        assert (first.records, first.sent, first.confirm_wanted, first.held) == (3, True, True, None)
        assert (second.first, second.last, second.sent, second.confirm_wanted) == (4, 5, False, False)
        assert decode(reader.body(second.id)).key.last == 5
        assert second.size == len(reader.body(second.id))
        assert 0 < about.used_bytes < about.file_bytes


def test_looking_leaves_nothing_behind_and_changes_nothing(writer: Writer, tmp_path: Path) -> None:
    writer.batch(3)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    reader, _ = read(writer.path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert not Path(reader._folder.name).exists()


def test_what_a_killed_writer_left_in_the_wal_is_seen(writer: Writer, tmp_path: Path) -> None:
    writer.batch(3)
    card = tmp_path / "card"
    card.mkdir()
    for name in ("buffer.db", "buffer.db-wal"):
        shutil.copy(tmp_path / name, card)
    assert [row.last for row in read(card / "buffer.db")[1]] == [3]


def test_a_file_after_a_clean_stop(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.batch(3)
    writer.buffer.close(1)
    with BufferReader.open(writer.path) as reader:
        assert reader.about().clean
        assert len(reader.batches()) == 1


def test_a_buffer_to_which_nothing_was_ever_written(writer: Writer) -> None:
    with BufferReader.open(writer.path) as reader:
        assert reader.about().box_id is None
        assert reader.batches() == []


def test_a_wal_that_begins_anew_during_the_copy_is_copied_again(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.batch(3)
    copies: list[Path] = []
    real = shutil.copyfile

    def copyfile(source: Path, target: Path) -> None:
        real(source, target)
        copies.append(source)
        if len(copies) == 1:
            writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            writer.batch(2)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    assert [row.last for row in read(writer.path)[1]] == [3, 5]
    assert [path.name for path in copies] == ["buffer.db", "buffer.db-wal"] * 2


def test_a_writer_without_a_pause_is_said_to_be_one(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.copyfile

    def copyfile(source: Path, target: Path) -> None:
        real(source, target)
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writer.batch(1)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(BufferReadError, match="writes to it without a pause; try again"):
        BufferReader.open(writer.path)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (VERSION + 1, rf"newer version \(schema {VERSION + 1}.*use that version"),
        (0, "it is no buffer, or an empty one"),
    ],
)
def test_a_file_of_another_version(writer: Writer, version: int, message: str) -> None:
    writer.batch(1)
    writer.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(BufferReadError, match=message):
        BufferReader.open(writer.path)


def test_no_room_for_a_copy_names_the_places(writer: Writer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(BufferReadError, match=rf"no room for a copy .* {tmp_path}; set TMPDIR"):
        BufferReader.open(writer.path, scratch=tmp_path)


# Files


ROW = BatchRow(1, BOX, bytes(8), 1, 3, 0, 3, 100, sent=False, confirm_wanted=False, held=None)


@pytest.fixture
def batch(writer: Writer) -> tuple[BatchRow, bytes]:
    writer.batch(3)
    with BufferReader.open(writer.path) as reader:
        (row,) = reader.batches()
        return row, reader.body(row.id)


def test_the_name_of_a_file_is_safe_on_any_file_system() -> None:
    assert file_name(ROW) == "apt_1-0000000000000000-1-3-0.wpb"


def test_a_batch_is_written_once(stick: Path, batch: tuple[BatchRow, bytes]) -> None:
    row, body = batch
    assert write_batch(stick, row, body) is Written.NEW
    assert write_batch(stick, row, body) is Written.SAME
    (path,) = stick.iterdir()
    assert path.read_bytes() == body


def test_a_file_that_broke_off_is_replaced(stick: Path, batch: tuple[BatchRow, bytes]) -> None:
    row, body = batch
    (stick / file_name(row)).write_bytes(body[:-5])
    assert write_batch(stick, row, body) is Written.REPAIRED
    assert (stick / file_name(row)).read_bytes() == body


def test_a_sound_file_with_other_content_is_left_alone(stick: Path, batch: tuple[BatchRow, bytes]) -> None:
    row, body = batch
    assert is_sound(row, body)
    assert write_batch(stick, row, body) is Written.NEW
    assert write_batch(stick, row, b"something else") is Written.CONFLICT
    assert (stick / file_name(row)).read_bytes() == body


def test_a_failed_write_leaves_no_part(
    stick: Path, batch: tuple[BatchRow, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_batch(stick, *batch)
    assert list(stick.iterdir()) == []


# The command


def test_the_summary(writer: Writer) -> None:
    writer.batch(3, sent=True)
    writer.batch(2)
    writer.commit(4)
    result = run("--file", writer.path)
    assert result.exit_code == 0, result.output
    assert "5 records in 2 batches" in result.stdout
    assert "1 of them never sent" in result.stdout
    assert "4 records not yet in a batch" in result.stdout
    assert "UTC, 2 h 59 min ago" in result.stdout or "UTC, 3 h 0 min ago" in result.stdout
    assert f"box {BOX}, epoch {writer.buffer.epoch.hex()}, numbers given up to 9" in result.stdout


def test_held_batches_are_shown_with_their_reason(writer: Writer) -> None:
    writer.batch(3)
    writer.execute("UPDATE batch SET held = 'conflict: other content'")
    result = run("--file", writer.path)
    assert "1 batch in the cloud's quarantine" in result.stdout
    assert "1  records 1..3: conflict: other content" in result.stdout
    listed = run("list", "--file", writer.path)
    assert "held: conflict: other content" in listed.stdout


def test_a_batch_without_a_date_says_what_is_known(writer: Writer) -> None:
    writer.commit(1)
    writer.seal(anchor=None)
    result = run("--file", writer.path)
    assert "oldest from 1.0 s after the machine's start 01020304; the cloud dates it" in result.stdout
    document = json.loads(run("--file", writer.path, "--json").stdout)
    assert document["oldest"] == {"at": None, "boot": BOOT.hex(), "mono_ms": 1000}


def test_the_age_of_a_batch_of_this_boot_needs_no_date() -> None:
    now_ms = SystemClock("system").mono_ms()
    batch = Batch(BatchKey(BOX, bytes(8), 1, 1), boot_id(), None, False, (), (Event(1, now_ms - 500, "stop"),))
    seen = when(encode(batch))
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
        "sent": False,
        "confirm_wanted": False,
        "held": None,
    }


def test_export_can_be_done_again_and_deletes_nothing(writer: Writer, stick: Path) -> None:
    writer.batch(3)
    writer.batch(2)
    writer.commit(1)
    first = run("export", stick, "--file", writer.path)
    assert first.exit_code == 0, first.output
    assert "all 2 batches with 5 records are there" in first.stdout
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
    assert "mount the stick, or create the folder" in result.stderr
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
    assert "No space left on device; 1 of 2 batches are there; make room" in result.stderr


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
    assert "no batch has the id 17; it may have been confirmed meanwhile" in result.stderr
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
    assert "the configuration is of box apt-2" in run("--config", config).stdout
    config.write_text("[box]\n")
    result = run("--config", config)
    assert result.exit_code == 78
    assert "box.id" in result.stderr
    assert "wattpost buffer --file" in result.stderr


def test_batches_of_another_box_are_pointed_out(writer: Writer) -> None:
    writer.batch(1)
    writer.execute("INSERT INTO epoch VALUES (x'0102030405060708', 'apt-9', 5)")
    writer.execute("UPDATE batch SET epoch = x'0102030405060708'")
    assert "1 batch of box apt-9, kept and not sent" in run("--file", writer.path).stdout


def test_a_buffer_of_another_machine_is_pointed_out(tmp_path: Path) -> None:
    buffer, _ = Buffer.open(tmp_path / "buffer.db", Identity(BOX, "another", boot_id()))
    layout = buffer.layout_id(Layout("main", COLUMNS))
    buffer.commit(Group([NewReading(layout, 1, (1, 1))], {}))
    assert "it was written on another machine" in run("--file", tmp_path / "buffer.db").stdout
    buffer.file.close()


def test_a_missing_and_a_foreign_file(tmp_path: Path) -> None:
    missing = run("--file", tmp_path / "buffer.db")
    assert missing.exit_code == 66
    assert "there is no buffer" in missing.stderr
    (tmp_path / "other").write_text("not SQLite, and long enough to be sure of it" * 20)
    foreign = run("--file", tmp_path / "other")
    assert foreign.exit_code == 65
    assert "file is not a database; name the right file with --file" in foreign.stderr


def test_a_file_that_this_user_may_not_read(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(source: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr(shutil, "copyfile", denied)
    result = run("--file", writer.path)
    assert result.exit_code == 66
    assert "Permission denied; run it as root: sudo wattpost buffer" in result.stderr


def test_json_before_a_subcommand_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["buffer", "--json", "list"])
    assert caught.value.code == 64
    assert "write --json after list" in capsys.readouterr().err


def test_the_reader_never_opens_the_agents_own_file(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    real = sqlite3.connect

    def connect(path: Path) -> sqlite3.Connection:
        opened.append(path)
        return real(path)

    monkeypatch.setattr(sqlite3, "connect", connect)
    read(writer.path)
    assert opened
    assert writer.path not in opened

"""Looking into a buffer beside its writer, and batches as files."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from buffer_writer import BOOT, BOX, Writer

from agent.adapters.buffer.batch_files import Written, file_name, is_sound, write_batch
from agent.adapters.buffer.buffer_reader import BatchRow, BufferReader, BufferReadError
from agent.adapters.buffer.schema import VERSION
from wire.codec import decode


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(tmp_path)
    yield made
    made.close()


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    folder = tmp_path / "stick"
    folder.mkdir()
    return folder


def read(path: Path) -> tuple[BufferReader, Sequence[BatchRow]]:
    with BufferReader.open(path) as reader:
        return reader, reader.batches()


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
    writer.buffer.close()
    with BufferReader.open(writer.path) as reader:
        assert reader.about().clean
        assert len(reader.batches()) == 1


def test_a_buffer_to_which_nothing_was_ever_written(writer: Writer) -> None:
    with BufferReader.open(writer.path) as reader:
        assert reader.about().box_id is None
        assert reader.batches() == []


def copies(monkeypatch: pytest.MonkeyPatch, after_the_first: Callable[[Path], object]) -> list[Path]:
    """What is copied from now on; `after_the_first` gets the first of it."""
    copied: list[Path] = []
    real = shutil.copyfile

    def copyfile(source: Path, target: Path) -> None:
        real(source, target)
        copied.append(source)
        if len(copied) == 1:
            after_the_first(source)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    return copied


def test_a_wal_that_begins_anew_during_the_copy_is_copied_again(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.batch(3)

    def begin_anew(_file: Path) -> None:
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writer.batch(2)

    copied = copies(monkeypatch, begin_anew)
    assert [row.last for row in read(writer.path)[1]] == [3, 5]
    assert [path.name for path in copied] == ["buffer.db", "buffer.db-wal"] * 2


def test_a_file_that_changes_while_the_wal_is_only_room_is_copied_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(tmp_path)
    writer.batch(3)
    writer.close()
    wal = writer.path.with_name("buffer.db-wal")
    wal.write_bytes(bytes(100_000))  # as it lies there from the opening to the first commit
    copied = copies(monkeypatch, lambda file: os.utime(file, ns=(0, 0)))
    assert [row.last for row in read(writer.path)[1]] == [3]
    assert [path.name for path in copied] == ["buffer.db", "buffer.db-wal"] * 2


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

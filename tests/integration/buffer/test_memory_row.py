"""What is remembered beside the records: written with a seal and at the end, read at the start, in files of any age."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from boxes import TestBuffer

from agent.adapters.buffer import schema
from agent.adapters.buffer.buffer_file import BufferFile


@pytest.fixture
def box(tmp_path: Path) -> Iterator[TestBuffer]:
    box = TestBuffer(tmp_path)
    box.open()
    yield box
    box.buffer.close()


def stored(path: Path) -> list[bytes]:
    with closing(sqlite3.connect(path)) as db:
        return [body for (body,) in db.execute("SELECT body FROM memory")]


def test_it_is_written_with_a_seal_and_read_at_the_next_start(box: TestBuffer) -> None:
    assert box.buffer.memory.body is None
    box.readings(5)
    box.buffer.memory.body = b"first"
    box.seal()
    box.buffer.memory.body = b"never sealed"
    box.kill()
    box.open()
    assert box.buffer.memory.body == b"first"


def test_it_is_written_at_a_clean_end(box: TestBuffer) -> None:
    box.readings(5)
    box.buffer.memory.body = b"at the end"
    box.buffer.close()
    assert stored(box.path) == [b"at the end"]
    box.open()
    assert box.buffer.memory.body == b"at the end"


def test_a_run_that_recorded_nothing_forgets_nothing(box: TestBuffer) -> None:
    box.readings(5)
    box.buffer.memory.body = b"known"
    box.buffer.close()
    box.open()
    box.buffer.memory.body = b"of a run without a record"
    box.buffer.close()
    box.open()
    assert box.buffer.memory.body == b"known"


def test_what_is_no_memory_is_none(box: TestBuffer) -> None:
    box.readings(1)
    box.buffer.file.db.execute("INSERT INTO memory VALUES (1, 'text')")
    box.buffer.close()
    box.open()
    assert box.buffer.memory.body is None


def test_a_file_of_the_first_version_keeps_its_records_and_gets_a_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old.db"
    with monkeypatch.context() as before:
        before.setattr(schema, "VERSION", 1)
        schema.migrate(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO epoch VALUES (?, 'apt-1', 7)", (b"epoch--1",))
        db.commit()
    with closing(BufferFile.open(path)) as file:
        assert file.made_of() is None
        assert file.db.execute("SELECT assigned FROM epoch").fetchone() == (7,)
        assert file.db.execute("SELECT count(*) FROM memory").fetchone() == (0,)
        assert file.db.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)

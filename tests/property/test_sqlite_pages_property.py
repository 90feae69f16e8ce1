"""Rows read straight from pages are those that SQLite itself finds; no bytes make it do anything but find or refuse."""

from __future__ import annotations

import errno
import random
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.adapters.buffer.sqlite_pages import NoRowError, SqlitePages

PAGE_BYTES = 512
WANTED = 7  # columns of the table that is looked for
COLUMNS = ", ".join(f"c{number}" for number in range(1, WANTED))

VALUES = st.one_of(
    st.none(),
    st.sampled_from([0, 1]),
    st.integers(min_value=-(1 << 63), max_value=(1 << 63) - 1),
    st.sampled_from([sign * (1 << bits) for bits in (7, 15, 23, 31, 47) for sign in (-1, 1)]),
    st.floats(allow_nan=False).map(lambda value: value + 0.5 if value.is_integer() else value),
    st.text(max_size=40).filter(lambda text: "\0" not in text),
    st.integers(min_value=0, max_value=6000).map(lambda size: random.Random(size).randbytes(size)),
)
ROWS = st.lists(
    st.tuples(*[VALUES] * (WANTED - 1)),
    min_size=1,
    max_size=60,
)


def is_wanted(types: Sequence[int]) -> bool:
    return len(types) == WANTED


def made(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute("PRAGMA secure_delete = OFF")  # some builds of SQLite, such as Debian's, would write zeros
    db.execute("CREATE TABLE other (a, b)")
    db.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {COLUMNS})")
    db.execute("INSERT INTO other VALUES (1, 2)")
    return db


def insert(db: sqlite3.Connection, ids: Sequence[int], rows: Sequence[Sequence[Any]]) -> None:
    marks = ", ".join("?" * WANTED)
    db.executemany(
        f"INSERT OR REPLACE INTO t VALUES ({marks})", [(id_, *row) for id_, row in zip(ids, rows, strict=True)]
    )


def by_sqlite(db: sqlite3.Connection) -> dict[int, tuple[Any, ...]]:
    return {row[0]: row[1:] for row in db.execute("SELECT * FROM t")}


def by_pages(path: Path) -> dict[int, list[tuple[Any, ...]]]:
    """By id what may be the row, without the id itself."""
    with SqlitePages(path, PAGE_BYTES) as pages:
        found: dict[int, list[tuple[Any, ...]]] = {}
        for id_, place in pages.rows(is_wanted):
            try:
                none, *values = pages.read(place)
            except NoRowError:
                continue
            assert none is None
            found.setdefault(id_, []).append(tuple(values))
    return found


@settings(max_examples=60)
@given(rows=ROWS, spread=st.sampled_from([1, 3, 200, 1 << 40]), gone=st.sets(st.integers(0, 59)))
def test_what_sqlite_finds_is_found(rows: list[tuple[Any, ...]], spread: int, gone: set[int]) -> None:
    """In the file, in the WAL, and after a checkpoint in the middle; also where most was deleted."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.db"
        with closing(made(path)) as db:
            ids = [number * spread + 1 for number in range(len(rows))]
            half = len(rows) // 2
            insert(db, ids[:half], rows[:half])
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            insert(db, ids[half:], rows[half:])
            insert(db, ids[:3], rows[:3][::-1])
            db.executemany("DELETE FROM t WHERE id = ?", [(ids[number],) for number in gone if number < len(ids)])
            expected = by_sqlite(db)
            for _ in range(2):
                found = by_pages(path)
                assert found.keys() >= expected.keys()
                for id_, row in expected.items():
                    assert row in found[id_]
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_deleted_rows_on_free_pages_are_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.db"
    with closing(made(path)) as db:
        insert(db, range(400), [(number, None, 1.5, "x", bytes(100), 0) for number in range(400)])
        db.execute("DELETE FROM t WHERE id % 5")  # moves the others together
        db.execute("DELETE FROM t WHERE id < 300")
        monkeypatch.setattr(SqlitePages, "_free", lambda _pages: bytes(10_000))
        assert len(by_pages(path)) > len(by_sqlite(db)), "pages that were left have old copies"
        monkeypatch.undo()
        assert by_pages(path).keys() == by_sqlite(db).keys()


def test_a_transaction_that_did_not_end_does_not_count(tmp_path: Path) -> None:
    """What is in the WAL after the last commit, or behind a frame that is not whole, SQLite does not take either."""
    path, torn = tmp_path / "t.db", tmp_path / "torn.db"
    rows = [
        (number, None, 1.5, "x", random.Random(number).randbytes(200 + number % 3 * 300), 0) for number in range(60)
    ]
    with closing(made(path)) as db:
        insert(db, range(20), rows[:20])
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for first in range(20, 60, 4):
            db.execute("BEGIN")
            insert(db, range(first, first + 4), rows[first : first + 4])
            db.execute("COMMIT")
        whole = path.with_name("t.db-wal").read_bytes()
        for cut in range(0, len(whole), 331):
            torn.write_bytes(path.read_bytes())
            torn.with_name("torn.db-wal").write_bytes(whole[:cut] + bytes(len(whole) - cut))
            found = by_pages(torn)
            with closing(sqlite3.connect(torn)) as torn_db:
                assert found == {id_: [row] for id_, row in by_sqlite(torn_db).items()}, cut


@pytest.mark.parametrize("seed", range(150))
def test_whatever_lies_there_is_found_or_refused(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    path = tmp_path / "t.db"
    with closing(made(path)) as db:
        rows = [(number, None, 1.5, "x", chance.randbytes(chance.randrange(3000)), 0) for number in range(60)]
        insert(db, range(60), rows)
        if chance.random() < 0.5:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        copy = tmp_path / "copy.db"
        for suffix in ("", "-wal"):
            content = bytearray(path.with_name(path.name + suffix).read_bytes())
            for _ in range(chance.randrange(1, 40)):
                if content:
                    at, size = chance.randrange(len(content)), chance.choice([1, 4, 100, 2000])
                    content[at : at + size] = chance.choice([chance.randbytes(size), bytes(size), b"\xff" * size])
            copy.with_name(copy.name + suffix).write_bytes(content[: chance.randrange(len(content) + 1)])
        by_pages(copy)
        copy.write_bytes(b"\x0d" + chance.randbytes(chance.randrange(3000)))
        by_pages(copy)


class BadCard:
    """A file of which one page cannot be read."""

    def __init__(self, file: BinaryIO, bad: int) -> None:
        self._file, self._bad = file, bad

    def seek(self, at: int) -> int:
        return self._file.seek(at)

    def read(self, size: int) -> bytes:
        first = self._file.tell() // PAGE_BYTES + 1
        if first <= self._bad < first + size // PAGE_BYTES:
            raise OSError(errno.EIO, "Input/output error")
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()


def test_a_page_that_the_card_cannot_read_takes_only_its_own_rows_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.db"
    with closing(made(path)) as db:
        insert(db, range(40), [(number, None, 1.5, "x", bytes(600), 0) for number in range(40)])
        expected = by_sqlite(db)
    real, lost = Path.open, 0
    pages = path.stat().st_size // PAGE_BYTES
    for bad in range(1, pages + 1):
        with monkeypatch.context() as card:
            card.setattr(Path, "open", lambda self, mode, bad=bad: BadCard(real(self, mode), bad))
            found = by_pages(path)
        assert all(found[id_] == [expected[id_]] for id_ in found)
        assert len(found) >= len(expected) - 4
        lost += len(found) < len(expected)
    assert lost > pages // 2

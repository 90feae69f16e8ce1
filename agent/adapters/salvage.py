"""What can be saved of a damaged buffer: each batch carries a checksum of its own, so that a whole one is known."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from agent.adapters.aside import Aside, note
from agent.adapters.schema import BATCH_COLUMNS, PAGE_BYTES
from agent.adapters.sqlite_pages import PLACE_BITS, NoRowError, SqlitePages, blob_type
from wire.batch import EPOCH_BYTES
from wire.codec import digest, peek
from wire.errors import WireError
from wire.limits import BATCH_BYTES_MAX, SEQ_MAX

PART_BATCHES = 100
ROWS_MAX = 1_000_000  # batches that are looked for in the pages; a full buffer has half as many
PLACE_MASK = (1 << PLACE_BITS) - 1
LISTED = 0  # by SQLite: no place in the pages
COLUMNS = ("records", "confirm_wanted", "held", "digests", "body")

Row = tuple[Any, ...]  # of `COLUMNS`


def salvage(damaged: Path, db: sqlite3.Connection, aside: Path) -> None:
    """Copy the whole batches of `damaged`, in order, into the new buffer `db`, as many as there is room for.

    That it was made of `damaged`, which will be `aside`, stands in it: whoever opens it first may be killed before that
    is said. Commits now and then, so that a full disk takes away the last part only.
    """
    note(db, Aside(aside, 0, all_whole=False))  # takes its room before the batches do
    whole = True
    try:
        _copy_whole(damaged, db)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        if db.in_transaction:
            db.execute("ROLLBACK")
        whole = False
    (batches,) = db.execute("SELECT count(*) FROM batch").fetchone()
    note(db, Aside(aside, batches, whole))


def _copy_whole(damaged: Path, db: sqlite3.Connection) -> None:
    saved = 0
    with closing(sqlite3.connect(damaged, isolation_level=None)) as old, SqlitePages(damaged, PAGE_BYTES) as pages:
        old.text_factory = lambda text: text.decode(errors="replace")
        db.execute("BEGIN IMMEDIATE")
        for versions in _batches(old, pages):
            if any(_insert(db, saved + 1, row) for row in versions):
                saved += 1
                if saved % PART_BATCHES == 0:
                    db.execute("COMMIT")
                    db.execute("BEGIN IMMEDIATE")
        db.execute("COMMIT")


def _batches(old: sqlite3.Connection, pages: SqlitePages) -> Iterator[Sequence[Row]]:
    """In order of each batch what may be its row, best first: as SQLite finds it before the first damage and behind the
    last, and between the two as it lies in the pages, whether anything leads there or not.
    """
    for id_, places in _places(old, pages):
        row = _row(old, id_) if LISTED in places else None
        yield [row] if row is not None else _versions(pages, places)


def _places(old: sqlite3.Connection, pages: SqlitePages) -> Iterator[tuple[int, Sequence[int]]]:
    """The ids in order, with the places of each in the pages, or `LISTED`. One number for both keeps this small."""
    marks: list[int] = []
    if not _list(old, "ASC", marks):
        least = min(marks, default=0)
        behind: list[int] = []
        _list(old, "DESC", behind)
        most = max(behind, default=SEQ_MAX << PLACE_BITS) | PLACE_MASK  # what lies beyond these two was deleted
        marks += behind
        found = (id_ << PLACE_BITS | place for id_, place in pages.rows(_is_batch))
        marks += islice((mark for mark in found if least <= mark <= most), ROWS_MAX)
    marks.sort()
    for id_, group in groupby(marks, key=lambda mark: mark >> PLACE_BITS):
        yield id_, [mark & PLACE_MASK for mark in group]


def _list(old: sqlite3.Connection, order: str, marks: list[int]) -> bool:
    """Mark as many ids as can be read from one end; whether these are all."""
    try:
        for (id_,) in old.execute(f"SELECT id FROM batch ORDER BY id {order}"):  # noqa: S608 - ours
            marks.append(id_ << PLACE_BITS | LISTED)
    except sqlite3.Error:
        return False
    return True


def _row(old: sqlite3.Connection, id_: int) -> Row | None:
    try:
        row: Row = old.execute(f"SELECT {', '.join(COLUMNS)} FROM batch WHERE id = ?", (id_,)).fetchone()  # noqa: S608
    except sqlite3.Error:
        return None
    return row


def _is_batch(types: Sequence[int]) -> bool:
    """By the serial types of its columns: the id is that of the row, epoch and body are bytes."""
    return (
        len(types) == len(BATCH_COLUMNS)
        and types[0] == 0
        and types[1] == blob_type(EPOCH_BYTES)
        and types[-1] in range(blob_type(1), blob_type(BATCH_BYTES_MAX) + 1, 2)
    )


def _versions(pages: SqlitePages, places: Iterable[int]) -> Sequence[Row]:
    """The highest revision first: a page that is not in use any more may have an older one."""
    rows = []
    for place in places:
        with suppress(NoRowError):
            rows.append(dict(zip(BATCH_COLUMNS, pages.read(place), strict=True)))
    rows.sort(key=lambda row: row["rev"] if isinstance(row["rev"], int) else -1, reverse=True)
    return [tuple(row[column] for column in COLUMNS) for row in rows]


def _insert(db: sqlite3.Connection, id_: int, row: Row) -> bool:
    """Nothing of the row is believed but its bytes, which have a checksum, what only makes it stay longer, and a number
    of records that can be.
    """
    records, wanted, held, digests, body = row
    if not isinstance(body, bytes):
        return False
    try:
        key = peek(body).key
    except WireError:
        return False
    most = key.last - key.first + 1
    known = {digest(body), *(digests.split() if isinstance(digests, str) else ())}
    db.execute("INSERT OR IGNORE INTO epoch VALUES (?, ?, ?)", (key.epoch, key.device, SEQ_MAX))
    db.execute(
        "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?)",
        (
            *(id_, key.epoch, key.first, key.last, key.rev),
            *(records if isinstance(records, int) and 0 < records <= most else most, len(body)),
            *(bool(wanted), held if isinstance(held, str) else None, " ".join(sorted(known)), body),
        ),
    )
    return True

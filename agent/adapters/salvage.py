"""What can be saved of a damaged buffer: each batch carries a checksum of its own, so that a whole one is known."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from agent.adapters.aside import Aside, note
from agent.adapters.schema import BATCH_COLUMNS, PAGE_BYTES
from agent.adapters.sqlite_pages import NoRowError, Place, SqlitePages, blob_type
from wire.batch import EPOCH_BYTES
from wire.codec import decode, digest
from wire.errors import WireError
from wire.limits import BATCH_BYTES_MAX, SEQ_MAX

PART_BATCHES = 100
ROWS_MAX = 200_000  # batches that are looked for in the pages; what a full buffer has
COLUMNS = ("confirm_wanted", "held", "digests", "body")

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
    ids, is_all = _ids(old, "ASC")
    found: Mapping[int, Sequence[Place]] = {}
    if not is_all:
        last_ids, _ = _ids(old, "DESC")
        least, most = min(ids, default=0), max(last_ids, default=SEQ_MAX)  # what lies beyond was deleted
        found = {id_: places for id_, places in pages.rows(_is_batch, ROWS_MAX).items() if least <= id_ <= most}
        ids += last_ids
    listed = set(ids)
    for id_ in sorted(listed | found.keys()):
        row = _row(old, id_) if id_ in listed else None
        yield [row] if row is not None else _versions(pages, found.get(id_, ()))


def _ids(old: sqlite3.Connection, order: str) -> tuple[list[int], bool]:
    """As many ids as can be read from one end, and whether these are all."""
    ids: list[int] = []
    try:
        for (id_,) in old.execute(f"SELECT id FROM batch ORDER BY id {order}"):  # noqa: S608 - ours
            ids.append(id_)
    except sqlite3.Error:
        return ids, False
    return ids, True


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


def _versions(pages: SqlitePages, places: Iterable[Place]) -> Sequence[Row]:
    """The highest revision first: a page that is not in use any more may have an older one."""
    rows = []
    for place in places:
        with suppress(NoRowError):
            rows.append(dict(zip(BATCH_COLUMNS, pages.read(place), strict=True)))
    rows.sort(key=lambda row: row["rev"] if isinstance(row["rev"], int) else -1, reverse=True)
    return [tuple(row[column] for column in COLUMNS) for row in rows]


def _insert(db: sqlite3.Connection, id_: int, row: Row) -> bool:
    """Nothing of the row is believed but its bytes, which have a checksum, and what only makes it stay longer."""
    wanted, held, digests, body = row
    if not isinstance(body, bytes):
        return False
    try:
        batch = decode(body)
    except WireError:
        return False
    key = batch.key
    records = len(batch.events) + sum(len(series.readings) for series in batch.series)
    known = {digest(body), *(str(digests).split() if isinstance(digests, str) else ())}
    db.execute("INSERT OR IGNORE INTO epoch VALUES (?, ?, ?)", (key.epoch, key.device, SEQ_MAX))
    db.execute(
        "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?)",
        (
            *(id_, key.epoch, key.first, key.last, key.rev, records, len(body)),
            *(bool(wanted), held if isinstance(held, str) else None, " ".join(sorted(known)), body),
        ),
    )
    return True

"""What can be saved of a damaged buffer: each batch carries a checksum of its own, so that a whole one is known."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby, islice
from pathlib import Path

from agent.adapters.buffer.aside import Aside, note
from agent.adapters.buffer.schema import BATCH_COLUMNS, PAGE_BYTES
from agent.adapters.buffer.sqlite_pages import PLACE_BITS, NoRowError, SqlitePages, Value, blob_type
from wire.batch import EPOCH_BYTES
from wire.codec import digest, peek
from wire.errors import WireError
from wire.limits import BATCH_BYTES_MAX, SEQ_MAX

PART_BATCHES = 100
ROWS_MAX = 1_000_000  # batches that are looked for in the pages; a full buffer has half as many
PLACE_MASK = (1 << PLACE_BITS) - 1

SavedRow = Mapping[str, Value]  # by `BATCH_COLUMNS`


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
    with SqlitePages(damaged, PAGE_BYTES) as pages:
        db.execute("BEGIN IMMEDIATE")
        for places in _batches(pages):
            if any(_insert(db, saved + 1, row) for row in _versions(pages, places)):
                saved += 1
                if saved % PART_BATCHES == 0:
                    db.execute("COMMIT")
                    db.execute("BEGIN IMMEDIATE")
        db.execute("COMMIT")


def _batches(pages: SqlitePages) -> Iterator[Sequence[int]]:
    """Where each batch lies, in order of their ids. Id and place as one number keep this small."""
    found = (id_ << PLACE_BITS | place for id_, place in pages.rows(_is_batch) if id_ <= SEQ_MAX)
    marks = sorted(islice(found, ROWS_MAX))
    for _, group in groupby(marks, key=lambda mark: mark >> PLACE_BITS):
        yield [mark & PLACE_MASK for mark in group]


def _is_batch(types: Sequence[int]) -> bool:
    """By the serial types of its columns: the id is that of the row, epoch and body are bytes."""
    return (
        len(types) == len(BATCH_COLUMNS)
        and types[0] == 0
        and types[1] == blob_type(EPOCH_BYTES)
        and types[-1] in range(blob_type(1), blob_type(BATCH_BYTES_MAX) + 1, 2)
    )


def _versions(pages: SqlitePages, places: Sequence[int]) -> Iterator[SavedRow]:
    """One after the other, the highest revision first: a page that is not in use any more may have an older one."""
    if len(places) > 1:
        places = sorted(places, key=lambda place: -_revision(pages, place))
    for place in places:
        with suppress(NoRowError):
            yield dict(zip(BATCH_COLUMNS, pages.read(place), strict=True))


def _revision(pages: SqlitePages, place: int) -> int:
    with suppress(NoRowError):
        revision = pages.read(place)[tuple(BATCH_COLUMNS).index("rev")]
        if isinstance(revision, int):
            return revision
    return -1


def _insert(db: sqlite3.Connection, id_: int, row: SavedRow) -> bool:
    """Nothing of the row is believed but its bytes, which have a checksum, what only makes it stay longer, and a number
    of records that can be.
    """
    records, held, digests, body = (row[name] for name in ("records", "held", "digests", "body"))
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
            *(bool(row["confirm_wanted"]), held if isinstance(held, str) else None, " ".join(sorted(known)), body),
        ),
    )
    return True

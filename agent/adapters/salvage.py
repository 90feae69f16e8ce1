"""What can be saved of a damaged buffer: each batch carries a checksum of its own, so that a whole one is known."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agent.adapters import memory
from wire.codec import decode, digest
from wire.errors import WireError
from wire.limits import SEQ_MAX

PART_BATCHES = 100
GUESSES_MAX = 200_000  # ids of batches; what a full buffer has
COLUMNS = "confirm_wanted, held, digests, body"


@dataclass(frozen=True, slots=True)
class Aside:
    """A damaged file that was moved to `path`, and how many of its batches were whole and are in the new one.

    `all_whole` says that these are all that were whole: else there was no room for more.
    """

    path: Path
    batches: int
    all_whole: bool = True


def salvage(damaged: Path, db: sqlite3.Connection, aside: Path) -> None:
    """Copy the whole batches of `damaged`, in order, into the new buffer `db`, as many as there is room for.

    That it was made of `damaged`, which will be `aside`, stands in it: whoever opens it first may be killed before that
    is said. Commits now and then, so that a full disk takes away the last part only.
    """
    _note(db, Aside(aside, 0, all_whole=False))  # takes its room before the batches do
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
    _note(db, Aside(aside, batches, whole))


def made_of(db: sqlite3.Connection, folder: Path) -> Aside | None:
    """As `salvage` noted it in the buffer `db` in `folder`; None for one that was not made of another."""
    body = memory.load(db, memory.SALVAGED)
    if body is None:
        return None
    name, batches, all_whole = msgspec.json.decode(body, type=tuple[str, int, bool])
    return Aside(folder / name, batches, all_whole)


def _note(db: sqlite3.Connection, aside: Aside) -> None:
    memory.write(db, memory.SALVAGED, msgspec.json.encode((aside.path.name, aside.batches, aside.all_whole)))


def _copy_whole(damaged: Path, db: sqlite3.Connection) -> None:
    saved = 0
    with closing(sqlite3.connect(damaged, isolation_level=None)) as old:
        old.text_factory = lambda text: text.decode(errors="replace")
        db.execute("BEGIN IMMEDIATE")
        for row in _whole(old):
            if _insert(db, saved + 1, row):
                saved += 1
                if saved % PART_BATCHES == 0:
                    db.execute("COMMIT")
                    db.execute("BEGIN IMMEDIATE")
        db.execute("COMMIT")


def _whole(old: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    """The rows before the first damage, those behind the last, and what can be found between them; ascending."""
    first_part, last_part = list(_ids(old, "ASC")), list(_ids(old, "DESC"))
    between = range(max(first_part, default=0) + 1, min(last_part, default=0))[:GUESSES_MAX]
    for id_ in sorted({*first_part, *between, *last_part}):
        try:
            row = old.execute(f"SELECT {COLUMNS} FROM batch WHERE id = ?", (id_,)).fetchone()  # noqa: S608 - ours
        except sqlite3.Error:
            continue
        if row is not None:
            yield row


def _ids(old: sqlite3.Connection, order: str) -> Iterator[int]:
    """As many ids as can be read from one end."""
    try:
        for (id_,) in old.execute(f"SELECT id FROM batch ORDER BY id {order}"):  # noqa: S608 - ours
            if isinstance(id_, int):
                yield id_
    except sqlite3.Error:
        return


def _insert(db: sqlite3.Connection, id_: int, row: tuple[Any, ...]) -> bool:
    """Nothing of the row is believed but its bytes, which have a checksum, and what only makes it stay longer."""
    wanted, held, digests, body = row
    try:
        batch = decode(bytes(body))
    except (TypeError, WireError):
        return False
    key = batch.key
    records = len(batch.events) + sum(len(series.readings) for series in batch.series)
    known = {digest(bytes(body)), *(str(digests).split() if isinstance(digests, str) else ())}
    db.execute("INSERT OR IGNORE INTO epoch VALUES (?, ?, ?)", (key.epoch, key.device, SEQ_MAX))
    db.execute(
        "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?)",
        (
            *(id_, key.epoch, key.first, key.last, key.rev, records, len(body)),
            *(bool(wanted), held if isinstance(held, str) else None, " ".join(sorted(known)), bytes(body)),
        ),
    )
    return True

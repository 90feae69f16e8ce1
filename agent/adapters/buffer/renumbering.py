"""Held batches of a buffer under new numbers, all in one transaction. For a buffer that no agent has open."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.adapters.buffer.buffer_file import BufferFile
from agent.core.buffer.renumbering import renumbered
from wire.codec import digest, encode
from wire.errors import WireError
from wire.receipt import APART


@dataclass(frozen=True, slots=True)
class Done:
    """How many batches have new numbers; `left` are held as before: first, last, why."""

    batches: int
    left: Sequence[tuple[int, int, str]]


def renumber(path: Path) -> Done:
    """Give new numbers to what conflicts and is stored nowhere; raises `BufferFileError`, and then nothing has changed.

    Only what the cloud has proven to be stored nowhere: else a reading could be stored twice. Doing it again finds
    nothing more to do, for a renumbered batch is held no longer.
    """
    file = BufferFile.open_sound(path)
    left = []
    try:
        with file.translate("renumber in"), file.transaction() as db:
            rows = db.execute(
                "SELECT batch.id, first, last, held, body FROM batch JOIN epoch USING (epoch), box"
                " WHERE held IS NOT NULL AND device = box_id ORDER BY batch.id"
            ).fetchall()
            for id_, first, last, why, body in rows:
                if APART not in why or not _renumber_one(db, id_, body):
                    left.append((first, last, why))
    finally:
        file.close()
    return Done(len(rows) - len(left), left)


def _renumber_one(db: sqlite3.Connection, id_: int, body: bytes) -> bool:
    """False for one whose bytes are damaged."""
    try:
        batch = renumbered(body)
        data = encode(batch)
    except WireError:
        return False
    key = batch.key
    db.execute("INSERT OR REPLACE INTO epoch VALUES (?, ?, ?)", (key.epoch, key.device, key.last))
    db.execute(
        "UPDATE batch SET epoch = ?, first = ?, last = ?, records = records + 1, size = ?, sent = 0,"
        " confirm_wanted = 1, held = NULL, digests = ?, body = ? WHERE id = ?",
        (key.epoch, key.first, key.last, len(data), digest(data), data, id_),
    )
    return True

"""Rows beside the records: what must be known after a restart."""

from __future__ import annotations

import sqlite3

RUN, SALVAGED = 1, 2  # what a run knows of time; of which damaged file the buffer was made


def load(db: sqlite3.Connection, row: int) -> bytes | None:
    """None for what was never written, or is no bytes."""
    found = db.execute("SELECT body FROM memory WHERE id = ?", (row,)).fetchone()
    return found[0] if found is not None and isinstance(found[0], bytes) else None


def write(db: sqlite3.Connection, row: int, body: bytes) -> None:
    """Into the transaction under way, if there is one."""
    db.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (row, body))


class MemoryRow:
    """That of the run: `body` is set by the event loop and written by the buffer's thread, as it is by then, along with
    what is written anyway.
    """

    def __init__(self) -> None:
        self.body: bytes | None = None

    def load(self, db: sqlite3.Connection) -> None:
        """What an earlier run left."""
        self.body = load(db, RUN)

    def write(self, db: sqlite3.Connection) -> None:
        """Into the transaction under way."""
        if self.body is not None:
            write(db, RUN, self.body)

"""One row beside the records: what must be known after a restart, written along with what is written anyway."""

from __future__ import annotations

import sqlite3


class MemoryRow:
    """`body` is set by the event loop and written by the buffer's thread, as it is by then."""

    def __init__(self) -> None:
        self.body: bytes | None = None

    def load(self, db: sqlite3.Connection) -> None:
        """What an earlier run left."""
        row = db.execute("SELECT body FROM memory").fetchone()
        self.body = row[0] if row is not None and isinstance(row[0], bytes) else None

    def write(self, db: sqlite3.Connection) -> None:
        """Into the transaction under way."""
        if self.body is not None:
            db.execute("INSERT OR REPLACE INTO memory VALUES (1, ?)", (self.body,))

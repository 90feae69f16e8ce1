"""The ledgers in SQLite: one row per epoch, `content` is the JSON."""

from __future__ import annotations

from collections.abc import Sequence

from cloud.ports import LedgerKey, StoredLedger
from cloud.stores.sqlite.database import Database

TABLE = """
CREATE TABLE ledger (
    device TEXT NOT NULL, epoch BLOB NOT NULL, version INTEGER NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (device, epoch)
) STRICT;
"""


class SqliteLedgers:
    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, keys: Sequence[LedgerKey]) -> list[StoredLedger]:
        return [self._load_one(key) for key in keys]

    def _load_one(self, key: LedgerKey) -> StoredLedger:
        sql = "SELECT content, version FROM ledger WHERE device = ? AND epoch = ?"
        for content, version in self._database.rows("read the ledger in", sql, (key.device, key.epoch)):
            if isinstance(version, int):
                return StoredLedger(str(content), version)
        return StoredLedger()

    def save(self, key: LedgerKey, text: str, version: int) -> bool:
        with self._database.transaction("write the ledger in") as connection:
            if version == 0:
                cursor = connection.execute(
                    "INSERT OR IGNORE INTO ledger VALUES (?, ?, 1, ?)", (key.device, key.epoch, text)
                )
            else:
                cursor = connection.execute(
                    "UPDATE ledger SET version = version + 1, content = ?"
                    " WHERE device = ? AND epoch = ? AND version = ?",
                    (text, key.device, key.epoch, version),
                )
            return cursor.rowcount == 1

    def yield_to_others(self, attempt: int) -> None:
        """There are no others: `StoreLock` admits one writer per folder."""

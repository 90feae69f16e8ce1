"""The batches in SQLite, as blobs: smaller than rows of values, and thousands are decoded per second."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from cloud.ports import BESIDE_MAX, BatchItem, Put, StoredBatch, StoredHead
from cloud.stores.sqlite.database import Database
from wire.batch import BatchKey

TABLE = """
CREATE TABLE batch (
    device TEXT NOT NULL, epoch BLOB NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, rev INTEGER NOT NULL,
    digest TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (device, epoch, first)
) STRICT;
"""
_NEAREST = (
    "SELECT first, last, rev, digest FROM batch"
    " WHERE device = ? AND epoch = ? AND first <= ? ORDER BY first DESC LIMIT 1"
)


class SqliteBatches:
    def __init__(self, database: Database) -> None:
        self._database = database

    def overlapping(self, keys: Sequence[BatchKey]) -> list[StoredHead | None]:
        return [
            _overlap(self._database.rows("look up a batch in", _NEAREST, (key.device, key.epoch, key.last)), key)
            for key in keys
        ]

    def put(self, items: Sequence[BatchItem]) -> list[Put]:
        with self._database.transaction("store batches in") as connection:
            return [_put_one(connection, item) for item in items]

    def other(self, key: BatchKey) -> StoredHead | None:
        sql = "SELECT first, last, rev, digest FROM batch WHERE device = ? AND epoch = ? AND first != ?"
        sql += " AND first <= ? AND last >= ? LIMIT 1"
        where = (key.device, key.epoch, key.first, key.last, key.first)
        return _overlap(self._database.rows("look up a batch in", sql, where), key)

    def beside(self, key: BatchKey) -> list[bytes]:
        sql = "SELECT data FROM batch WHERE device = ? AND epoch = ? AND first <= ? AND last >= ? LIMIT ?"
        where = (key.device, key.epoch, key.last, key.first, BESIDE_MAX + 1)
        found = [data for (data,) in self._database.rows("read batches of", sql, where) if isinstance(data, bytes)]
        return found if len(found) <= BESIDE_MAX else []

    def withdraw(self, item: BatchItem) -> None:
        key = item.key
        with self._database.transaction("withdraw a batch from") as connection:
            sql = "DELETE FROM batch WHERE device = ? AND epoch = ? AND first = ? AND digest = ?"
            connection.execute(sql, (key.device, key.epoch, key.first, item.digest))

    def devices(self) -> Iterator[str]:
        for (device,) in self._database.rows("list devices of", "SELECT DISTINCT device FROM batch ORDER BY device"):
            yield str(device)

    def of(self, device: str) -> Iterator[StoredBatch]:
        sql = "SELECT data FROM batch WHERE device = ? ORDER BY epoch, first"
        for (data,) in self._database.each_row("read batches from", sql, (device,)):
            if isinstance(data, bytes):
                yield StoredBatch(device, data)


def _overlap(rows: Sequence[tuple[object, ...]], key: BatchKey) -> StoredHead | None:
    """Stored batches share no numbers, so only the last that begins at or before `key.last` can overlap."""
    for first, last, rev, digest in rows:
        if isinstance(first, int) and isinstance(last, int) and isinstance(rev, int) and last >= key.first:
            return StoredHead(first, last, rev, str(digest))
    return None


def _put_one(connection: sqlite3.Connection, item: BatchItem) -> Put:
    key = item.key
    head = _overlap(connection.execute(_NEAREST, (key.device, key.epoch, key.last)).fetchall(), key)
    verdict = Put.STORED if head is None else head.verdict(key, item.digest)
    if verdict is Put.STORED:
        connection.execute(
            "INSERT OR REPLACE INTO batch VALUES (?, ?, ?, ?, ?, ?, ?)",
            (key.device, key.epoch, key.first, key.last, key.rev, item.digest, item.data),
        )
    return verdict

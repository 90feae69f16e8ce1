"""The SQLite file `store.db`: schema version, transactions. The tables are in the files of the ports."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cloud.ports import StoreError

BUSY_TIMEOUT_S = 10


class Database:
    """One connection, for one thread at a time. A transaction is durable when it returns."""

    def __init__(self, path: Path, schema: Sequence[str], version: int) -> None:
        """Raises `StoreError`. A new file gets the tables of `schema`."""
        self._path = path
        with self._translated("open"):
            self._connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._migrate(schema, version)

    def _migrate(self, schema: Sequence[str], version: int) -> None:
        (found,) = self._connection.execute("PRAGMA user_version").fetchone()
        if found == 0:
            script = f"BEGIN; {' '.join(schema)} PRAGMA user_version = {version}; COMMIT;"
            self._connection.executescript(script)
        elif found != version:
            raise StoreError(
                f"open {self._path}: its schema has version {found}, this program knows {version};"
                " use the newer program"
            )

    @contextmanager
    def _translated(self, operation: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{operation} {self._path}: {error}; it will be tried again") from error

    @contextmanager
    def transaction(self, operation: str) -> Iterator[sqlite3.Connection]:
        with self._translated(operation):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, operation: str, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        with self._translated(operation):
            return self._connection.execute(sql, parameters).fetchall()

    def each_row(self, operation: str, sql: str, parameters: Sequence[object] = ()) -> Iterator[tuple[object, ...]]:
        with self._translated(operation):
            yield from self._connection.execute(sql, parameters)

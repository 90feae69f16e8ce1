"""The tables of the buffer's file: creates and migrates them, and tells whether a file has them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

VERSION = 2  # as `PRAGMA user_version` says
PAGE_BYTES = 512  # the least written per reading on an SD card (docs/decisions/0003); fixed once the file exists

# From version N to N + 1, each in one transaction. A step that was released never changes: boxes have its tables.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE "box" (
   "id" INTEGER PRIMARY KEY,
   "box_id" TEXT,
   "machine_id" TEXT,
   "epoch" BLOB,
   "next_seq" INTEGER,
   "reserved" INTEGER,
   "sealed_through" INTEGER,
   "clean" INTEGER,
   "boot" BLOB,
   "accounted" TEXT,
   "boot_utc_ms" INTEGER,
   "uncertainty_ms" INTEGER
)""",
        """CREATE TABLE "epoch" (
   "epoch" BLOB PRIMARY KEY,
   "device" TEXT,
   "assigned" INTEGER
)""",
        """CREATE TABLE "layout" (
   "id" INTEGER PRIMARY KEY,
   "meter" TEXT,
   "columns" TEXT,
   "descriptor" BLOB
)""",
        """CREATE TABLE "open_group" (
   "slot" INTEGER PRIMARY KEY,
   "first" INTEGER,
   "last" INTEGER,
   "body" BLOB
)""",
        """CREATE TABLE "batch" (
   "id" INTEGER PRIMARY KEY,
   "epoch" BLOB NOT NULL,
   "first" INTEGER NOT NULL,
   "last" INTEGER NOT NULL,
   "rev" INTEGER NOT NULL,
   "records" INTEGER,
   "size" INTEGER,
   "sent" INTEGER,
   "confirm_wanted" INTEGER,
   "held" TEXT,
   "digests" TEXT,
   "body" BLOB NOT NULL
)""",
    ),
    (
        """CREATE TABLE "memory" (
   "id" INTEGER PRIMARY KEY,
   "body" BLOB
)""",
    ),
)
# In the order in which a row has them: damaged files are searched for such rows.
BATCH_COLUMNS = (
    *("id", "epoch", "first", "last", "rev", "records", "size", "sent"),
    *("confirm_wanted", "held", "digests", "body"),
)

TableColumn = tuple[str, str, str, int, int]  # table, column, type, whether NOT NULL, place in the primary key


def migrate(path: Path) -> None:
    """Bring the file to `VERSION`; make it if there is none. Leaves a newer file alone; raises SQLite's errors."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute("PRAGMA journal_mode = WAL")
        _migrate(db)


def has_tables(db: sqlite3.Connection) -> bool:
    """Whether all tables of `VERSION` are in the file, with their columns: names in it can be damaged, too."""
    return _expected() <= _columns(db)


def _migrate(db: sqlite3.Connection) -> None:
    for version in range(db.execute("PRAGMA user_version").fetchone()[0], VERSION):
        db.execute("BEGIN IMMEDIATE")
        try:
            for statement in MIGRATIONS[version]:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {version + 1}")
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")


def _expected() -> frozenset[TableColumn]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        _migrate(db)
        return _columns(db)


def _columns(db: sqlite3.Connection) -> frozenset[TableColumn]:
    rows = db.execute(
        'SELECT t.name, c.name, c.type, c."notnull", c.pk FROM sqlite_master t, pragma_table_info(t.name) c'
        " WHERE t.type = 'table'"
    )
    return frozenset(rows)

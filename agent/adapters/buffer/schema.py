"""Creates and migrates the buffer's file: `python -m agent.adapters.buffer.schema FILE`, in a process of its own.

sqlite-utils costs 6 MB of memory to import, once, here; the daemon only compares `PRAGMA user_version`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database

VERSION = 2
PAGE_BYTES = 512  # the least written per reading on an SD card (docs/decisions/0003); fixed once the file exists

BATCH_COLUMNS = {
    "id": int,
    "epoch": bytes,
    "first": int,
    "last": int,
    "rev": int,
    "records": int,
    "size": int,
    "sent": int,
    "confirm_wanted": int,
    "held": str,
    "digests": str,
    "body": bytes,
}


def _create(db: Database) -> None:
    db.table("box").create(
        {
            "id": int,
            "box_id": str,
            "machine_id": str,
            "epoch": bytes,
            "next_seq": int,
            "reserved": int,
            "sealed_through": int,
            "clean": int,
            "boot": bytes,
            "accounted": str,
            "boot_utc_ms": int,
            "uncertainty_ms": int,
        },
        pk="id",
    )
    db.table("epoch").create({"epoch": bytes, "device": str, "assigned": int}, pk="epoch")
    db.table("layout").create({"id": int, "meter": str, "columns": str, "descriptor": bytes}, pk="id")
    db.table("open_group").create({"slot": int, "first": int, "last": int, "body": bytes}, pk="slot")
    db.table("batch").create(
        BATCH_COLUMNS,
        pk="id",
        not_null={"epoch", "first", "last", "rev", "body"},
    )


def _add_memory(db: Database) -> None:
    db.table("memory").create({"id": int, "body": bytes}, pk="id")


MIGRATIONS: tuple[Callable[[Database], None], ...] = (_create, _add_memory)


def migrate(path: Path) -> None:
    """Bring the file to `VERSION`, each step in a transaction of its own. A newer file is left alone."""
    from sqlite_utils import Database  # noqa: PLC0415 - only this process pays for it

    db = Database(str(path))
    try:
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute("PRAGMA journal_mode = WAL")
        for version in range(db.execute("PRAGMA user_version").fetchone()[0], VERSION):
            with db.conn:
                db.execute("BEGIN IMMEDIATE")
                MIGRATIONS[version](db)
                db.execute(f"PRAGMA user_version = {version + 1}")
    finally:
        db.close()


if __name__ == "__main__":
    migrate(Path(sys.argv[1]))

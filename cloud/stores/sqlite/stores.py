"""The stores without AWS, for `wattpost receive`: a folder with one SQLite file and two folders. One writer at a time.

`DIR/store.db` has batches, anchors and ledgers; `DIR/archive/` and `DIR/quarantine/` have files that never change.
"""

from __future__ import annotations

from pathlib import Path

from cloud.ports import StoreError, Stores
from cloud.stores.sqlite import anchors, batches, ledgers
from cloud.stores.sqlite.archive import FolderArchive
from cloud.stores.sqlite.database import Database
from cloud.stores.sqlite.quarantine import FolderQuarantine

SCHEMA_VERSION = 1
SCHEMA = (batches.TABLE, anchors.TABLE, ledgers.TABLE)
FILE = "store.db"


def open_stores(folder: Path) -> Stores:
    """The stores of `folder`, which is made if missing. Raises `StoreError`."""
    try:
        for name in ("archive", "quarantine"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"open the store {folder}: {error.strerror}; give a folder that you can write") from error
    return _stores(folder)


def open_to_read(folder: Path) -> Stores:
    """The stores of a folder that exists, also while a receiver is using it. Raises `StoreError`."""
    path = folder / FILE
    if not path.exists():
        raise StoreError(f"open {path}: no such file; give the folder of `wattpost receive --store`")
    return _stores(folder)


def _stores(folder: Path) -> Stores:
    database = Database(folder / FILE, SCHEMA, SCHEMA_VERSION)
    return Stores(
        archive=FolderArchive(folder / "archive"),
        batches=batches.SqliteBatches(database),
        anchors=anchors.SqliteAnchors(database),
        ledgers=ledgers.SqliteLedgers(database),
        quarantine=FolderQuarantine(folder / "quarantine"),
    )

"""A copy of a receiver's SQLite store, to look into while the receiver writes."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cloud.ports import StoreError

NAME = "store.db"


@contextmanager
def snapshot(folder: Path) -> Iterator[Path]:
    """A temporary folder with a consistent copy of the store in `folder`. Raises `StoreError`."""
    path = folder / NAME
    if not path.is_file():
        raise StoreError(f"open {path}: no such file; give the folder of `wattpost receive --store`")
    with tempfile.TemporaryDirectory(prefix="wattpost-store-") as copy:
        _copy(path, Path(copy) / NAME)
        yield Path(copy)


def _copy(path: Path, copy: Path) -> None:
    """In one read transaction, which keeps no writer waiting."""
    uri = f"{path.absolute().as_uri()}?mode=rw"  # read-only, SQLite would leave its WAL files beside it
    try:
        with closing(sqlite3.connect(uri, uri=True)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"copy {path}: {error}; set TMPDIR to a folder with room for it") from error

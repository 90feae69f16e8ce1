"""The readings of a store as a table of a new SQLite file, for SQL, notebooks and spreadsheets."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlite_utils import Database
from sqlite_utils.db import Table

KEY = ("device", "epoch", "seq")
COLUMNS = {
    "device": str,
    "epoch": str,
    "seq": int,
    "meter": str,
    "at": str,
    "boot": str,
    "mono_ms": int,
    "quality": str,
}


class TableError(Exception):
    """The file cannot be written; `str()` says which, why, and what to do."""


def write_table(readings: Iterable[Mapping[str, Any]], target: Path) -> int:
    """Write the table `reading` and return its rows; `target` is there when all of it is, and is never overwritten."""
    if os.path.lexists(target):
        raise TableError(f"cannot write {target}: it is there already; name a new file")
    unfinished = target.with_name(f"{target.name}.part")
    try:
        unfinished.unlink(missing_ok=True)
        rows = _write(readings, unfinished)
        unfinished.rename(target)
    except (OSError, sqlite3.Error) as error:
        raise TableError(f"cannot write {target}: {error}; make room, or name a file elsewhere") from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return rows


def _write(readings: Iterable[Mapping[str, Any]], path: Path) -> int:
    db = Database(path, execute_plugins=False)
    try:
        with db.atomic():
            table = db.table("reading").create(COLUMNS, pk=KEY)
            known: set[str] = set()
            table.insert_all(_row(reading, table, known) for reading in readings)
        return int(table.count)
    finally:
        db.close()


def _row(reading: Mapping[str, Any], table: Table, known: set[str]) -> dict[str, Any]:
    """A measurand that no reading had before becomes a new column."""
    row = dict(reading)
    values: dict[str, Any] = row.pop("values")
    for name in values.keys() - known:
        table.add_column(name, float)
        known.add(name)
    return {**row, **values, "quality": json.dumps(row["quality"])}

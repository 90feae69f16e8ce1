"""Write the readings and events of a buffer as tables of a new SQLite file, for SQL, notebooks and spreadsheets."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from sqlite_utils import Database
from sqlite_utils.db import Table

from agent.adapters.buffer.buffer_reader import BufferReader
from agent.cli.shared.exit_codes import CannotCreate, DataError
from agent.cli.shared.terminal import show
from agent.core.texts import count
from wire.codec import decode
from wire.document import to_document
from wire.errors import WireError

KEY = ("device", "epoch", "seq")
WHO_AND_WHEN = {"device": str, "epoch": str, "seq": int, "meter": str, "at": str, "boot": str, "mono_ms": int}


def export_tables(reader: BufferReader, target: Path, *, as_json: bool) -> None:
    """Write the tables `reading` and `event`. `target` appears only when complete, and is never overwritten."""
    if os.path.lexists(target):
        raise CannotCreate(f"cannot write {target}: it exists already; name a new file")
    unfinished = target.with_name(f"{target.name}.part")
    try:
        unfinished.unlink(missing_ok=True)
        counts, complaints = _write(reader, unfinished)
        unfinished.rename(target)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise CannotCreate(f"cannot write {target}: {error}; free space, or name a file elsewhere") from error
    still_open = reader.about().open_records
    if as_json:
        document = {"file": str(target), **counts, "open_records": still_open, "complaints": complaints}
        click.echo(json.dumps(document, indent=2))
    else:
        show(f"{target}: {count(counts['reading'], 'reading')} and {count(counts['event'], 'event')}")
        if still_open:
            show(f"not in a batch yet: {count(still_open, 'record')} of the last minutes")
    if complaints:
        raise DataError("; ".join(complaints))


def _write(reader: BufferReader, path: Path) -> tuple[dict[str, int], list[str]]:
    """The number of rows in each table, and the batches that could not be read."""
    complaints = []
    db = Database(path, execute_plugins=False)
    try:
        with db.atomic():
            readings = db.table("reading").create({**WHO_AND_WHEN, "quality": str}, pk=KEY)
            events = db.table("event").create({**WHO_AND_WHEN, "kind": str, "data": str}, pk=KEY)
            for row in reader.batches():
                try:
                    document = to_document(decode(reader.body(row.id)))
                except WireError as error:
                    complaints.append(f"skipped batch {row.id}, which is damaged in the buffer: {error}")
                    continue
                _insert(document, readings, events)
        return {table.name: table.count for table in (readings, events)}, complaints
    finally:
        db.close()


def _insert(document: Mapping[str, Any], readings: Table, events: Table) -> None:
    """A measurand that no batch had before becomes a new column."""
    batch = {name: document[name] for name in ("device", "epoch", "boot")}
    measurands = {name for meter in document["meters"] for name in meter["resolution"]}
    for name in sorted(measurands - readings.columns_dict.keys()):
        readings.add_column(name, float)
    for rows, table, nested in ((document["readings"], readings, "quality"), (document["events"], events, "data")):
        flat = [batch | row | row.get("values", {}) | {nested: json.dumps(row[nested])} for row in rows]
        for row in flat:
            row.pop("values", None)
            row.pop("series", None)
        table.insert_all(flat, replace=True)

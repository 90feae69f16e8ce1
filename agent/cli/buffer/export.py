"""Export the buffer's batches, each as a file, with a progress bar in a terminal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from agent.adapters.buffer.batch_files import Written, file_name, is_sound, write_batch
from agent.adapters.buffer.buffer_reader import BatchRow, BufferReader
from agent.adapters.system.durable import sync
from agent.cli.shared.exit_codes import CannotCreate, DataError
from agent.cli.shared.terminal import console, show
from agent.core.texts import count, size


def export(reader: BufferReader, folder: Path, *, as_json: bool) -> None:
    """Write every batch into `folder` and print a summary; fails if writing fails or a batch is damaged."""
    rows = reader.batches()
    done: Counter[Written] = Counter()
    complaints: list[str] = []
    new_bytes = 0
    try:
        for row in _with_progress(rows):
            body = reader.body(row.id)
            if not is_sound(row, body):
                complaints.append(f"batch {row.id} is damaged in the buffer; {file_name(row)} has the damaged bytes")
            outcome = write_batch(folder, row, body)
            done[outcome] += 1
            new_bytes += len(body) if outcome in (Written.NEW, Written.REPAIRED) else 0
            if outcome is Written.CONFLICT:
                complaints.append(f"{folder / file_name(row)} is another batch with the same name and was kept")
        sync(folder)
    except OSError as error:
        text = f"cannot write into {folder}: {error.strerror}; {_so_far(done, len(rows))}"
        raise CannotCreate(
            f"{text}; free space or choose another folder, then repeat the export: it continues from there"
        ) from error
    if as_json:
        click.echo(json.dumps(_document(folder, done, complaints, new_bytes, reader), indent=2))
    else:
        show(*_lines(folder, done, new_bytes, rows, reader))
    if complaints:
        raise DataError("; ".join(complaints))


def _with_progress(rows: Sequence[BatchRow]) -> Iterator[BatchRow]:
    """A bar on standard error if it is a terminal, removed at the end."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield from rows
        return
    from rich.progress import track  # noqa: PLC0415 - only for a terminal

    yield from track(rows, "writing batches", console=out, transient=True)


def _so_far(done: Counter[Written], total: int) -> str:
    there = done[Written.NEW] + done[Written.SAME] + done[Written.REPAIRED]
    return f"{there} of {count(total, 'batch', 'batches')} are written"


def _lines(
    folder: Path, done: Counter[Written], new_bytes: int, rows: Sequence[BatchRow], reader: BufferReader
) -> Iterator[str]:
    records, missing = count(sum(row.records for row in rows), "record"), done[Written.CONFLICT]
    there = f"{len(rows) - missing} of " if missing else "all "
    yield f"{folder} has {there}{count(len(rows), 'batch', 'batches')} with {records}"
    parts = [
        f"{done[Written.NEW] + done[Written.REPAIRED]} written ({size(new_bytes)})",
        f"{done[Written.SAME]} existed already",
    ]
    if done[Written.REPAIRED]:
        parts.append(f"{done[Written.REPAIRED]} damaged files replaced")
    yield f"{', '.join(parts)}; nothing was deleted from the buffer, the box goes on sending them"
    if folder.stat().st_dev == reader.path.stat().st_dev:
        yield f"{folder} is on the same disk as the buffer: if it should be a USB stick, the stick is not mounted"
    still_open = reader.about().open_records
    if still_open:
        yield f"not in a batch yet: {count(still_open, 'record')} of the last minutes; export again later to get them"


def _document(
    folder: Path, done: Counter[Written], complaints: Sequence[str], new_bytes: int, reader: BufferReader
) -> dict[str, object]:
    return {
        "folder": str(folder),
        **{outcome.value: done[outcome] for outcome in Written},
        "new_bytes": new_bytes,
        "open_records": reader.about().open_records,
        "complaints": list(complaints),
    }

"""Batches as files in a folder, such as on a USB stick: each whole or not there, and what is there already is kept."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from enum import Enum
from pathlib import Path

from agent.adapters.buffer.buffer_reader import BatchRow
from wire.batch import BatchKey
from wire.codec import peek
from wire.errors import WireError

SUFFIX = ".wpb"
UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")  # of device names, ":" is what FAT does not take


class Written(Enum):
    """What became of a batch. REPAIRED: a file of this name was damaged, and is whole now."""

    NEW = "new"
    SAME = "same"
    REPAIRED = "repaired"
    CONFLICT = "conflict"


def file_name(row: BatchRow) -> str:
    """`<device>-<epoch>-<first>-<last>-<rev>.wpb`; the file says who it is from, its name only tells it from others."""
    return f"{UNSAFE.sub('_', row.device)}-{row.epoch.hex()}-{row.first}-{row.last}-{row.rev}{SUFFIX}"


def is_sound(row: BatchRow, body: bytes) -> bool:
    """Whether `body` is a whole batch, and the one that `row` names."""
    try:
        return peek(body).key == BatchKey(row.device, row.epoch, row.first, row.last, row.rev)
    except WireError:
        return False


def write_batch(folder: Path, row: BatchRow, body: bytes) -> Written:
    """Put the batch into `folder`, on the disk when this returns; a sound file with other content is left alone.

    Raises `OSError`. A power cut leaves whole files only, and perhaps one that ends with `.part`.
    """
    path = folder / file_name(row)
    outcome = Written.NEW
    with suppress(FileNotFoundError):
        there = path.read_bytes()
        if there == body:
            return Written.SAME
        if is_sound(row, there):
            return Written.CONFLICT
        outcome = Written.REPAIRED
    draft = path.with_name(path.name + ".part")
    try:
        with draft.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    return outcome

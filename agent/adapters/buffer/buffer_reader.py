"""Looks into a buffer's file without its agent noticing: no lock is taken, nothing beside the file is written.

The agent keeps the file locked for itself, with the index of the WAL in its memory. So this copies file and WAL, and
opens the copy. That is consistent if the WAL was not begun anew meanwhile: until then the file is only changed by
what stands in the WAL, which is copied last and replayed over it.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlite_utils import Database
from sqlite_utils.db import NotFoundError

from agent.adapters.buffer.schema import VERSION

WAL_HEADER_BYTES = 32  # magic, format, page size, checkpoints, two salts that change with each beginning, checksum
TRIES = 20
SPARE_BYTES = 4_000_000
SMALL_BYTES = 16_000_000
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
ON_DISK = Path("/var/tmp")  # noqa: S108 - as above

NO_BOX: dict[str, Any] = {
    "box_id": None,
    "machine_id": "",
    "epoch": b"",
    "boot": b"",
    "clean": 1,
    "sealed_through": 0,
    "next_seq": 1,
}


class BufferReadError(Exception):
    """A buffer that cannot be looked into although its file can be read; `str()` names file, cause and next step."""


@dataclass(frozen=True, slots=True)
class About:
    """Whose buffer it is and how far it has come. Without `box_id` nothing was ever committed to it."""

    box_id: str | None
    machine_id: str
    epoch: bytes
    boot: bytes
    clean: bool
    open_records: int
    last_number: int
    used_bytes: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A sealed batch, without its bytes. `held` is why the cloud has it in quarantine, or None."""

    id: int
    device: str
    epoch: bytes
    first: int
    last: int
    rev: int
    records: int
    size: int
    sent: bool
    confirm_wanted: bool
    held: str | None


class BufferReader:
    """A copy of the buffer as it was when opened. Use it in a `with`, which removes the copy."""

    def __init__(self, path: Path, folder: tempfile.TemporaryDirectory[str], db: Database, file_bytes: int) -> None:
        self.path = path
        self._folder = folder
        self._db = db
        self._file_bytes = file_bytes

    @classmethod
    def open(cls, path: Path, scratch: Path | None = None) -> BufferReader:
        """Copy and open; `scratch` is one more place for the copy if there is no room elsewhere.

        Raises `OSError` where the file cannot be read, `BufferReadError` where it is no sound buffer of this version.
        """
        folder = _folder_for(path, scratch)
        try:
            copy = Path(folder.name) / path.name
            file_bytes = _copy(path, copy)
            with _explained(path):
                db = Database(copy, execute_plugins=False)
                _check_version(path, _pragma(db, "user_version"))
            return cls(path, folder, db, file_bytes)
        except BaseException:  # raised on: only lets go of what was opened
            folder.cleanup()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        self._folder.cleanup()

    def about(self) -> About:
        with _explained(self.path):
            box = next(iter(self._db.table("box").rows), NO_BOX)
            (still_open,) = self._db.query(
                "SELECT coalesce(sum(last - first + 1), 0) AS records, coalesce(max(last), 0) AS last FROM open_group"
                " WHERE first > ?",
                (box["sealed_through"],),
            )
            pages_in_use = _pragma(self._db, "page_count") - _pragma(self._db, "freelist_count")
            used_bytes = pages_in_use * _pragma(self._db, "page_size")
        return About(
            box["box_id"],
            box["machine_id"],
            box["epoch"],
            box["boot"],
            bool(box["clean"]),
            still_open["records"],
            max(still_open["last"], box["next_seq"] - 1, box["sealed_through"]),
            used_bytes,
            self._file_bytes,
        )

    def batches(self) -> Sequence[BatchRow]:
        """All sealed batches in the order of sealing."""
        with _explained(self.path):
            rows = self._db.query(
                "SELECT id, coalesce(device, '') AS device, batch.epoch AS epoch, first, last, rev, records, size,"
                " sent, confirm_wanted, held FROM batch LEFT JOIN epoch USING (epoch) ORDER BY id"
            )
            return [
                BatchRow(**row | {"sent": bool(row["sent"]), "confirm_wanted": bool(row["confirm_wanted"])})
                for row in rows
            ]

    def body(self, batch_id: int) -> bytes:
        """The bytes of a batch that `batches` named."""
        with _explained(self.path):
            body: bytes = self._db.table("batch").get(batch_id)["body"]
        return body


def _pragma(db: Database, name: str) -> int:
    (value,) = db.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _folder_for(path: Path, scratch: Path | None) -> tempfile.TemporaryDirectory[str]:
    """A folder for the copy: in memory if it is small, else where there is room."""
    wanted = path.stat().st_size + SPARE_BYTES
    candidates = [Path(tempfile.gettempdir()), ON_DISK, *([scratch] if scratch is not None else [])]
    candidates = [MEMORY, *candidates] if wanted < SMALL_BYTES else candidates
    for candidate in candidates:
        with suppress(OSError):
            if shutil.disk_usage(candidate).free > wanted:
                return tempfile.TemporaryDirectory(prefix="wattpost-buffer-", dir=candidate)
    places = ", ".join(map(str, candidates))
    text = f"cannot look into the buffer {path}: no room for a copy of {wanted} bytes in any of {places}"
    raise BufferReadError(f"{text}; set TMPDIR to a folder that has it")


def _copy(path: Path, copy: Path) -> int:
    """The file, then its WAL; again while the WAL was begun anew between the two. Returns the bytes of both."""
    wal = path.with_name(path.name + "-wal")
    copied_wal = copy.with_name(copy.name + "-wal")
    for _ in range(TRIES):
        began = _state(path, wal)
        shutil.copyfile(path, copy)
        copied_wal.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            shutil.copyfile(wal, copied_wal)
        if _state(path, wal) == began:
            return sum(file.stat().st_size for file in (copy, copied_wal) if file.exists())
    text = f"cannot look into the buffer {path}: the agent writes to it without a pause"
    raise BufferReadError(f"{text}; try again in a minute")


def _state(path: Path, wal: Path) -> tuple[bytes, int]:
    """What stays the same while a copy can be consistent: the WAL's header, and while it has none the file itself."""
    try:
        with wal.open("rb") as file:
            header = file.read(WAL_HEADER_BYTES)
    except FileNotFoundError:
        header = b""
    return header, 0 if any(header) else path.stat().st_mtime_ns


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, NotFoundError) as error:
        step = "name the right file with --file; a damaged one is put aside when the agent starts"
        raise BufferReadError(f"cannot look into the buffer {path}: {error}; {step}") from error


def _check_version(path: Path, version: int) -> None:
    if version == VERSION:
        return
    problem, step = "it is no buffer, or an empty one", "name the right file with --file"
    if version > VERSION:
        problem = f"it was written by a newer version (schema {version}, this one knows {VERSION})"
        step = "use that version of wattpost"
    elif version > 0:
        problem = f"it was written by an older version (schema {version}, this one knows {VERSION})"
        step = "start the agent once, which converts it"
    raise BufferReadError(f"cannot look into the buffer {path}: {problem}; {step}")

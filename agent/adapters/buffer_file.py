"""The file under the buffer: created, migrated, moved aside when damaged; SQLite's errors in plain words."""

from __future__ import annotations

import fcntl
import gc
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from agent.adapters.salvage import salvage
from agent.adapters.schema import VERSION

CHECKPOINT_PAGES = 300  # some 160 KB of WAL, overwritten again and again: measured as the least written per reading
CACHE_KIB = 512
CHECKED_BYTES_MAX = 16_000_000  # checked at each start: less than a second on a small box
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
NEXT_STEP = {
    sqlite3.SQLITE_FULL: "free space on its file system, or lower [buffer] max_size",
    sqlite3.SQLITE_IOERR: "the disk fails: look at `dmesg`, and replace the card",
    sqlite3.SQLITE_READONLY: "give the agent's user write access to the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "create its folder and give it to the agent's user",
    sqlite3.SQLITE_BUSY: "another agent has it open: stop that one first",
    sqlite3.SQLITE_CORRUPT: "starting the agent anew keeps the file aside and saves what is whole in it",
    sqlite3.SQLITE_NOTADB: "starting the agent anew keeps the file aside and saves what is whole in it",
}


@dataclass(frozen=True, slots=True)
class Aside:
    """A damaged file that was moved to `path`, and how many of its batches were whole and are in the new one."""

    path: Path
    batches: int


class BufferFileError(Exception):
    """An operation on the buffer's file that did not succeed: `full` where space is missing, `damaged` for good."""

    def __init__(self, operation: str, path: Path, cause: str, code: int) -> None:
        step = NEXT_STEP.get(code, "see the cause")
        super().__init__(f"cannot {operation} the buffer {path}: {cause}; {step}")
        self.code = code
        self.full = code == sqlite3.SQLITE_FULL
        self.damaged = code in DAMAGED


@contextmanager
def translate(path: Path, operation: str) -> Iterator[None]:
    """SQLite's errors as `BufferFileError`."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        raise BufferFileError(operation, path, str(error), code) from error


class BufferFile:
    """One connection, used by one thread at a time; `lock_fd` keeps a second agent away from the same file."""

    def __init__(self, path: Path, db: sqlite3.Connection, lock_fd: int) -> None:
        self.path = path
        self.db = db
        self._lock_fd = lock_fd

    @classmethod
    def open(cls, path: Path) -> tuple[BufferFile, Aside | None]:
        """The migrated file, and what became of a damaged one. Raises `BufferFileError`."""
        if not path.parent.is_dir():
            raise BufferFileError("open", path, f"there is no folder {path.parent}", sqlite3.SQLITE_CANTOPEN)
        lock_fd = _lock(path)
        aside = None
        try:
            db = _connect_if_sound(path)
            if db is None:
                db, aside = _begin_anew(path)
        except BaseException:  # raised on: only lets go of what was opened
            os.close(lock_fd)
            raise
        return cls(path, db, lock_fd), aside

    @classmethod
    def open_sound(cls, path: Path) -> BufferFile:
        """As `open`, for a file that is there; a damaged one is an error, and stays where it is."""
        if not path.exists():
            raise BufferFileError("open", path, "there is no such file", sqlite3.SQLITE_CANTOPEN)
        lock_fd = _lock(path)
        try:
            return cls(path, _connect(path), lock_fd)
        except BaseException:  # raised on: only lets go of what was opened
            os.close(lock_fd)
            raise

    def replace_damaged(self) -> Aside:
        """Move the file aside and begin a new one with what can be saved of it."""
        self.db.close()
        self.db, aside = _begin_anew(self.path)
        return aside

    def close(self) -> None:
        self.db.close()
        os.close(self._lock_fd)

    @contextmanager
    def translate(self, operation: str) -> Iterator[None]:
        """SQLite's errors as `BufferFileError`; damage is remembered, so that the next start repairs it."""
        try:
            with translate(self.path, operation):
                yield
        except BufferFileError as error:
            if error.damaged:
                with suppress(OSError):
                    _suspect(self.path).touch()
            raise

    def checkpoint(self) -> None:
        """Bring all of the WAL into the file, so that it is overwritten from its start and need not grow."""
        self.db.execute("PRAGMA wal_checkpoint(RESTART)")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it on the disk when it returns, or none of it."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield self.db
            self.db.execute("COMMIT")
        except BaseException:  # raised on: the transaction must not stay open
            # SQLite may have rolled back by itself already (disk full); what matters is that none is left open.
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise


def _lock(path: Path) -> int:
    lock = path.with_name(path.name + ".lock")
    try:
        lock_fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise BufferFileError("open", path, f"{lock}: {error.strerror}", sqlite3.SQLITE_READONLY) from error
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock_fd)
        raise BufferFileError("open", path, "it is in use", sqlite3.SQLITE_BUSY) from error
    return lock_fd


def _connect_if_sound(path: Path) -> sqlite3.Connection | None:
    """None for a damaged file, once the error is gone: its frames keep the connection, and so its locks."""
    try:
        return _connect(path)
    except BufferFileError as error:
        if not error.damaged:
            raise
    return None


def _connect(path: Path) -> sqlite3.Connection:
    """The file, migrated and sound."""
    if _suspect(path).exists():
        raise BufferFileError("open", path, "it was found damaged", sqlite3.SQLITE_CORRUPT)
    with translate(path, "open"):
        with closing(_open(path)) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            cause = f"it was written by a newer version (schema {version}, this one knows {VERSION})"
            raise BufferFileError("open", path, cause, sqlite3.SQLITE_ERROR)
        if version < VERSION:
            _migrate(path)
        db = _open(path)
        try:
            _check(path, db)
        except BaseException:  # raised on: only lets go of what was opened
            db.close()
            raise
        return db


def _check(path: Path, db: sqlite3.Connection) -> None:
    """Whether its pages hang together, unless it is large."""
    if path.stat().st_size > CHECKED_BYTES_MAX:
        return
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise BufferFileError("open", path, f"it is damaged: {found}", sqlite3.SQLITE_CORRUPT)


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    # Exclusive: the WAL's index then lies in memory; as a file it is written back every half minute, which cost
    # 600 B per reading. Who looks at the file beside the daemon takes a snapshot (`buffer_reader`).
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    db.execute(f"PRAGMA journal_size_limit = {CHECKPOINT_PAGES * 1024}")
    db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    db.text_factory = lambda text: text.decode(errors="replace")  # a damaged one must not raise what nobody expects
    return db


def _migrate(path: Path) -> None:
    command = [sys.executable, "-m", "agent.adapters.schema", str(path)]
    done = subprocess.run(  # noqa: S603 - our own module, no shell
        command, capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode:
        cause = (done.stderr.strip().splitlines() or ["no message"])[-1]
        code = sqlite3.SQLITE_FULL if "full" in cause else sqlite3.SQLITE_ERROR
        code = sqlite3.SQLITE_NOTADB if "not a database" in cause or "malformed" in cause else code
        raise BufferFileError("create or migrate", path, cause, code)


def _suspect(path: Path) -> Path:
    """A mark that the file was found damaged while in use: checking a large one at each start would take long."""
    return path.with_name(path.name + ".suspect")


def _begin_anew(path: Path) -> tuple[sqlite3.Connection, Aside]:
    gc.collect()  # a cursor left behind by the error that led here would keep the damaged file locked
    moved_to = _move_aside(path)
    db = _connect(path)
    try:
        with translate(path, "save batches into"):
            return db, Aside(moved_to, salvage(moved_to, db))
    except BaseException:  # raised on: only lets go of what was opened
        db.close()
        raise


def _move_aside(path: Path) -> Path:
    """Rename the damaged file and its journals: what is in them may still be saved by hand."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    try:
        for suffix in ("", "-wal", "-shm"):
            old = path.with_name(path.name + suffix)
            if old.exists():
                old.rename(path.with_name(aside.name + suffix))
        _suspect(path).unlink(missing_ok=True)
    except OSError as error:
        cause = f"it is damaged, and cannot be renamed to {aside.name}: {error.strerror}"
        raise BufferFileError("open", path, cause, sqlite3.SQLITE_READONLY) from error
    return aside

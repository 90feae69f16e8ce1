"""The file under the buffer: created, migrated, moved aside when damaged; SQLite's errors in plain words."""

from __future__ import annotations

import fcntl
import gc
import itertools
import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path

from agent.adapters.buffer.aside import Aside, made_of
from agent.adapters.buffer.schema import VERSION, has_tables, migrate
from agent.adapters.system.disk import free_bytes
from agent.adapters.system.durable import sync

CHECKPOINT_PAGES = 300  # some 160 KB of WAL, overwritten again and again: measured as the least written per reading
WAL_BYTES = 180_224  # what it grows to until a checkpoint, and a transaction beyond
CACHE_KIB = 512
CHECKED_BYTES_MAX = 16_000_000  # checked at each start: less than a second on a small box
LEFT_BYTES = 1_000_000  # of the disk, by what is saved of a damaged file: the WAL and what is read next need some
JOURNALS = ("", "-wal", "-shm")  # what a database consists of, the file itself first
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


class BufferFileError(Exception):
    """An operation on the buffer's file that did not succeed: `full` where space is missing, `damaged` for good."""

    def __init__(self, operation: str, path: Path, cause: str, code: int) -> None:
        step = NEXT_STEP.get(code, "see the cause")
        super().__init__(f"cannot {operation} the buffer {path}: {cause}; {step}")
        self.code = code
        self.full = code == sqlite3.SQLITE_FULL
        self.damaged = code in DAMAGED


@contextmanager
def translate(path: Path, operation: str, refused: int = sqlite3.SQLITE_ERROR) -> Iterator[None]:
    """SQLite's errors as `BufferFileError`; `refused` is the code where SQLite refuses a statement as wrong."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)  # none where Python's module refuses, and not SQLite
        code = sqlite3.SQLITE_ERROR if code is None else refused if code == sqlite3.SQLITE_ERROR else code & 0xFF
        raise BufferFileError(operation, path, str(error), code) from error
    except UnicodeDecodeError as error:  # of SQLite's own message that quotes what is damaged
        raise BufferFileError(operation, path, f"it is damaged: {error}", sqlite3.SQLITE_CORRUPT) from error


def translate_opening(path: Path) -> AbstractContextManager[None]:
    """As `translate`. A sound buffer accepts each of these statements: where SQLite refuses one the file is damaged."""
    return translate(path, "open", sqlite3.SQLITE_CORRUPT)


class BufferFile:
    """One connection, used by one thread at a time; `lock_fd` keeps a second agent away from the same file."""

    def __init__(self, path: Path, db: sqlite3.Connection, lock_fd: int) -> None:
        self.path = path
        self.db = db
        self._lock_fd = lock_fd

    @classmethod
    def open(cls, path: Path) -> BufferFile:
        """The migrated file, in the place of a damaged one if need be. Raises `BufferFileError`."""
        if not path.parent.is_dir():
            raise BufferFileError("open", path, f"there is no folder {path.parent}", sqlite3.SQLITE_CANTOPEN)
        lock_fd = _lock(path)
        try:
            if beside(path, ".new").exists() and not path.exists():
                db = _replaced(path, _begun_for(path))
            elif (sound := _connect_if_sound(path)) is not None:
                db = sound
            else:
                db = _begin_anew(path)
        except BaseException:  # raised on: only lets go of what was opened
            os.close(lock_fd)
            raise
        return cls(path, db, lock_fd)

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

    def replace_damaged(self) -> None:
        """Move the file aside and begin a new one with what can be saved of it."""
        self.db.close()
        self.db = _begin_anew(self.path)

    def made_of(self) -> Aside | None:
        """The damaged file in whose place this one was made. It stands in it, for whoever first gets to say so."""
        return made_of(self.db, self.path.parent)

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
                    beside(self.path, ".suspect").touch()
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
    lock = beside(path, ".lock")
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
    if beside(path, ".suspect").exists():
        raise BufferFileError("open", path, "it was found damaged", sqlite3.SQLITE_CORRUPT)
    with translate_opening(path):
        with closing(_open(path)) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            cause = f"it was written by a newer version (schema {version}, this one knows {VERSION})"
            raise BufferFileError("open", path, cause, sqlite3.SQLITE_ERROR)
        if version < VERSION:
            migrate(path)
        _take_room_for_wal(path)
        db = _open(path)
        try:
            _check(path, db)
        except BaseException:  # raised on: only lets go of what was opened
            db.close()
            raise
        return db


def _take_room_for_wal(path: Path) -> None:
    """At once, as zeros, which end the WAL for SQLite. Growing commit by commit it has the file system note each time
    which blocks it has now, which was a fifth of what is written. A disk without that much room goes on as it can.
    """
    with suppress(OSError):
        mode = path.stat().st_mode & 0o777
        descriptor = os.open(beside(path, "-wal"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, mode)
        try:
            os.fchmod(descriptor, mode)  # as SQLite does it with a WAL of its own making
            os.posix_fallocate(descriptor, 0, WAL_BYTES)
        finally:
            os.close(descriptor)


def _check(path: Path, db: sqlite3.Connection) -> None:
    """Whether it has its tables, and unless it is large, whether its pages hang together."""
    if not has_tables(db):
        raise BufferFileError("open", path, "it is damaged: a table or column is missing", sqlite3.SQLITE_CORRUPT)
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


def beside(path: Path, suffix: str) -> Path:
    """A file that belongs to the buffer. `.suspect` marks that it was found damaged while in use: checking a large one
    at each start would take long. `.new` will be put into its place, `.ballast` holds room for when the disk is full.
    """
    return path.with_name(path.name + suffix)


def _begin_anew(path: Path) -> sqlite3.Connection:
    """Put a new file with what is whole of the damaged one into its place.

    The damaged one stays there, and marked, until all of that is on the disk: whatever ends this sooner, the next
    opening begins it again. Only a finished new file is ever without the damaged one (`_replaced`).
    """
    gc.collect()  # a cursor left behind by the error that led here would keep the damaged file locked
    with suppress(OSError):
        beside(path, ".suspect").touch()
    aside = next(aside for aside in _asides(path) if not aside.exists())
    _save_whole(path, aside)
    return _replaced(path, aside)


def _save_whole(path: Path, aside: Path) -> None:
    """Write the new file beside the damaged one, which will be `aside`."""
    new = beside(path, ".new")
    try:
        for suffix in JOURNALS:  # of a beginning that was interrupted
            beside(new, suffix).unlink(missing_ok=True)
        if path.exists() and free_bytes(path.parent) < path.stat().st_size + LEFT_BYTES:
            beside(path, ".ballast").unlink(missing_ok=True)
    except OSError as error:
        raise BufferFileError("open", path, f"{new.name}: {error.strerror}", sqlite3.SQLITE_READONLY) from error
    try:
        with translate(path, "save batches of"):
            migrate(new)
            _fill(new, path, aside)
        sync(new)
        sync(path.parent)
    except OSError as error:
        raise BufferFileError("save batches of", path, str(error), sqlite3.SQLITE_IOERR) from error


def _fill(new: Path, damaged: Path, aside: Path) -> None:
    from agent.adapters.buffer.salvage import salvage  # noqa: PLC0415 - 0.1 MB for what may happen once in ten years

    with closing(sqlite3.connect(new, isolation_level=None)) as db:
        # Nobody needs this file before it is finished: no WAL, which would take as much room again, and no waiting.
        db.execute("PRAGMA journal_mode = MEMORY")
        db.execute("PRAGMA synchronous = OFF")
        pages, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        db.execute(f"PRAGMA max_page_count = {pages + max(0, free_bytes(new.parent) - LEFT_BYTES) // size}")
        if damaged.exists():
            salvage(damaged, db, aside)
        db.execute("PRAGMA journal_mode = WAL")


def _replaced(path: Path, aside: Path) -> sqlite3.Connection:
    """Move the damaged file to `aside`, with its journals, which may be saved by hand; and the new one to its place.

    The file goes first: without its WAL it might pass for a sound one. Done again, it finishes what was interrupted.
    """
    try:
        for suffix in JOURNALS:
            if beside(path, suffix).exists():
                beside(path, suffix).rename(beside(aside, suffix))
        beside(path, ".suspect").unlink(missing_ok=True)
        beside(path, ".new").rename(path)
        sync(path.parent)
    except OSError as error:
        cause = f"it is damaged, and cannot be renamed to {aside.name}: {error.strerror}"
        raise BufferFileError("open", path, cause, sqlite3.SQLITE_READONLY) from error
    return _connect(path)


def _begun_for(path: Path) -> Path:
    """The name that the damaged file got or was to get, when the new one was made."""
    with translate_opening(path), closing(sqlite3.connect(beside(path, ".new"))) as db:
        aside = made_of(db, path.parent)
    return aside.path if aside is not None else next(one for one in _asides(path) if not one.exists())


def _asides(path: Path) -> Iterator[Path]:
    """The names of damaged files, of those that are there and then of those that are not."""
    return (beside(path, f".damaged-{number}") for number in itertools.count(1))

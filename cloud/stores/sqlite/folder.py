"""The stores without AWS: one SQLite file and two folders. For `wattpost receive`; one writer per folder.

`DIR/store.db`: batches, anchors, ledgers; `DIR/archive/`, `DIR/quarantine/`: files named by content, create-only.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cloud.core.claims import better_anchor
from cloud.core.ledger import Ledger
from cloud.ingest.archive import delivered, provenance
from cloud.ports import (
    BESIDE_MAX,
    BatchItem,
    Delivery,
    LedgerKey,
    Put,
    Quarantined,
    StoredBatch,
    StoredHead,
    StoreError,
    Stores,
    VersionedLedger,
)
from wire.batch import Anchor, BatchKey

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE batch (
    device TEXT NOT NULL, epoch BLOB NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, rev INTEGER NOT NULL,
    digest TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (device, epoch, first)
) STRICT;
CREATE TABLE anchor (
    device TEXT NOT NULL, boot BLOB NOT NULL, boot_utc_ms INTEGER NOT NULL, uncertainty_ms INTEGER NOT NULL,
    PRIMARY KEY (device, boot)
) STRICT, WITHOUT ROWID;
CREATE TABLE ledger (
    device TEXT NOT NULL, epoch BLOB NOT NULL, version INTEGER NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (device, epoch)
) STRICT;
"""
_OVERLAPPING = (
    "SELECT first, last, rev, digest FROM batch"
    " WHERE device = ? AND epoch = ? AND first <= ? ORDER BY first DESC LIMIT 1"
)


def open_stores(folder: Path) -> Stores:
    """The stores of `folder`, made if missing. Raises `StoreError`."""
    try:
        for name in ("archive", "quarantine"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"open the store {folder}: {error.strerror}; give a folder that you can write") from error
    database = Database(folder / "store.db")
    return Stores(
        archive=FolderArchive(folder / "archive"),
        readings=SqliteReadings(database),
        ledgers=SqliteLedgers(database),
        quarantine=FolderQuarantine(folder / "quarantine"),
    )


class StoreInUseError(StoreError):
    """Another receiver has this folder."""


class StoreLock:
    """Keeps a second receiver out of `folder`, which is made if missing; ends with the process at the latest."""

    def __init__(self, folder: Path) -> None:
        """Raises `StoreInUseError` and `StoreError`."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise StoreError(f"open the store {folder}: {error.strerror}; give a folder that you can write") from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._handle)
            text = f"open the store {folder}: another receiver is using it; end that one, or give another folder"
            raise StoreInUseError(text) from error

    def close(self) -> None:
        os.close(self._handle)


def open_to_read(folder: Path) -> SqliteReadings:
    """The readings of a folder that is there already, beside a running receiver. Raises `StoreError`."""
    path = folder / "store.db"
    if not path.exists():
        raise StoreError(f"open {path}: no such file; give the folder of `wattpost receive --store`")
    return SqliteReadings(Database(path))


class Database:
    """One connection, for one thread at a time; every transaction is durable when it returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._translated("open"):
            self._connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._migrate()

    def _migrate(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            raise StoreError(
                f"open {self._path}: its schema is version {version}, this program knows {SCHEMA_VERSION};"
                " use the newer program"
            )

    @contextmanager
    def _translated(self, operation: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{operation} {self._path}: {error}; it will be tried again") from error

    @contextmanager
    def transaction(self, operation: str) -> Iterator[sqlite3.Connection]:
        with self._translated(operation):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, operation: str, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        with self._translated(operation):
            return self._connection.execute(sql, parameters).fetchall()

    def each_row(self, operation: str, sql: str, parameters: Sequence[object] = ()) -> Iterator[tuple[object, ...]]:
        with self._translated(operation):
            yield from self._connection.execute(sql, parameters)


class SqliteReadings:
    """Batches as blobs: they are smaller than rows of values, and decode at thousands a second."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def overlapping(self, keys: Sequence[BatchKey]) -> list[StoredHead | None]:
        return [
            _overlap(self._database.rows("look up a batch in", _OVERLAPPING, (key.device, key.epoch, key.last)), key)
            for key in keys
        ]

    def put(self, items: Sequence[BatchItem]) -> list[Put]:
        with self._database.transaction("store batches in") as connection:
            return [_put_one(connection, item) for item in items]

    def other(self, key: BatchKey) -> StoredHead | None:
        sql = "SELECT first, last, rev, digest FROM batch WHERE device = ? AND epoch = ? AND first != ?"
        sql += " AND first <= ? AND last >= ? LIMIT 1"
        where = (key.device, key.epoch, key.first, key.last, key.first)
        return _overlap(self._database.rows("look up a batch in", sql, where), key)

    def beside(self, key: BatchKey) -> list[bytes]:
        sql = "SELECT data FROM batch WHERE device = ? AND epoch = ? AND first <= ? AND last >= ? LIMIT ?"
        where = (key.device, key.epoch, key.last, key.first, BESIDE_MAX + 1)
        found = [data for (data,) in self._database.rows("read batches of", sql, where) if isinstance(data, bytes)]
        return found if len(found) <= BESIDE_MAX else []

    def withdraw(self, item: BatchItem) -> None:
        key = item.key
        with self._database.transaction("withdraw a batch from") as connection:
            sql = "DELETE FROM batch WHERE device = ? AND epoch = ? AND first = ? AND digest = ?"
            connection.execute(sql, (key.device, key.epoch, key.first, item.digest))

    def put_anchors(self, device: str, anchors: Mapping[bytes, Anchor]) -> None:
        known = self.anchors(device)
        with self._database.transaction("store anchors in") as connection:
            for boot, anchor in anchors.items():
                best = better_anchor(known.get(boot), anchor)
                connection.execute(
                    "INSERT OR REPLACE INTO anchor VALUES (?, ?, ?, ?)",
                    (device, boot, best.boot_utc_ms, best.uncertainty_ms),
                )

    def devices(self) -> Iterator[str]:
        for (device,) in self._database.rows("list devices of", "SELECT DISTINCT device FROM batch ORDER BY device"):
            yield str(device)

    def batches(self, device: str) -> Iterator[StoredBatch]:
        sql = "SELECT data FROM batch WHERE device = ? ORDER BY epoch, first"
        for (data,) in self._database.each_row("read batches from", sql, (device,)):
            if isinstance(data, bytes):
                yield StoredBatch(device, data)

    def anchors(self, device: str) -> dict[bytes, Anchor]:
        sql = "SELECT boot, boot_utc_ms, uncertainty_ms FROM anchor WHERE device = ?"
        return {
            boot: Anchor(boot_utc_ms, uncertainty_ms)
            for boot, boot_utc_ms, uncertainty_ms in self._database.rows("read anchors from", sql, (device,))
            if isinstance(boot, bytes) and isinstance(boot_utc_ms, int) and isinstance(uncertainty_ms, int)
        }


def _overlap(rows: Sequence[tuple[object, ...]], key: BatchKey) -> StoredHead | None:
    """Stored batches share no numbers, so the last that begins at or before `key.last` is the one to look at."""
    for first, last, rev, digest in rows:
        if isinstance(first, int) and isinstance(last, int) and isinstance(rev, int) and last >= key.first:
            return StoredHead(first, last, rev, str(digest))
    return None


def _put_one(connection: sqlite3.Connection, item: BatchItem) -> Put:
    key = item.key
    head = _overlap(connection.execute(_OVERLAPPING, (key.device, key.epoch, key.last)).fetchall(), key)
    verdict = Put.STORED if head is None else head.verdict(key, item.digest)
    if verdict is Put.STORED:
        connection.execute(
            "INSERT OR REPLACE INTO batch VALUES (?, ?, ?, ?, ?, ?, ?)",
            (key.device, key.epoch, key.first, key.last, key.rev, item.digest, item.data),
        )
    return verdict


class SqliteLedgers:
    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, keys: Sequence[LedgerKey]) -> list[VersionedLedger]:
        return [self._load_one(key) for key in keys]

    def _load_one(self, key: LedgerKey) -> VersionedLedger:
        sql = "SELECT content, version FROM ledger WHERE device = ? AND epoch = ?"
        for content, version in self._database.rows("read the ledger in", sql, (key.device, key.epoch)):
            if isinstance(version, int):
                return VersionedLedger(Ledger.from_json(str(content)), version)
        return VersionedLedger()

    def save(self, key: LedgerKey, ledger: Ledger, version: int) -> bool:
        with self._database.transaction("write the ledger in") as connection:
            if version == 0:
                cursor = connection.execute(
                    "INSERT OR IGNORE INTO ledger VALUES (?, ?, 1, ?)", (key.device, key.epoch, ledger.to_json())
                )
            else:
                cursor = connection.execute(
                    "UPDATE ledger SET version = version + 1, content = ?"
                    " WHERE device = ? AND epoch = ? AND version = ?",
                    (ledger.to_json(), key.device, key.epoch, version),
                )
            return cursor.rowcount == 1

    def yield_to_others(self, attempt: int) -> None:
        """Nothing to wait for: one writer per folder."""


class FolderArchive:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, data: bytes) -> None:
        _create_file(self._folder / name[:2] / name, data)


class FolderQuarantine:
    """`DIGEST.bin` beside `DIGEST.json` with the reason and where it came from."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, entry: Quarantined) -> None:
        note = {**provenance(entry.delivery), "reason": entry.reason}
        _create_file(self._folder / f"{entry.digest}.bin", entry.delivery.data)
        _create_file(self._folder / f"{entry.digest}.json", json.dumps(note).encode())

    def deliveries(self) -> Iterator[Delivery]:
        for path in sorted(self._folder.glob("*.json")):
            try:
                delivery = delivered(json.loads(path.read_bytes()), path.with_suffix(".bin").read_bytes())
            except (OSError, ValueError) as error:
                raise StoreError(f"read {path}: {error}; the other batches are not looked at") from error
            if delivery is not None:
                yield delivery


def _create_file(path: Path, data: bytes) -> None:
    """Whole and durable under its name, or not there at all; what is there already stays."""
    if path.exists():
        return
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if not path.parent.exists():
            path.parent.mkdir(exist_ok=True)
            _sync_folder(path.parent.parent)
        with scratch.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"write {path}: {error.strerror}; it will be tried again") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

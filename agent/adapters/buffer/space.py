"""Room for the buffer: its limit, a ballast file for when the disk is full, and thinning of the oldest batches."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from agent.adapters.buffer.buffer_file import BufferFile, BufferFileError, beside
from agent.core.buffer.thinning import LEVEL_MAX, Candidate, choose, thin
from wire.batch import Batch
from wire.codec import decode, digest, encode
from wire.errors import WireError

BALLAST_BYTES = 1_000_000
BALLAST_LAST_BYTES = 400_000  # kept for when even thinning needs room: as much as the WAL may have to bring in
FREE_AGAIN_BYTES = 4_000_000
LOW_BYTES = 1_000_000
RESERVE_BYTES = 400_000  # more than the WAL has between two checkpoints
THIN_MAX = 100  # batches at once: some seconds on a small box, then commits have their turn


@dataclass(frozen=True, slots=True)
class Thinned:
    """What was given up: `batches` of one epoch within `first..last` have successors of revision `rev`.

    Of their readings `kept` are still there, `removed` are not; `freed_bytes` is how much smaller they are.
    """

    epoch: bytes
    rev: int
    first: int
    last: int
    batches: int
    kept: int
    removed: int
    freed_bytes: int

    def data(self) -> dict[str, object]:
        """As the data of a `thinned` event."""
        numbers = {"epoch": self.epoch.hex(), "first": self.first, "last": self.last, "rev": self.rev}
        return {**numbers, "batches": self.batches, "kept": self.kept, "removed": self.removed}


@dataclass(frozen=True, slots=True)
class Room:
    """What was done for room on a full disk: whether the ballast went, and what was thinned."""

    released: bool
    thinned: tuple[Thinned, ...]

    def __bool__(self) -> bool:
        return self.released or bool(self.thinned)


class Space:
    """Works on the buffer's thread."""

    def __init__(self, file: BufferFile) -> None:
        self._file = file
        self._ballast = beside(file.path, ".ballast")
        self._bare: set[int] = set()  # batches with nothing to give up

    def used_bytes(self) -> int:
        """Bytes in use within the file, without its free pages."""
        db = self._file.db
        pages, free, size = (
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def keep_reserve(self) -> tuple[Thinned, ...]:
        """Thin for a reserve of free pages within the file, where the disk is nearly full and the ballast was needed.

        The file cannot grow then, and what is in the WAL could not be brought into it: too late even for thinning.
        A backlog too small to give the reserve is left alone; and of one that can, only what is between the counters
        is given up as long as the disk has as much room itself.
        """
        disk_bytes = _free_bytes(self._ballast.parent)
        if disk_bytes >= LOW_BYTES or self._ballast_bytes() >= BALLAST_BYTES:
            return ()
        level_max = 1 if disk_bytes >= RESERVE_BYTES else LEVEL_MAX
        with self._file.translate("read from"):
            pragmas = ("freelist_count", "page_size")
            free, size = (self._file.db.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas)
        short = RESERVE_BYTES - int(free * size)
        if short <= 0 or short > self._thinnable_bytes(level_max) // 2:  # a level takes half and more
            return ()
        return self.thin_oldest(short, level_max)

    def restore_ballast(self) -> None:
        """Put the ballast in place when there is plenty of room; a disk that is nearly full does without."""
        if self._ballast_bytes() >= BALLAST_BYTES or _free_bytes(self._ballast.parent) < FREE_AGAIN_BYTES:
            return
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, BALLAST_BYTES)
        finally:
            os.close(descriptor)

    def release_ballast(self, *, keep_bytes: int = 0) -> bool:
        """Give the ballast's room to the buffer; False when it was given already, or cannot be."""
        if self._ballast_bytes() <= keep_bytes:
            return False
        try:
            if keep_bytes:
                os.truncate(self._ballast, keep_bytes)
            else:
                self._ballast.unlink()
        except OSError:
            return False
        return True

    def _ballast_bytes(self) -> int:
        try:
            return self._ballast.stat().st_size
        except OSError:
            return 0

    def make_room(self, bytes_wanted: int) -> Room:
        """The disk is full: release most of the ballast; thin the oldest batches; else release the rest of it.

        What was measured goes after what is only zeros. Thinning needs no room as long as the file need not grow: the
        WAL is overwritten from its start once all of it is in the file. Where that takes room, there is the rest.
        """
        if self.release_ballast(keep_bytes=BALLAST_LAST_BYTES):
            with suppress(BufferFileError):
                self._checkpoint()
            return Room(released=True, thinned=())
        try:
            thinned = self._thin_some(bytes_wanted)
        except BufferFileError:
            thinned = ()
        if thinned or not self.release_ballast():
            return Room(released=False, thinned=thinned)
        try:
            return Room(released=True, thinned=self._thin_some(bytes_wanted))
        except BufferFileError:
            return Room(released=True, thinned=())

    def _thin_some(self, bytes_wanted: int) -> tuple[Thinned, ...]:
        """Of a small backlog the oldest half at most, one level: it shall not lose all at once for what it has not."""
        self._checkpoint()
        return self.thin_oldest(min(bytes_wanted, self._thinnable_bytes(LEVEL_MAX) // 4))

    def thin_oldest(self, bytes_wanted: int, level_max: int = LEVEL_MAX) -> tuple[Thinned, ...]:
        """Thin until `bytes_wanted` are freed, at most `THIN_MAX` batches; what was done, also if then it failed."""
        done: list[_Replaced] = []
        with self._file.translate("thin old batches in"):
            try:
                for candidate in self._candidates(level_max):
                    if len(done) >= THIN_MAX or sum(one.freed_bytes for one in done) >= bytes_wanted:
                        break
                    replaced = self._replace(candidate)
                    if replaced is not None:
                        done.append(replaced)
            except sqlite3.Error:
                if not done:
                    raise
        if done:
            with suppress(sqlite3.Error):  # what was done must be told in any case
                self._file.checkpoint()
        return tuple(_summed(done))

    def _checkpoint(self) -> None:
        with self._file.translate("tidy up"):
            self._file.checkpoint()

    def _thinnable_bytes(self, level_max: int) -> int:
        with self._file.translate("read from"):
            row = self._file.db.execute(
                "SELECT coalesce(sum(size), 0) FROM batch WHERE rev < ?", (level_max,)
            ).fetchone()
        return int(row[0])

    def _candidates(self, level_max: int) -> Iterator[Candidate]:
        rows = self._file.db.execute(
            "SELECT id, rev, size, held IS NOT NULL FROM batch WHERE rev < ? ORDER BY held IS NULL, rev, id LIMIT ?",
            (level_max, THIN_MAX + len(self._bare)),
        ).fetchall()
        candidates = [Candidate(row[0], row[1], row[2], bool(row[3])) for row in rows if row[0] not in self._bare]
        while (chosen := choose(candidates)) is not None:
            candidates.remove(chosen)
            yield chosen

    def _replace(self, candidate: Candidate) -> _Replaced | None:
        """None for a batch with no reading to give up, or one that is damaged: the receiver will say so."""
        (body,) = self._file.db.execute("SELECT body FROM batch WHERE id = ?", (candidate.id,)).fetchone()
        try:
            batch = decode(body)
        except WireError:
            batch = None
        if batch is None or not _readings(batch):
            self._bare.add(candidate.id)
            return None
        thinner = thin(batch)
        new = encode(thinner)
        with self._file.transaction() as db:
            # The receiver may have stored any revision that was sent: the digests of all of them are kept.
            db.execute(
                "UPDATE batch SET rev = ?, size = ?, digests = digests || ' ' || ?, body = ? WHERE id = ?",
                (thinner.key.rev, len(new), digest(new), new, candidate.id),
            )
        kept = _readings(thinner)
        return _Replaced(thinner, kept, _readings(batch) - kept, candidate.size - len(new))


@dataclass(frozen=True, slots=True)
class _Replaced:
    batch: Batch
    kept: int
    removed: int
    freed_bytes: int

    @property
    def kind(self) -> tuple[bytes, int]:
        return self.batch.key.epoch, self.batch.key.rev


def _summed(replaced: Iterable[_Replaced]) -> Iterator[Thinned]:
    """One entry per epoch and revision: numbers of different epochs have nothing to do with each other."""
    for (epoch, rev), group in groupby(sorted(replaced, key=lambda one: one.kind), key=lambda one: one.kind):
        ones = list(group)
        yield Thinned(
            epoch,
            rev,
            first=min(one.batch.key.first for one in ones),
            last=max(one.batch.key.last for one in ones),
            batches=len(ones),
            kept=sum(one.kept for one in ones),
            removed=sum(one.removed for one in ones),
            freed_bytes=sum(one.freed_bytes for one in ones),
        )


def _readings(batch: Batch) -> int:
    return sum(len(series.readings) for series in batch.series)


def _free_bytes(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize

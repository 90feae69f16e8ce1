"""Room for the buffer, as `agent.core.buffer.full_disk` decides: a ballast file, and thinning of old batches."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby

from agent.adapters.buffer.buffer_file import BufferFile, BufferFileError, beside
from agent.adapters.system.disk import free_bytes
from agent.core.buffer import full_disk
from agent.core.buffer.full_disk import BALLAST_BYTES, BALLAST_LAST_BYTES, BatchKind, Measure, NoPass, Pass, Stock
from agent.core.buffer.thinning import check_thinned, thin
from wire.batch import Batch
from wire.codec import decode, digest, encode
from wire.errors import WireError


@dataclass(frozen=True, slots=True)
class Thinned:
    """What was thinned, and why: `batches` of one epoch within `first..last` have successors of revision `rev`.

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
    why: str = ""

    def data(self) -> dict[str, object]:
        """As the data of a `thinned` event."""
        numbers = {"epoch": self.epoch.hex(), "first": self.first, "last": self.last, "rev": self.rev}
        return {**numbers, "batches": self.batches, "kept": self.kept, "removed": self.removed}


@dataclass(frozen=True, slots=True)
class Room:
    """What was done for room on a full disk: whether some of the ballast was released, and what was thinned."""

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
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")

    def _spare_bytes(self) -> int:
        """Bytes of the file that the next batches may use."""
        return self._pragma("freelist_count") * self._pragma("page_size")

    def _pragma(self, name: str) -> int:
        with self._file.translate("read from"):
            return int(self._file.db.execute(f"PRAGMA {name}").fetchone()[0])

    def make_room(self) -> Room:
        """The disk is full: take one measure after another until one has made room."""
        released, thinned = False, tuple[Thinned, ...]()
        measure: Measure | None = full_disk.FIRST_MEASURE
        while measure is not None:
            match measure:
                case Measure.RELEASE_BALLAST:
                    worked = released = self._release_ballast(keep_bytes=BALLAST_LAST_BYTES)
                case Measure.RELEASE_LAST:
                    worked = released = self._release_ballast(keep_bytes=0)
                case Measure.THIN | Measure.THIN_AGAIN:
                    thinned = self._thin_for_write()
                    worked = bool(thinned)
            measure = full_disk.NEXT_MEASURE[measure, worked]
        return Room(released, thinned)

    def keep_within(self, limit_bytes: int) -> tuple[Thinned, ...]:
        """After a seal: thin old batches if the buffer has outgrown its limit, or to have a reserve on a full disk."""
        used_bytes = self.used_bytes()
        if used_bytes > limit_bytes:
            return self.thin(full_disk.pass_for_limit(self._stock(), used_bytes, limit_bytes))
        disk_bytes = free_bytes(self._ballast.parent)
        short_bytes = full_disk.short_of_reserve(disk_bytes, self._ballast_bytes(), self._spare_bytes())
        if not short_bytes:
            return ()
        return self.thin(full_disk.pass_for_reserve(self._stock(), short_bytes, disk_bytes))

    def restore_ballast(self) -> None:
        """Put the ballast back where there is plenty of room; raises OSError where it cannot be."""
        if not full_disk.may_have_ballast(free_bytes(self._ballast.parent), self._ballast_bytes()):
            return
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, BALLAST_BYTES)
        finally:
            os.close(descriptor)

    def _release_ballast(self, *, keep_bytes: int) -> bool:
        """Give the ballast's room to the buffer; False if it has been given, or cannot be."""
        if self._ballast_bytes() <= keep_bytes:
            return False
        try:
            if keep_bytes:
                os.truncate(self._ballast, keep_bytes)
            else:
                self._ballast.unlink()
        except OSError:
            return False
        if keep_bytes:
            with suppress(BufferFileError):
                self._checkpoint()
        return True

    def _ballast_bytes(self) -> int:
        try:
            return self._ballast.stat().st_size
        except OSError:
            return 0

    def _thin_for_write(self) -> tuple[Thinned, ...]:
        """Thinning needs no room as long as the file need not grow: once all of the WAL is in the file, it is
        overwritten from its start.
        """
        try:
            self._checkpoint()
            return self.thin(full_disk.pass_for_write(self._stock()))
        except BufferFileError:
            return ()

    def thin(self, decided: Pass | NoPass) -> tuple[Thinned, ...]:
        """Thin what was decided; returns what was done, also if it failed half-way."""
        if isinstance(decided, NoPass):
            return ()
        done: list[_Replaced] = []
        with self._file.translate("thin old batches in"):
            try:
                for batch_id, size in self._candidates(decided):
                    if full_disk.is_over(decided, len(done), sum(one.freed_bytes for one in done)):
                        break
                    replaced = self._replace(batch_id, size)
                    if replaced is not None:
                        done.append(replaced)
            except sqlite3.Error:
                if not done:
                    raise
        if done:
            with suppress(sqlite3.Error):  # what was done must be told in any case
                self._file.checkpoint()
        return tuple(_summed(done, decided.why))

    def _checkpoint(self) -> None:
        with self._file.translate("tidy up"):
            self._file.checkpoint()

    def _stock(self) -> Stock:
        with self._file.translate("read from"):
            rows = self._file.db.execute("SELECT held IS NOT NULL, rev, sum(size) FROM batch GROUP BY 1, 2").fetchall()
        return {BatchKind(bool(held), rev): size for held, rev, size in rows}

    def _candidates(self, decided: Pass) -> Iterator[tuple[int, int]]:
        """Id and size of the batches that may be thinned, listed before any is: none is thinned twice."""
        rows: list[tuple[int, int]] = []
        for kind in decided.kinds:
            rows += self._file.db.execute(
                "SELECT id, size FROM batch WHERE rev = ? AND (held IS NOT NULL) = ? ORDER BY id LIMIT ?",
                (kind.rev, kind.held, full_disk.PASS_BATCHES_MAX + len(self._bare) - len(rows)),
            ).fetchall()
        return (row for row in rows if row[0] not in self._bare)

    def _replace(self, batch_id: int, size: int) -> _Replaced | None:
        """None for a batch with no reading to give up, or one that is damaged: the receiver will say so."""
        (body,) = self._file.db.execute("SELECT body FROM batch WHERE id = ?", (batch_id,)).fetchone()
        try:
            batch = decode(body)
        except WireError:
            batch = None
        if batch is None or not _readings(batch):
            self._bare.add(batch_id)
            return None
        thinner = thin(batch)
        check_thinned(batch, thinner)
        new = encode(thinner)
        with self._file.transaction() as db:
            # The receiver may have stored any revision that was sent: the digests of all of them are kept.
            db.execute(
                "UPDATE batch SET rev = ?, size = ?, digests = digests || ' ' || ?, body = ? WHERE id = ?",
                (thinner.key.rev, len(new), digest(new), new, batch_id),
            )
        kept = _readings(thinner)
        return _Replaced(thinner, kept, _readings(batch) - kept, size - len(new))


@dataclass(frozen=True, slots=True)
class _Replaced:
    batch: Batch
    kept: int
    removed: int
    freed_bytes: int

    @property
    def kind(self) -> tuple[bytes, int]:
        return self.batch.key.epoch, self.batch.key.rev


def _summed(replaced: Iterable[_Replaced], why: str) -> Iterator[Thinned]:
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
            why=why,
        )


def _readings(batch: Batch) -> int:
    return sum(len(series.readings) for series in batch.series)

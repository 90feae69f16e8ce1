"""Room for the buffer: its limit, a ballast file for when the disk is full, and thinning of the oldest batches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.adapters.buffer_file import BufferFile
from agent.core.thinning import LEVEL_MAX, Candidate, choose, thin
from wire.codec import decode, digest, encode

BALLAST_BYTES = 1_000_000  # enough for the journal while room is made
FREE_AGAIN_BYTES = 16_000_000
CANDIDATES = 500


@dataclass(frozen=True, slots=True)
class Thinned:
    """What was given up: `batch_ids` were replaced by successors that are `freed_bytes` smaller."""

    batch_ids: tuple[int, ...]
    first: int
    last: int
    freed_bytes: int

    def data(self) -> dict[str, object]:
        """As the data of a `thinned` event."""
        return {"batches": len(self.batch_ids), "first": self.first, "last": self.last, "bytes": self.freed_bytes}


class Space:
    """Works on the buffer's thread."""

    def __init__(self, file: BufferFile) -> None:
        self._file = file
        self._ballast = file.path.with_name(file.path.name + ".ballast")
        self._bare: set[int] = set()  # batches with no reading to give up

    def used_bytes(self) -> int:
        """Bytes in use within the file, without its free pages."""
        db = self._file.db
        pages, free, size = (
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def restore_ballast(self) -> None:
        """Put the ballast in place when there is plenty of room; a disk that is nearly full does without."""
        if self._ballast.exists() or _free_bytes(self._ballast.parent) < FREE_AGAIN_BYTES:
            return
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, BALLAST_BYTES)
        finally:
            os.close(descriptor)

    def release_ballast(self) -> bool:
        """Give the ballast's room to the buffer; False when it was given already."""
        if not self._ballast.exists():
            return False
        self._ballast.unlink()
        return True

    def thin_oldest(self, bytes_wanted: int) -> Thinned | None:
        """Thin batches until `bytes_wanted` are freed or nothing is left to thin; None when nothing was."""
        ids: list[int] = []
        numbers: list[int] = []
        freed = 0
        with self._file.translate("thin old batches in"):
            for candidate in self._candidates():
                if freed >= bytes_wanted:
                    break
                replaced = self._replace(candidate)
                if replaced is None:
                    continue
                first, last, saved = replaced
                ids.append(candidate.id)
                numbers += [first, last]
                freed += saved
            self._file.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Thinned(tuple(ids), min(numbers), max(numbers), freed) if ids else None

    def _candidates(self) -> Iterator[Candidate]:
        while True:
            rows = self._file.db.execute(
                "SELECT id, rev, size, held IS NOT NULL FROM batch WHERE rev < ?"
                " ORDER BY held IS NULL, rev, id LIMIT ?",
                (LEVEL_MAX, CANDIDATES),
            ).fetchall()
            candidates = [Candidate(row[0], row[1], row[2], bool(row[3])) for row in rows if row[0] not in self._bare]
            chosen = choose(candidates)
            if chosen is None:
                return
            yield chosen

    def _replace(self, candidate: Candidate) -> tuple[int, int, int] | None:
        """First and last number, and the bytes freed; None for a batch with no reading to give up."""
        (body,) = self._file.db.execute("SELECT body FROM batch WHERE id = ?", (candidate.id,)).fetchone()
        batch = decode(body)
        if not any(series.readings for series in batch.series):
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
        return thinner.key.first, thinner.key.last, candidate.size - len(new)


def _free_bytes(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize

"""The buffer: one SQLite file that holds every record until the cloud has confirmed it.

All methods block; the agent calls them on one thread. WAL with `synchronous=FULL`: what `commit` returned from is on
the disk. Numbers are given inside the commit's transaction, so a number is never given twice and never lost alone.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.adapters.buffer_file import BufferFile, BufferFileError
from agent.adapters.open_groups import OpenGroups
from agent.adapters.outbox import Oldest, Outbox
from agent.adapters.space import Space
from agent.core.delivery_actions import Sealed
from agent.core.identity import NUMBERS_RESERVED, Start, Stored, decide_start
from agent.core.records import Group, Layout, NewReading, pack_group
from agent.core.sealing import Frame, OpenRecords, fit
from wire.batch import EPOCH_BYTES, Anchor, Column
from wire.codec import digest, encode
from wire.resolution import Resolution

__all__ = ["Buffer", "BufferFileError", "Identity", "Opening", "SealResult"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who writes this file: configured box id, /etc/machine-id, and BOOT_BYTES of the kernel's boot id."""

    box_id: str
    machine_id: str
    boot: bytes


@dataclass(frozen=True, slots=True)
class Opening:
    """What opening found. `until_ms`: all slots of a meter are accounted for up to there, on the clock of `boot`."""

    start: Start
    clean: bool
    boot: bytes | None
    anchor: Anchor | None
    until_ms: int
    until_by_meter_ms: dict[str, int]
    moved_aside: Path | None


@dataclass(frozen=True, slots=True)
class SealResult:
    """The batches just sealed, with their records and what is still open."""

    sealed: tuple[tuple[Sealed, int], ...]
    open_records: int
    oldest_open_ms: int | None


class Buffer:
    """Open with `Buffer.open`; close with `close`, which marks a clean end."""

    def __init__(self, file: BufferFile, identity: Identity) -> None:
        self.file = file
        self.outbox = Outbox(file, identity.box_id)
        self.space = Space(file)
        self._identity = identity
        self._groups = OpenGroups(file)
        self._begun = False
        self._anchor: Anchor | None = None
        self._layouts: dict[int, Layout] = {}
        self.epoch = b""
        self.next_seq = 1
        self._reserved = 0
        self._range_first = 1
        self._next_batch_id = 1

    @property
    def boot(self) -> bytes:
        return self._identity.boot

    # Opening and closing

    @classmethod
    def open(cls, path: Path, identity: Identity) -> tuple[Buffer, Opening]:
        """Open or create the file, seal what an earlier run left open, and decide epoch and numbering."""
        file, moved_aside = BufferFile.open(path)
        buffer = cls(file, identity)
        with file.translate("open"):
            return buffer, buffer._start(moved_aside)

    def _start(self, moved_aside: Path | None) -> Opening:
        db = self.file.db
        self._layouts = {
            id_: Layout(meter, _columns(columns), descriptor)
            for id_, meter, columns, descriptor in db.execute("SELECT id, meter, columns, descriptor FROM layout")
        }
        self._next_batch_id = db.execute("SELECT coalesce(max(id), 0) + 1 FROM batch").fetchone()[0]
        row = db.execute(
            "SELECT box_id, machine_id, boot, clean, next_seq, reserved, epoch, sealed_through, mono_ms, boot_utc_ms,"
            " uncertainty_ms FROM box"
        ).fetchone()
        stored = None
        until_ms, until_by_meter_ms, anchor = 0, dict[str, int](), None
        if row:
            anchor = None if row[9] is None else Anchor(row[9], row[10])
            self.epoch, self._range_first, self._reserved, until_ms = row[6], row[7] + 1, row[5], row[8]
            self.next_seq = max(self._groups.load(sealed_through=row[7]) + 1, row[4])
            stored = Stored(row[0], row[1], row[2], bool(row[3]), self.next_seq, self._reserved)
            until_by_meter_ms = self._last_readings()
            self._seal_leftovers(stored, anchor)
            db.execute("UPDATE epoch SET assigned = ? WHERE epoch = ?", (self.next_seq - 1, self.epoch))
        start = decide_start(stored, self._identity.box_id, self._identity.machine_id, self._identity.boot)
        self._begin(start)
        boot = stored.boot if stored else None
        clean = stored.clean if stored else True
        return Opening(start, clean, boot, anchor, until_ms, until_by_meter_ms, moved_aside)

    def _last_readings(self) -> dict[str, int]:
        """Boot clock of the last unsealed reading, by meter."""
        last: dict[str, int] = {}
        for _, group in self._groups:
            for record in group.records:
                if isinstance(record, NewReading):
                    last[self._layouts[record.layout].meter] = record.mono_ms
        return last

    def _seal_leftovers(self, stored: Stored, anchor: Anchor | None) -> None:
        frame = Frame(stored.box_id, self.epoch, stored.boot, anchor, confirm_wanted=False)
        while self._seal_once(frame, max_bytes=3600, handed_out=False):
            pass

    def _begin(self, start: Start) -> None:
        """Decide in memory from which number it goes on; the first commit writes it, with what explains it."""
        if start.epoch_reason:
            self._new_epoch()
        if start.skip:
            self.next_seq = start.skip[1] + 1
        self._reserved = max(self._reserved, self.next_seq + NUMBERS_RESERVED)

    def _new_epoch(self) -> None:
        self.epoch = os.urandom(EPOCH_BYTES)
        self.next_seq = self._range_first = 1
        self._reserved = NUMBERS_RESERVED

    def _write_box(self, db: sqlite3.Connection, mono_ms: int) -> None:
        """Whose file this is from now on; not clean until closed."""
        db.execute("INSERT OR IGNORE INTO epoch VALUES (?, ?, 0)", (self.epoch, self._identity.box_id))
        if self._range_first == 1:
            self._groups.clear(db)
        # An epoch of which nothing is left needs no memory; a receipt for it is ignored.
        db.execute("DELETE FROM epoch WHERE epoch != ? AND epoch NOT IN (SELECT epoch FROM batch)", (self.epoch,))
        identity, anchor = self._identity, self._anchor
        db.execute(
            "INSERT OR REPLACE INTO box (id, box_id, machine_id, epoch, next_seq, reserved, sealed_through, clean,"
            " boot, mono_ms, boot_utc_ms, uncertainty_ms) VALUES (1, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?)",
            (
                *(identity.box_id, identity.machine_id, self.epoch, self.next_seq, self._reserved),
                *(self._range_first - 1, identity.boot, mono_ms),
                *((anchor.boot_utc_ms, anchor.uncertainty_ms) if anchor else (None, None)),
            ),
        )

    def close(self, mono_ms: int) -> None:
        """Mark the end as clean and close; `mono_ms` is up to when every slot is accounted for."""
        if self._begun:
            with self.file.translate("close"), self.file.transaction() as db:
                db.execute("UPDATE box SET clean = 1, mono_ms = ?, next_seq = ?", (mono_ms, self.next_seq))
        self.file.close()

    # Writing

    def layout_id(self, layout: Layout) -> int:
        """The id of `layout`, stored on first sight."""
        for id_, known in self._layouts.items():
            if known == layout:
                return id_
        id_ = max(self._layouts, default=0) + 1
        columns = [[column.measurand, str(column.resolution.step)] for column in layout.columns]
        with self.file.translate("write to"), self.file.transaction() as db:
            row = (id_, layout.meter, msgspec.json.encode(columns).decode(), layout.descriptor)
            db.execute("INSERT INTO layout VALUES (?, ?, ?, ?)", row)
        self._layouts[id_] = layout
        return id_

    def layout(self, layout_id: int) -> Layout:
        """The layout that `layout_id` gave the id to."""
        return self._layouts[layout_id]

    def commit(self, group: Group) -> int:
        """Number and store the group durably; returns the number of its last record."""
        first, last = self.next_seq, self.next_seq + len(group.records) - 1
        reserved = self._reserved if last <= self._reserved else last + NUMBERS_RESERVED
        with self.file.translate("write to"), self.file.transaction() as db:
            if not self._begun:
                self._write_box(db, group.records[0].mono_ms)
            slot = self._groups.write(db, first, last, pack_group(group))
            if reserved != self._reserved:
                db.execute("UPDATE box SET reserved = ?", (reserved,))
        self._groups.keep(first, slot)
        self.next_seq, self._reserved, self._begun = last + 1, reserved, True
        return last

    def note_anchor(self, anchor: Anchor) -> None:
        """Keep the anchor, to date what a power cut may leave unsealed."""
        self._anchor = anchor
        if self._begun:
            with self.file.translate("write to"), self.file.transaction() as db:
                known = (anchor.boot_utc_ms, anchor.uncertainty_ms)
                db.execute("UPDATE box SET boot_utc_ms = ?, uncertainty_ms = ?", known)

    def seal(
        self, anchor: Anchor | None, max_bytes: int, *, everything: bool, confirm_wanted: bool, handed_out: bool
    ) -> SealResult:
        """Turn open records into batches of at most `max_bytes`: all of them, or only as many as fill one batch.

        `handed_out` says that they are about to be sent, which saves a write later. Only the last asks for a receipt.
        """
        sealed: list[tuple[Sealed, int]] = []
        frame = Frame(self._identity.box_id, self.epoch, self._identity.boot, anchor, confirm_wanted)
        with self.file.translate("seal a batch in"):
            while made := self._seal_once(frame, max_bytes, handed_out=handed_out):
                sealed.append(made)
                if not everything:
                    break
            oldest = self._groups.oldest()
        oldest_ms = oldest.records[0].mono_ms if oldest else None
        return SealResult(tuple(sealed), self.next_seq - self._range_first, oldest_ms)

    def _seal_once(self, frame: Frame, max_bytes: int, *, handed_out: bool) -> tuple[Sealed, int] | None:
        opened = self._opened()
        if opened is None:
            return None
        groups, batch, body = fit(frame, opened, max_bytes, encode)
        records = sum(len(group.records) for group in opened.groups[:groups])
        last_ms = opened.groups[groups - 1].records[-1].mono_ms
        batch_id = self._next_batch_id
        key = batch.key
        with self.file.transaction() as db:
            db.execute(
                "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, ?)",
                (
                    *(batch_id, key.epoch, key.first, key.last, key.rev),
                    *(records, len(body), handed_out, frame.confirm_wanted, digest(body), body),
                ),
            )
            db.execute(
                "UPDATE box SET next_seq = ?, sealed_through = ?, mono_ms = ?", (self.next_seq, key.last, last_ms)
            )
        self._groups.release(key.last)
        self._next_batch_id += 1
        self._range_first = key.last + 1
        return Sealed(batch_id, key.epoch, key.first, key.last, len(body), frame.confirm_wanted), records

    def _opened(self) -> OpenRecords | None:
        groups = list(self._groups)
        if not groups:
            return None
        return OpenRecords(self._range_first, groups[0][0], [group for _, group in groups], self._layouts)

    def begin_epoch(self, mono_ms: int) -> None:
        """Start a new epoch. Nothing may be open: seal first."""
        with self.file.translate("begin an epoch in"), self.file.transaction() as db:
            db.execute("UPDATE epoch SET assigned = ? WHERE epoch = ?", (self.next_seq - 1, self.epoch))
            self._new_epoch()
            self._write_box(db, mono_ms)

    # Looking

    def look(self) -> tuple[Oldest | None, int]:
        """The oldest record that is in a batch, and the bytes in use, for `status`."""
        with self.file.translate("read from"):
            return self.outbox.oldest(), self.space.used_bytes()

    @property
    def sealed_through(self) -> int:
        """The highest number of this epoch that is in a batch; the cloud cannot have more."""
        return self._range_first - 1


def _columns(text: str) -> tuple[Column, ...]:
    return tuple(Column(name, Resolution.parse(step)) for name, step in msgspec.json.decode(text))

"""The buffer: one SQLite file that holds every record until the cloud has confirmed it.

All methods block; the agent calls them on one thread. WAL with `synchronous=FULL`: once `commit` has returned, its
records are on the disk. Numbers are given in the transaction of the commit, so none is given twice.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from agent.adapters.buffer.aside import Aside
from agent.adapters.buffer.buffer_file import BufferFile, BufferFileError
from agent.adapters.buffer.kept_rows import MemoryRow
from agent.adapters.buffer.open_groups import OpenGroups
from agent.adapters.buffer.outbox import Oldest, Outbox
from agent.adapters.buffer.space import Space, Thinned
from agent.core.buffer.numbering import NUMBERS_RESERVED, BoxIdentity, Start, Stored, decide_start
from agent.core.buffer.sealing import Frame, check_batch, fit, opened
from agent.core.buffer.slot_accounts import accounted_through, latest
from agent.core.delivery.actions import Sealed
from agent.core.invariants import BrokenInvariantError, require
from agent.core.records import Group, Layout, pack_columns, pack_group, sayable, unpack_columns
from wire.batch import EPOCH_BYTES, Anchor
from wire.codec import digest, encode

log = logging.getLogger(__name__)

__all__ = ["Buffer", "BufferFileError", "Opening", "SealResult"]


@dataclass(frozen=True, slots=True)
class Opening:
    """What opening found of an earlier run, in `boot`, which was sealed in epoch `previous`.

    `accounted_ms`: per meter, where the last slot began that is read or explained; on the clock of `boot`.
    """

    start: Start
    clean: bool = True
    boot: bytes | None = None
    anchor: Anchor | None = None
    accounted_ms: Mapping[str, int] = field(default_factory=dict)
    previous: bytes | None = None
    moved_aside: Aside | None = None
    thinned: tuple[Thinned, ...] = ()


@dataclass(frozen=True, slots=True)
class SealResult:
    """The batches just sealed, with their records and what is still open."""

    sealed: tuple[tuple[Sealed, int], ...]
    open_records: int
    oldest_open_ms: int | None


class Buffer:
    """Open with `Buffer.open`; close with `close`, which marks a clean end."""

    def __init__(self, file: BufferFile, identity: BoxIdentity) -> None:
        self.file = file
        self.outbox = Outbox(file, identity.box_id)
        self.space = Space(file)
        self.memory = MemoryRow()
        self._identity = identity
        self._groups = OpenGroups(file)
        self._begun = False
        self._anchor: Anchor | None = None
        self._layouts: dict[int, Layout] = {}
        self._new_layouts: dict[int, Layout] = {}
        self._accounted_ms: dict[str, int] = {}
        self.epoch = b""
        self.next_seq = 1
        self._given_through = 0
        self._reserved = 0
        self._range_first = 1
        self._next_batch_id = 1

    @property
    def boot(self) -> bytes:
        return self._identity.boot

    # Opening and closing

    @classmethod
    def open(cls, path: Path, identity: BoxIdentity) -> tuple[Buffer, Opening]:
        """Open or create the file, seal what an earlier run left open, and decide epoch and numbering.

        A damaged file is moved aside, a full disk is given room. Raises `BufferFileError`.
        """
        file = BufferFile.open(path)
        try:
            found = cls._opened_unless_ill(file, identity)
            if isinstance(found, tuple):
                return found
            if found == sqlite3.SQLITE_FULL:
                room = Space(file).make_room()
                buffer, opening = cls._opened_from(file, identity)
                return buffer, replace(opening, thinned=room.thinned)
            file.replace_damaged()
            return cls._opened_from(file, identity)
        except BaseException:  # raised on: only lets go of what was opened
            file.close()
            raise

    @classmethod
    def _opened_unless_ill(cls, file: BufferFile, identity: BoxIdentity) -> tuple[Buffer, Opening] | int:
        """Or SQLite's code for an error that can be repaired, once nothing of the error holds the file any more."""
        try:
            return cls._opened_from(file, identity)
        except BufferFileError as error:
            if not (error.damaged or error.full):
                raise
            log.error("buffer: %s", error)  # noqa: TRY400 - it is no fault of the code
            return error.code

    @classmethod
    def _opened_from(cls, file: BufferFile, identity: BoxIdentity) -> tuple[Buffer, Opening]:
        buffer = cls(file, identity)
        with file.translate("open"):
            try:
                return buffer, buffer._start()
            except (msgspec.DecodeError, LookupError, TypeError, ValueError, BrokenInvariantError) as error:
                # SQLite found nothing wrong, but what the rows say is not what was written.
                raise BufferFileError("open", file.path, f"it is damaged: {error}", sqlite3.SQLITE_CORRUPT) from error

    def _start(self) -> Opening:
        db = self.file.db
        self._layouts = {
            id_: Layout(meter, unpack_columns(columns), descriptor)
            for id_, meter, columns, descriptor in db.execute("SELECT id, meter, columns, descriptor FROM layout")
        }
        self.memory.load(db)
        self._next_batch_id = db.execute("SELECT coalesce(max(id), 0) + 1 FROM batch").fetchone()[0]
        row = db.execute(
            "SELECT box_id, machine_id, boot, clean, next_seq, reserved, epoch, sealed_through, accounted, boot_utc_ms,"
            " uncertainty_ms FROM box"
        ).fetchone()
        if row is None:
            return Opening(self._begin(None), moved_aside=self.file.made_of())
        anchor = None if row[9] is None else Anchor(row[9], row[10])
        self.epoch, self._range_first, self._reserved = row[6], row[7] + 1, row[5]
        self._accounted_ms = msgspec.json.decode(row[8], type=dict[str, int])
        self.next_seq = max(self._groups.load(sealed_through=row[7]) + 1, row[4])
        self._given_through = self.next_seq - 1
        stored = Stored(row[0], row[1], row[2], bool(row[3]), self.next_seq, self._reserved)
        self._seal_leftovers(stored, anchor)
        db.execute("UPDATE epoch SET assigned = ? WHERE epoch = ?", (self.next_seq - 1, self.epoch))
        accounted_ms, previous = self._accounted_ms, self.epoch
        start = self._begin(stored)
        return Opening(start, stored.clean, stored.boot, anchor, accounted_ms, previous)

    def _seal_leftovers(self, stored: Stored, anchor: Anchor | None) -> None:
        frame = Frame(stored.box_id, self.epoch, stored.boot, anchor, confirm_wanted=False)
        while self._seal_once(frame, max_bytes=3600, handed_out=False):
            pass

    def _begin(self, stored: Stored | None) -> Start:
        """Decide in memory from which number it goes on; the first commit writes it, with what explains it."""
        identity = self._identity
        start = decide_start(stored, identity.box_id, identity.machine_id, identity.boot)
        if start.epoch_reason:
            self._new_epoch()
        if start.skip:
            # The cloud may have batches with some of these numbers: a batch that spanned them would be a conflict.
            self.next_seq = self._range_first = start.skip[1] + 1
        if stored is None or stored.boot != identity.boot:
            self._accounted_ms = {}
        self._reserved = max(self._reserved, self.next_seq + NUMBERS_RESERVED)
        return start

    def _new_epoch(self) -> None:
        self.epoch = os.urandom(EPOCH_BYTES)
        self.next_seq, self._given_through, self._range_first = 1, 0, 1
        self._reserved = NUMBERS_RESERVED

    def _write_box(self, db: sqlite3.Connection) -> None:
        """Whose file this is from now on; not clean until closed."""
        db.execute("INSERT OR IGNORE INTO epoch VALUES (?, ?, 0)", (self.epoch, self._identity.box_id))
        if self._range_first == 1:
            self._groups.clear(db)
        # An epoch of which nothing is left needs no memory; a receipt for it is ignored.
        db.execute("DELETE FROM epoch WHERE epoch != ? AND epoch NOT IN (SELECT epoch FROM batch)", (self.epoch,))
        identity, anchor = self._identity, self._anchor
        db.execute(
            "INSERT OR REPLACE INTO box (id, box_id, machine_id, epoch, next_seq, reserved, sealed_through, clean,"
            " boot, accounted, boot_utc_ms, uncertainty_ms) VALUES (1, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?)",
            (
                *(identity.box_id, identity.machine_id, self.epoch, self.next_seq, self._reserved),
                *(self._range_first - 1, identity.boot, _json(self._accounted_ms)),
                *((anchor.boot_utc_ms, anchor.uncertainty_ms) if anchor else (None, None)),
            ),
        )

    def carry_over(self, meter: str, last_ms: int) -> None:
        """As polling begins: where, on the clock of this boot and below 0 perhaps, the last slot before that began.

        Written with the next batch or first commit: where no slot passed no record says so, and a power cut may follow.
        """
        self._accounted_ms[meter] = last_ms

    def close(self) -> None:
        """Mark the end as clean and close, also where the mark cannot be written."""
        try:
            if self._begun:
                with self.file.translate("close"), self.file.transaction() as db:
                    self.memory.write(db)
                    self.outbox.take_back(db)
                    db.execute("UPDATE box SET clean = 1, next_seq = ?", (self.next_seq,))
        finally:
            self.file.close()

    # Writing

    def layout_id(self, layout: Layout) -> int:
        """The id of `layout`; one seen for the first time is stored with the next commit."""
        for id_, known in self._layouts.items():
            if known == layout:
                return id_
        id_ = max(self._layouts, default=0) + 1
        self._layouts[id_] = self._new_layouts[id_] = layout
        return id_

    def layout(self, layout_id: int) -> Layout:
        """The layout that `layout_id` gave the id to."""
        return self._layouts[layout_id]

    def commit(self, group: Group) -> int:
        """Number and store the group durably; returns the number of its last record."""
        group = sayable(group)
        first, last = self.next_seq, self.next_seq + len(group.records) - 1
        # Well ahead: a disk that loses its last commits in a power cut may lose the one that reserved numbers, too.
        reserved = self._reserved if last + NUMBERS_RESERVED // 2 <= self._reserved else last + NUMBERS_RESERVED
        require("numbers are never given twice", first > self._given_through, first=first, given=self._given_through)
        require("numbers are reserved before they are given", last <= reserved, last=last, reserved=reserved)
        with self.file.translate("write to"), self.file.transaction() as db:
            if not self._begun:
                self._write_box(db)
            for id_, layout in self._new_layouts.items():
                row = (id_, layout.meter, pack_columns(layout.columns), layout.descriptor)
                db.execute("INSERT INTO layout VALUES (?, ?, ?, ?)", row)
            slot = self._groups.write(db, first, last, pack_group(group))
            if reserved != self._reserved:
                db.execute("UPDATE box SET reserved = ?", (reserved,))
        self._groups.keep(first, slot)
        self._new_layouts.clear()
        self.next_seq, self._given_through, self._reserved, self._begun = last + 1, last, reserved, True
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

        `handed_out` says that they are about to be sent, which saves a write later.
        """
        sealed: list[tuple[Sealed, int]] = []
        frame = Frame(self._identity.box_id, self.epoch, self._identity.boot, anchor, confirm_wanted)
        with self.file.translate("seal a batch in"):
            try:
                while made := self._seal_once(frame, max_bytes, handed_out=handed_out):
                    sealed.append(made)
                    if not everything:
                        break
            except sqlite3.Error:
                if not sealed:
                    raise  # else the caller must hear of what was sealed before
            oldest = self._groups.oldest()
        oldest_ms = oldest.records[0].mono_ms if oldest else None
        return SealResult(tuple(sealed), self.next_seq - self._range_first, oldest_ms)

    def _seal_once(self, frame: Frame, max_bytes: int, *, handed_out: bool) -> tuple[Sealed, int] | None:
        found = opened(self._range_first, list(self._groups), self.next_seq, self._layouts)
        if found is None:
            return None
        groups, batch, body = fit(frame, found, max_bytes, encode)
        taken = found.head(groups)
        check_batch(batch, taken)
        records = taken.last - taken.first + 1
        accounted_ms = latest(self._accounted_ms, accounted_through(taken.groups, self._layouts))
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
                "UPDATE box SET next_seq = ?, sealed_through = ?, accounted = ?",
                (self.next_seq, key.last, _json(accounted_ms)),
            )
            self.memory.write(db)
        self._groups.release(key.last)
        if handed_out:
            self.outbox.sending.promise([batch_id])
        self._accounted_ms = accounted_ms
        self._next_batch_id += 1
        self._range_first = key.last + 1
        return Sealed(batch_id, key.epoch, key.first, key.last, len(body), frame.confirm_wanted), records

    def begin_epoch(self) -> None:
        """Start a new epoch, if nothing is open: open records would get numbers of the new one."""
        if self._groups.oldest() is not None:
            raise ValueError("records are open: seal them first")
        before = (self.epoch, self.next_seq, self._given_through, self._range_first, self._reserved)
        try:
            with self.file.translate("begin an epoch in"), self.file.transaction() as db:
                db.execute("UPDATE epoch SET assigned = ? WHERE epoch = ?", (self.next_seq - 1, self.epoch))
                self._new_epoch()
                self._write_box(db)
        except BufferFileError:
            self.epoch, self.next_seq, self._given_through, self._range_first, self._reserved = before
            raise

    # Looking

    def look(self) -> tuple[Oldest | None, int]:
        """The oldest record that is in a batch, and the bytes in use, for `status`."""
        with self.file.translate("read from"):
            return self.outbox.oldest(), self.space.used_bytes()

    @property
    def sealed_through(self) -> int:
        """The highest number of this epoch that is in a batch; the cloud cannot have more."""
        return self._range_first - 1


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()

"""The sealed batches in the buffer's file: handed out for sending, deleted when a receipt confirms them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.adapters.buffer.buffer_file import BufferFile
from agent.core.delivery.actions import Sealed
from agent.core.delivery.receipts import DAMAGED, ReceiptVerdict, Unconfirmed, check_verdict, judge
from agent.core.delivery.sending import Sending
from wire.batch import Anchor, Batch
from wire.codec import decode
from wire.errors import WireError
from wire.receipt import Receipt

BATCH_ID_MAX = 2**62
DELETED_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Oldest:
    """When the first record of the oldest batch was made: on the clock of `boot`, and what dates that."""

    boot: bytes
    mono_ms: int
    anchor: Anchor | None


def times_of(batch: Batch) -> tuple[int, int]:
    """Boot clock of the first and of the last record of `batch`, which has one."""
    times = [reading.mono_ms for series in batch.series for reading in series.readings]
    times += [event.mono_ms for event in batch.events]
    return min(times, default=0), max(times, default=0)


class Outbox:
    """Batches of `box_id`; what another box left in the file is kept, and never sent under this box's name."""

    def __init__(self, file: BufferFile, box_id: str) -> None:
        self._file = file
        self._box_id = box_id
        self._oldest: tuple[int, Oldest | None] = (0, None)
        self.sending = Sending()

    def take_back(self, db: sqlite3.Connection) -> None:
        """Within the caller's transaction, at a clean end: what never left the box is not sent."""
        db.executemany(
            "UPDATE batch SET sent = 0 WHERE id = ?", [(batch_id,) for batch_id in self.sending.only_promised()]
        )

    def load(self, below_id: int | None, limit: int) -> list[Sealed]:
        """At most `limit` batches of this box below `below_id`, newest first, marked as handed out."""
        with self._file.translate("read from"):
            rows = self._file.db.execute(
                "SELECT id, batch.epoch, first, last, size, confirm_wanted, sent FROM batch JOIN epoch USING (epoch)"
                " WHERE device = ? AND held IS NULL AND id < ? ORDER BY id DESC LIMIT ?",
                (self._box_id, below_id or BATCH_ID_MAX, limit),
            ).fetchall()
            unsent = [(row[0],) for row in rows if not row[6]]
            if unsent:
                with self._file.transaction() as db:
                    db.executemany("UPDATE batch SET sent = 1 WHERE id = ?", unsent)
                self.sending.promise(batch_id for (batch_id,) in unsent)
        return [
            Sealed(id_, epoch, first, last, size, bool(wanted)) for id_, epoch, first, last, size, wanted, _ in rows
        ]

    def body(self, batch_id: int) -> bytes | None:
        """The bytes of a batch that is about to be sent, or None when it is gone."""
        with self._file.translate("read from"):
            row = self._file.db.execute("SELECT body, sent FROM batch WHERE id = ?", (batch_id,)).fetchone()
        if row is None:
            return None
        self.sending.given_out(batch_id, marked=bool(row[1]))
        body: bytes = row[0]
        return body

    def confirm(self, receipt: Receipt, epoch_now: bytes, sealed_through_now: int) -> tuple[ReceiptVerdict, int] | None:
        """Apply a receipt; returns the verdict and the records deleted, or None for an epoch that is not known here.

        The epoch in use is `epoch_now`, sealed up to `sealed_through_now`.
        """
        with self._file.translate("confirm in"):
            row = self._file.db.execute("SELECT assigned FROM epoch WHERE epoch = ?", (receipt.epoch,)).fetchone()
            if row is None:
                return None
            retired = receipt.epoch != epoch_now
            sealed_through = row[0] if retired else sealed_through_now
            batches = self._unconfirmed(receipt)
            verdict = judge(receipt, sealed_through, batches, retired=retired)
            check_verdict(verdict, sealed_through, batches, retired=retired)
            if verdict.held:
                with self._file.transaction() as db:
                    db.executemany(
                        "UPDATE batch SET held = ? WHERE id = ? AND held IS NOT ?",
                        [(why, id_, why) for id_, why in verdict.held],
                    )
            return verdict, self.delete(verdict.delete)

    def _unconfirmed(self, receipt: Receipt) -> Sequence[Unconfirmed]:
        """Batches of the receipt's epoch up to the highest number that it names."""
        highest = max([receipt.through, *(r[1] for r in receipt.ranges), *(h[1] for h in receipt.held)])
        rows = self._file.db.execute(
            "SELECT id, first, last, sent, digests, held FROM batch WHERE epoch = ? AND first <= ? ORDER BY id",
            (receipt.epoch, highest),
        )
        return [
            Unconfirmed(
                *(id_, first, last, self.sending.is_sent(id_, marked=bool(sent)), tuple(str(digests).split())),
                taken=self.sending.is_taken(id_),
                damaged=held == DAMAGED,
            )
            for id_, first, last, sent, digests, held in rows
        ]

    def delete(self, batch_ids: Iterable[int]) -> int:
        """Delete confirmed batches; returns how many records they had.

        A few at a time: what is deleted at once must fit into the WAL, which cannot grow on a full disk.
        """
        records, ids = 0, list(batch_ids)
        with self._file.translate("delete from"):
            for start in range(0, len(ids), DELETED_AT_ONCE):
                chunk = ids[start : start + DELETED_AT_ONCE]
                records += self._delete(chunk)
                self.sending.forget(chunk)
        return records

    def _delete(self, batch_ids: Sequence[int]) -> int:
        try:
            with self._file.transaction() as db:
                statement = "DELETE FROM batch WHERE id = ? RETURNING records"
                rows = [db.execute(statement, (batch_id,)).fetchone() for batch_id in batch_ids]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL or len(batch_ids) == 1:
                raise
            self._file.checkpoint()
            return sum(self._delete([batch_id]) for batch_id in batch_ids)
        return sum(row[0] or 0 for row in rows if row)

    def set_aside(self, batch_id: int, why: str) -> tuple[Sealed, int]:
        """Keep a batch without sending it any more; returns it with the number of its records."""
        with self._file.translate("set a batch aside in"), self._file.transaction() as db:
            row = db.execute(
                "UPDATE batch SET held = ? WHERE id = ? RETURNING epoch, first, last, size, records", (why, batch_id)
            ).fetchone()
        epoch, first, last, size, records = row
        return Sealed(batch_id, epoch, first, last, size, confirm_wanted=False), records

    def oldest(self) -> Oldest | None:
        """The oldest record in a batch; None without batches, or where the oldest is damaged."""
        with self._file.translate("read from"):
            row = self._file.db.execute("SELECT id, body FROM batch ORDER BY id LIMIT 1").fetchone()
        if row is None:
            return None
        if row[0] != self._oldest[0]:
            try:
                batch = decode(row[1])
            except WireError:
                self._oldest = (row[0], None)
            else:
                self._oldest = (row[0], Oldest(batch.boot, times_of(batch)[0], batch.anchor))
        return self._oldest[1]

    def count_held(self) -> int:
        """Batches that lie in the cloud's quarantine."""
        with self._file.translate("read from"):
            count: int = self._file.db.execute("SELECT count(held) FROM batch").fetchone()[0]
        return count

    def counts(self) -> dict[str, int]:
        """What the buffer holds, for `status`."""
        with self._file.translate("read from"):
            batches, records, size, held = self._file.db.execute(
                "SELECT count(*), coalesce(sum(records), 0), coalesce(sum(size), 0), count(held) FROM batch"
            ).fetchone()
        return {
            "batches": batches,
            "batch_records": records,
            "batch_bytes": size,
            "held_batches": held,
        }

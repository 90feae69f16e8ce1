"""Sealed batches on a real SQLite file: handed out, confirmed, held, deleted."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from boxes import ANCHOR, BOOTS, TestBuffer, confirm, receipt

from agent.core.delivery.receipts import DAMAGED
from cloud.ingest.ingest import ingest
from cloud.ports import InboundMessage
from cloud.stores.export import readings
from cloud.stores.sqlite.stores import open_stores
from wire.codec import decode, digest
from wire.receipt import Receipt


@pytest.fixture
def box(tmp_path: Path) -> TestBuffer:
    made = TestBuffer(tmp_path)
    made.open()
    return made


def fill(box: TestBuffer, batches: int) -> None:
    for _ in range(batches):
        box.readings(10)
        box.seal(wanted=True, handed_out=False)


def times(box: TestBuffer) -> set[int]:
    return {reading.mono_ms for batch in box.batches() for series in batch.series for reading in series.readings}


def test_a_receipt_deletes_what_it_covers_and_only_that(box: TestBuffer) -> None:
    box.readings(10)
    box.seal()
    box.readings(10)
    box.seal()
    box.readings(3)
    assert confirm(box, receipt(box, 10)) == ((1,), 10)
    assert box.numbers() == [(11, 20)]
    assert confirm(box, receipt(box, 10)) == ((), 0)
    assert confirm(box, receipt(box, 20)) == ((2,), 10)
    assert box.seal().sealed[0][0].first == 21


def test_what_was_not_handed_out_is_not_deleted(box: TestBuffer) -> None:
    box.readings(10)
    box.seal(handed_out=False)
    result = box.buffer.outbox.confirm(receipt(box, 10), box.buffer.epoch, box.buffer.sealed_through)
    assert result is not None
    assert (result[0].delete, result[0].misfit) == ((), "it confirms 1..10, which was never sent")
    assert len(box.buffer.outbox.load(None, 10)) == 1
    result = box.buffer.outbox.confirm(receipt(box, 10), box.buffer.epoch, box.buffer.sealed_through)
    assert result is not None
    assert (result[0].delete, result[0].misfit) == ((), None)  # about to be sent is not sent
    box.send([1])
    assert confirm(box, receipt(box, 10)) == ((1,), 10)


def test_what_is_on_its_way_is_not_deleted_by_a_range(box: TestBuffer) -> None:
    """It may yet turn out to be a conflict; the receipt that names its digest is of itself."""
    box.readings(10)
    box.seal(handed_out=False)
    box.buffer.outbox.load(None, 10)
    box.buffer.outbox.body(1)
    ranges = receipt(box, 10)
    assert confirm(box, ranges) == ((), 0)
    assert confirm(box, replace(ranges, answers=(ranges.digest or "",))) == ((1,), 10)


def test_what_was_sent_before_the_file_said_so_is_sent(box: TestBuffer) -> None:
    """Sealed while there was no connection, and sent at once when there was one; loaded only then."""
    box.readings(10)
    box.seal(handed_out=False)
    box.send([1])
    box.buffer.outbox.load(None, 10)
    assert confirm(box, receipt(box, 10)) == ((1,), 10)


def test_what_was_handed_out_and_never_sent_is_known_after_a_clean_end(box: TestBuffer) -> None:
    for _ in range(2):
        box.readings(10)
        box.seal(handed_out=False)
    box.buffer.outbox.load(None, 10)
    box.send([2])
    box.buffer.close()
    box.open(boot=1)
    sent = box.buffer.file.db.execute("SELECT sent FROM batch ORDER BY id").fetchall()
    assert sent == [(0,), (1,)]


def test_a_backup_that_went_on_offline_loses_nothing_of_its_own(tmp_path: Path) -> None:
    """Its batches happen to end where those end that the cloud has of the other history."""
    stores = open_stores(tmp_path / "cloud")
    (tmp_path / "box").mkdir()
    box = TestBuffer(tmp_path / "box")
    box.open()
    fill(box, batches=10)
    box.buffer.close()
    shutil.copytree(tmp_path / "box", tmp_path / "backup")
    box.open()
    fill(box, batches=10)
    for body in box.bodies():
        ingest([InboundMessage("apt-1", body, "test")], stores)
    box.kill()
    back = TestBuffer(tmp_path / "backup", begin_ms=10_000_000)
    back.open(boot=1)
    fill(back, batches=11)
    mine = times(back)
    outbox = back.buffer.outbox
    for sealed in outbox.load(None, 32):  # newest first: the first one is beyond what the cloud has
        (addressed,) = ingest([InboundMessage("apt-1", outbox.body(sealed.id) or b"", "test")], stores).receipts
        outbox.sending.taken(sealed.id)
        outbox.confirm(addressed.receipt, back.buffer.epoch, back.buffer.sealed_through)
    stored = {reading["mono_ms"] for reading in readings(stores)}
    assert mine <= stored | times(back)


def test_that_a_batch_was_handed_out_is_known_after_a_kill(box: TestBuffer) -> None:
    box.readings(10)
    box.seal(handed_out=False)
    box.buffer.outbox.load(None, 10)
    box.kill()
    box.open(boot=1)
    assert confirm(box, receipt(box, 10)) == ((1,), 10)


def test_a_receipt_of_an_unknown_epoch_is_ignored(box: TestBuffer) -> None:
    box.readings(10)
    box.seal()
    assert box.buffer.outbox.confirm(Receipt(b"unknown!", 10), box.buffer.epoch, box.buffer.sealed_through) is None
    assert len(box.batches()) == 1


def test_what_the_cloud_holds_is_kept_not_sent_and_counted_once(box: TestBuffer) -> None:
    box.readings(10)
    box.seal()
    held = receipt(box, 0, held=((1, 10, "conflict"),))
    for _ in range(2):
        assert confirm(box, held) == ((), 0)
        assert box.buffer.outbox.count_held() == 1
    assert box.buffer.outbox.load(None, 10) == []
    assert box.buffer.outbox.body(1) is not None
    assert confirm(box, receipt(box, 10)) == ((1,), 10)  # put right in the cloud, and stored after all
    assert box.buffer.outbox.count_held() == 0


def test_what_is_damaged_here_is_kept_whatever_is_told_of_its_numbers_until_it_is_answered_itself(
    box: TestBuffer,
) -> None:
    box.readings(10)
    box.seal()
    box.readings(10)
    box.seal()
    mark = digest(box.bodies()[0])
    box.buffer.outbox.set_aside(1, DAMAGED)
    assert confirm(box, receipt(box, 20, held=((1, 10, "conflict"),))) == ((2,), 10)
    assert box.buffer.outbox.count_held() == 1
    assert confirm(box, receipt(box, 20)) == ((), 0)
    assert confirm(box, receipt(box, 20, answers=(mark,))) == ((1,), 10)


def test_batches_are_loaded_newest_first_and_each_once(box: TestBuffer) -> None:
    for _ in range(7):
        box.readings(1)
        box.seal()
    outbox = box.buffer.outbox
    assert [batch.id for batch in outbox.load(None, 3)] == [7, 6, 5]
    assert [batch.id for batch in outbox.load(5, 3)] == [4, 3, 2]
    assert [batch.id for batch in outbox.load(2, 3)] == [1]
    body = outbox.body(7)
    assert body is not None
    assert decode(body).key.last == 7
    assert outbox.body(99) is None


def test_the_counts_are_those_of_what_is_there(box: TestBuffer) -> None:
    assert box.buffer.outbox.counts() == {"batches": 0, "batch_records": 0, "batch_bytes": 0, "held_batches": 0}
    box.readings(10)
    ((batch, _),) = box.seal().sealed
    expected = {"batches": 1, "batch_records": 10, "batch_bytes": batch.size, "held_batches": 0}
    assert box.buffer.outbox.counts() == expected
    oldest, used_bytes = box.buffer.look()
    assert oldest is not None
    assert (oldest.boot, oldest.mono_ms, oldest.anchor) == (BOOTS[0], 1_000, ANCHOR)
    assert used_bytes > batch.size
    assert box.buffer.outbox.delete([1, 2, 3]) == 10
    assert box.buffer.look()[0] is None


def test_the_digest_that_is_kept_is_that_of_the_bytes(box: TestBuffer) -> None:
    box.readings(10)
    box.seal()
    body = box.buffer.outbox.body(1)
    assert body is not None
    assert receipt(box, 10).digest == digest(body)

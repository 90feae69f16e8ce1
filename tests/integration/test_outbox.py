"""Sealed batches on a real SQLite file: handed out, confirmed, held, deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from boxes import ANCHOR, BOOTS, TestBuffer, confirm, receipt

from agent.core.receipts import DAMAGED
from wire.codec import decode, digest
from wire.receipt import Receipt


@pytest.fixture
def box(tmp_path: Path) -> TestBuffer:
    made = TestBuffer(tmp_path)
    made.open()
    return made


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
    assert confirm(box, receipt(box, 10)) == ((1,), 10)


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

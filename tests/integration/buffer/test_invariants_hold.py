"""Invariants of the buffer, broken from inside: the step stops with the name, and nothing is stored or deleted."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from boxes import TestBuffer
from recording_rig import Rig
from virtual_time import run_virtual

from agent.adapters.buffer import outbox, space
from agent.core.buffer import thinning
from agent.core.delivery.receipts import ReceiptVerdict, Unconfirmed
from agent.core.invariants import BrokenInvariantError
from agent.core.records import NewEvent
from wire.batch import Batch
from wire.receipt import Receipt


@pytest.fixture
def box(tmp_path: Path) -> Iterator[TestBuffer]:
    box = TestBuffer(tmp_path)
    box.open()
    yield box
    box.kill()


def stored(box: TestBuffer) -> list[tuple[object, ...]]:
    """All that the file says of numbers and batches."""
    db = box.buffer.file.db
    rows = db.execute("SELECT slot, first, last, body FROM open_group ORDER BY slot").fetchall()
    return rows + db.execute("SELECT id, first, last, rev, held, body FROM batch ORDER BY id").fetchall()


def test_a_number_is_not_given_again(box: TestBuffer) -> None:
    box.readings(10)
    before = stored(box)
    box.buffer.next_seq -= 1
    with pytest.raises(BrokenInvariantError, match=r"numbers are never given twice .*first=10, given=10"):
        box.readings(1)
    assert stored(box) == before


def test_nor_before_it_is_reserved(box: TestBuffer, monkeypatch: pytest.MonkeyPatch) -> None:
    box.readings(10)
    before = stored(box)
    monkeypatch.setattr("agent.adapters.buffer.buffer.NUMBERS_RESERVED", -100)
    box.buffer._reserved = 0
    with pytest.raises(BrokenInvariantError, match="numbers are reserved before they are given"):
        box.readings(1)
    assert stored(box) == before


def test_open_numbers_with_a_hole_are_not_sealed(box: TestBuffer) -> None:
    box.readings(15, group=5)
    before = stored(box)
    del box.buffer._groups._slot_by_first[6]
    with pytest.raises(BrokenInvariantError, match=r"open numbers are contiguous .*found=11, expected=6"):
        box.seal()
    assert stored(box) == before


def test_numbers_that_are_sealed_are_not_sealed_again(box: TestBuffer) -> None:
    box.readings(5)
    before = stored(box)
    box.buffer._range_first = 3
    with pytest.raises(BrokenInvariantError, match=r"open numbers lie beyond what is sealed .*first=1, range_first=3"):
        box.seal()
    assert stored(box) == before


def test_numbers_that_were_not_given_are_not_sealed(box: TestBuffer) -> None:
    box.readings(5)
    before = stored(box)
    box.buffer.next_seq = 4
    with pytest.raises(BrokenInvariantError, match=r"open numbers were given .*last=5, next_seq=4"):
        box.seal()
    assert stored(box) == before


def test_a_file_with_a_hole_in_its_open_numbers_is_kept_aside_as_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    box = TestBuffer(tmp_path)
    box.open()
    box.readings(5)
    box.seal()
    box.readings(15, group=5)
    box.buffer.file.db.execute("DELETE FROM open_group WHERE first = 11")
    box.kill()
    with caplog.at_level(logging.ERROR):
        opening = box.open()
    assert "open numbers are contiguous (found=16, expected=11)" in caplog.text
    assert opening.moved_aside is not None
    assert (opening.moved_aside.batches, opening.moved_aside.path.exists()) == (1, True)
    assert opening.start.epoch_reason
    box.kill()


@pytest.mark.parametrize(
    ("verdict", "name"),
    [
        (ReceiptVerdict(delete=(1, 2)), r"only what was sent is confirmed \(unsent=\[2\]\)"),
        (ReceiptVerdict(held=((2, "conflict"),)), r"only what was sent is confirmed \(unsent=\[2\]\)"),
        (ReceiptVerdict(delete=(99,)), r"only what was sent is confirmed \(unsent=\[99\]\)"),
        (ReceiptVerdict(delete=(1,), held=((1, "conflict"),)), "what is held is not deleted"),
        (
            ReceiptVerdict(delete=(1,), stored_to=11),
            r"nothing unsealed is confirmed \(stored_to=11, sealed_through=10\)",
        ),
    ],
)
def test_what_a_receipt_cannot_confirm_is_neither_deleted_nor_held(
    box: TestBuffer, monkeypatch: pytest.MonkeyPatch, verdict: ReceiptVerdict, name: str
) -> None:
    for _ in range(2):
        box.readings(5)
        box.seal(handed_out=False)
    box.buffer.outbox.body(1)
    before = stored(box)

    def judge(*_args: object, **_options: object) -> ReceiptVerdict:
        return verdict

    monkeypatch.setattr(outbox, "judge", judge)
    with pytest.raises(BrokenInvariantError, match=name):
        box.buffer.outbox.confirm(Receipt(box.buffer.epoch, 10), box.buffer.epoch, 10)
    assert stored(box) == before


def test_a_retired_epoch_is_held_against_what_was_sent_alone() -> None:
    batches = [Unconfirmed(1, 1, 5, sent=True, digests=())]
    outbox.check_verdict(ReceiptVerdict(delete=(1,), stored_to=11), 5, batches, retired=True)


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lambda batch: replace(batch, key=replace(batch.key, last=batch.key.last + 1)), "keeps its numbers"),
        (lambda batch: replace(batch, key=replace(batch.key, rev=0)), "keeps its numbers"),
        (lambda batch: replace(batch, series=()), "keeps its account"),
        (lambda batch: replace(batch, events=batch.events[:-1]), "keeps its account"),
    ],
)
def test_a_batch_is_not_replaced_by_one_that_says_less_than_it_may(
    box: TestBuffer, monkeypatch: pytest.MonkeyPatch, spoil: object, name: str
) -> None:
    box.commit(box.reading(), NewEvent(1, "gap", "main", {"slots": 1}), due={"main": 2})
    box.seal()
    before = stored(box)

    def thin(batch: Batch) -> Batch:
        spoilt: Batch = spoil(thinning.thin(batch))  # type: ignore[operator]
        return spoilt

    monkeypatch.setattr(space, "thin", thin)
    with pytest.raises(BrokenInvariantError, match=f"a thinned batch {name}"):
        box.buffer.space.keep_within(0)
    assert stored(box) == before


def test_a_broken_commit_is_named_in_log_and_troubles(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        rig = Rig(tmp_path / "buffer.db")
        rig.journal.add([NewEvent(1, "start")])
        assert await rig.recorder.flush()
        rig.buffer.next_seq -= 1
        rig.journal.add([NewEvent(2, "config")])
        with pytest.raises(BrokenInvariantError):
            await rig.recorder.flush()
        rig.buffer.file.close()
        assert rig.progress.troubles["invariant"].startswith("broken invariant: numbers are never given twice (")

    run_virtual(scenario())
    assert "invariant: broken invariant: numbers are never given twice (" in caplog.text


def test_slots_that_do_not_add_up_are_named_and_keep_no_reading_from_the_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        rig = Rig(tmp_path / "buffer.db")
        meter = rig.add_meter()
        async with rig.running():
            await rig.pass_s(60)
            assert "invariant" not in rig.progress.troubles
            rig.journal.pending._slots_due["main"] = 3
            await rig.pass_s(60)
            assert "slots due are readings or gaps (meter='main'" in rig.progress.troubles["invariant"]
        assert rig.flushed
        assert rig.progress.committed >= meter.polled

    run_virtual(scenario())
    assert caplog.text.count("slots due are readings or gaps") == 1

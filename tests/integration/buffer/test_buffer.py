"""The buffer on a real SQLite file: numbering, sealing, receipts, and whose file it is. Nothing is mocked."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from boxes import ANCHOR, BOOTS, LAYOUT, TestBuffer, confirm, files_at_most, receipt, seqs

from agent.adapters.buffer.buffer import Buffer, BufferFileError
from agent.adapters.buffer.buffer_file import WAL_BYTES
from agent.core.buffer.numbering import NUMBERS_RESERVED, BoxIdentity
from agent.core.records import Layout, NewEvent, NewReading
from wire.batch import Anchor, Slots
from wire.receipt import Receipt

RESERVED = NUMBERS_RESERVED + 1  # of a new epoch


@pytest.fixture
def box(tmp_path: Path) -> TestBuffer:
    made = TestBuffer(tmp_path)
    made.open()
    return made


# Numbers


def test_a_new_buffer_begins_an_epoch_with_number_one(box: TestBuffer) -> None:
    assert box.opening.start.epoch_reason == "new database"
    assert (box.opening.clean, box.opening.boot, box.opening.anchor, box.opening.previous) == (True, None, None, None)
    assert len(box.buffer.epoch) == 8
    assert box.commit(NewEvent(1, "start"), box.reading()) == 2
    assert box.commit(box.reading()) == 3


def test_each_box_has_an_epoch_of_its_own(tmp_path: Path) -> None:
    epochs = set()
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        one = TestBuffer(tmp_path / name)
        one.open()
        epochs.add(one.buffer.epoch)
    assert len(epochs) == 3


def test_numbers_go_on_after_a_clean_end_and_after_a_kill(box: TestBuffer) -> None:
    epoch = box.buffer.epoch
    box.readings(7)
    box.buffer.close()
    opening = box.open()
    assert (opening.clean, opening.start.epoch_reason, opening.start.skip) == (True, None, None)
    assert box.commit() == 8
    box.kill()
    opening = box.open()
    assert (opening.clean, opening.start.skip) == (False, None)
    assert box.commit() == 9
    assert box.buffer.epoch == epoch


@pytest.mark.parametrize("sealed_first", [True, False])
def test_no_number_is_given_twice_however_often_it_is_killed(box: TestBuffer, sealed_first: bool) -> None:
    for run in range(6):
        if sealed_first:
            box.seal()
        box.readings(run + 1, group=2)
        box.kill()
        box.open()
    box.readings(1)
    box.seal()
    assert seqs(box.batches()) == list(range(1, 1 + 2 + 3 + 4 + 5 + 6 + 1 + 1))
    edges = box.numbers()
    assert [first for first, _ in edges] == [1, *(last + 1 for _, last in edges[:-1])]


def test_a_start_that_commits_nothing_changes_nothing(box: TestBuffer) -> None:
    box.readings(3)
    box.kill()
    for _ in range(3):
        assert not box.open(boot=1).clean
        box.buffer.close()
    opening = box.open(boot=1)
    assert opening.start.skip == (4, RESERVED)
    assert opening.boot == BOOTS[0]


def test_after_a_reboot_without_an_end_the_numbers_that_may_be_lost_are_left_out(box: TestBuffer) -> None:
    box.readings(10)
    box.kill()
    opening = box.open(boot=1)
    assert opening.start.skip == (11, RESERVED)
    last = box.commit(NewEvent(1, "numbers_skipped", None, {"first": 11, "last": RESERVED}))
    assert last == RESERVED + 1
    box.seal()
    assert box.numbers() == [(1, 10), (RESERVED + 1, RESERVED + 1)]


def test_after_a_reboot_with_a_clean_end_no_number_is_left_out(box: TestBuffer) -> None:
    box.readings(10)
    box.buffer.close()
    assert box.open(boot=1).start.skip is None
    assert box.commit() == 11


@pytest.mark.parametrize("lost_from", [50, NUMBERS_RESERVED - 40, NUMBERS_RESERVED - 1, NUMBERS_RESERVED + 30])
def test_a_disk_that_forgets_its_last_commits_in_a_power_cut_makes_no_number_twice(
    box: TestBuffer, lost_from: int, tmp_path: Path
) -> None:
    """Whatever was sent meanwhile: the file is as it was a hundred records ago, also around a reservation."""
    box.readings(lost_from, group=10)
    for suffix in ("", "-wal"):
        shutil.copy(f"{box.path}{suffix}", tmp_path / f"earlier{suffix}")
    epoch, sent_to = box.buffer.epoch, box.readings(100, group=10)
    box.seal()
    box.kill()
    for suffix in ("", "-wal"):
        shutil.copy(tmp_path / f"earlier{suffix}", f"{box.path}{suffix}")
    box.open(boot=1)
    assert box.buffer.epoch == epoch
    assert box.commit() > sent_to
    box.seal()
    assert all(last <= lost_from or first > sent_to for first, last in box.numbers())


def test_the_wal_has_all_its_room_from_the_start(box: TestBuffer) -> None:
    for _ in range(2):
        state = box.path.with_name("buffer.db-wal").stat()
        assert state.st_blocks * 512 >= state.st_size == WAL_BYTES
        for _ in range(10):
            box.readings(200)
            box.seal(max_bytes=8_000)
        assert box.path.with_name("buffer.db-wal").stat().st_size == WAL_BYTES
        box.kill()
        box.open()
    assert seqs(box.batches()) == list(range(1, 4_001))


def test_a_commit_that_fails_uses_no_number(box: TestBuffer) -> None:
    box.readings(3)
    with files_at_most(0), pytest.raises(BufferFileError):
        box.commit(box.reading())
    assert box.commit(box.reading()) == 4
    box.seal()
    assert seqs(box.batches()) == [1, 2, 3, 4]


# Epochs


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"box": "apt-2"}, "database of box apt-1"), ({"machine": "other"}, "database of another machine")],
)
def test_a_database_of_another_box_or_machine_begins_an_epoch(
    box: TestBuffer, change: dict[str, str], reason: str
) -> None:
    epoch = box.buffer.epoch
    box.readings(3)
    box.buffer.close()
    opening = box.open(**change)  # type: ignore[arg-type]
    assert (opening.start.epoch_reason, opening.previous) == (reason, epoch)
    assert box.buffer.epoch != epoch
    assert box.commit() == 1


def test_what_another_box_left_is_kept_and_never_sent(box: TestBuffer) -> None:
    epoch = box.buffer.epoch
    box.readings(3)
    box.kill()
    box.open(box="apt-2")
    box.commit()
    box.seal()
    (foreign, own) = box.batches()
    assert (foreign.key.device, foreign.key.epoch, own.key.device) == ("apt-1", epoch, "apt-2")
    assert [batch.id for batch in box.buffer.outbox.load(None, 10)] == [2]
    assert box.buffer.outbox.counts()["batches"] == 2
    box.buffer.close()
    box.open(box="apt-1")
    assert [batch.epoch for batch in box.buffer.outbox.load(None, 10)] == [epoch]


def test_a_new_epoch_in_the_middle(box: TestBuffer) -> None:
    old = box.buffer.epoch
    box.readings(3)
    box.seal()
    box.buffer.begin_epoch()
    assert box.buffer.epoch != old
    assert box.buffer.sealed_through == 0
    assert box.commit() == 1
    box.seal()
    box.kill()
    assert box.open().start.epoch_reason is None
    assert box.commit() == 2
    assert [batch.key.epoch for batch in box.batches()] == [old, box.buffer.epoch]
    assert confirm(box, replace(receipt(box, 3, epoch=old), digest=None)) == ((1,), 3)


def test_a_new_epoch_does_not_begin_over_open_records(box: TestBuffer) -> None:
    box.readings(3)
    epoch = box.buffer.epoch
    with pytest.raises(ValueError, match="seal them first"):
        box.buffer.begin_epoch()
    assert box.buffer.epoch == epoch
    assert box.commit() == 4


def test_a_new_epoch_that_cannot_be_written_has_not_begun(box: TestBuffer) -> None:
    box.readings(3)
    box.seal()
    epoch = box.buffer.epoch
    with files_at_most(0), pytest.raises(BufferFileError, match="cannot begin an epoch in the buffer"):
        box.buffer.begin_epoch()
    assert (box.buffer.epoch, box.buffer.sealed_through) == (epoch, 3)
    assert box.commit() == 4
    box.kill()
    box.open()
    box.commit()
    box.seal()
    assert {batch.key.epoch for batch in box.batches()} == {epoch}
    assert seqs(box.batches()) == [1, 2, 3, 4, 5]


def test_an_epoch_of_which_nothing_is_left_is_forgotten(box: TestBuffer) -> None:
    old = box.buffer.epoch
    box.readings(3)
    box.seal()
    box.buffer.begin_epoch()
    confirm(box, replace(receipt(box, 3, epoch=old), digest=None))
    box.buffer.begin_epoch()
    assert box.buffer.outbox.confirm(Receipt(old, 3), box.buffer.epoch, 0) is None


# Sealing


def test_a_batch_says_what_was_committed(box: TestBuffer) -> None:
    records = [NewEvent(5, "start", None, {"clean": True}), box.reading(1_000), box.reading(2_000)]
    box.commit(*records, due={"main": 2})
    box.commit(NewReading(1, 3_000, (None, 2301), (1, 0)), due={"main": 1})
    ((sealed, count),) = box.seal(wanted=True).sealed
    (batch,) = box.batches()
    assert (count, sealed.first, sealed.last, sealed.confirm_wanted) == (4, 1, 4, True)
    assert (batch.key.device, batch.boot, batch.anchor, batch.confirm_wanted) == ("apt-1", BOOTS[0], ANCHOR, True)
    (series,) = batch.series
    assert (series.meter, series.columns, series.descriptor) == (LAYOUT.meter, LAYOUT.columns, LAYOUT.descriptor)
    assert [(r.seq, r.mono_ms, r.values, r.flags) for r in series.readings] == [
        (2, 1_000, records[1].values, ()),
        (3, 2_000, records[2].values, ()),
        (4, 3_000, (None, 2301), (1, 0)),
    ]
    assert series.slots == Slots(3, 3, 0)
    assert [(e.seq, e.kind, e.data) for e in batch.events] == [(1, "start", {"clean": True})]


def test_sealing_everything_makes_as_many_batches_as_it_takes(box: TestBuffer) -> None:
    box.readings(3_000, group=20)
    result = box.seal(max_bytes=512)
    assert len(result.sealed) > 3
    assert (result.open_records, result.oldest_open_ms) == (0, None)
    assert all(batch.size <= 512 for batch, _ in result.sealed)
    assert seqs(box.batches()) == list(range(1, 3_001))
    assert box.seal().sealed == ()


def test_sealing_one_batch_leaves_the_rest_open_and_says_since_when(box: TestBuffer) -> None:
    box.readings(3_000, group=20)
    result = box.buffer.seal(ANCHOR, 512, everything=False, confirm_wanted=False, handed_out=True)
    ((batch, count),) = result.sealed
    assert (result.open_records, result.oldest_open_ms) == (3_000 - count, (batch.last + 1) * 1_000)


def test_leftovers_are_sealed_under_the_boot_and_anchor_they_were_made_in(box: TestBuffer) -> None:
    box.readings(3)
    box.buffer.note_anchor(Anchor(1_700_000_000_000, 7))
    box.readings(2)
    box.kill()
    opening = box.open(boot=1)
    assert (opening.boot, opening.anchor) == (BOOTS[0], Anchor(1_700_000_000_000, 7))
    (batch,) = box.batches()
    assert (batch.boot, batch.anchor, batch.key.last) == (BOOTS[0], Anchor(1_700_000_000_000, 7), 5)
    box.commit()
    box.seal()
    assert [one.boot for one in box.batches()] == [BOOTS[0], BOOTS[1]]


def test_an_anchor_noted_before_the_first_commit_is_kept_with_it(box: TestBuffer) -> None:
    box.buffer.note_anchor(ANCHOR)
    box.commit()
    box.kill()
    assert box.open(boot=1).anchor == ANCHOR


def test_the_anchor_of_an_earlier_boot_is_not_taken_for_this_ones(box: TestBuffer) -> None:
    box.buffer.note_anchor(ANCHOR)
    box.commit()
    box.buffer.close()
    box.open(boot=1)
    box.commit()
    box.kill()
    assert box.open(boot=2).anchor is None


def test_a_layout_has_one_id_for_ever(box: TestBuffer) -> None:
    other = Layout("heat", LAYOUT.columns[:1])
    ids = [box.buffer.layout_id(layout) for layout in (LAYOUT, other, LAYOUT)]
    assert ids == [1, 2, 1]
    box.commit(box.reading(layout=other))
    box.kill()
    box.open(boot=1)
    assert [box.buffer.layout(number) for number in (1, 2)] == [LAYOUT, other]
    assert box.buffer.layout_id(other) == 2
    assert box.batches()[0].series[0].columns == other.columns


def test_a_full_disk_stops_no_new_layout(box: TestBuffer) -> None:
    """A reload of the configuration must not fail for it; it is stored with the first reading."""
    with files_at_most(0):
        assert box.buffer.layout_id(LAYOUT) == 1
        with pytest.raises(BufferFileError):
            box.commit(NewReading(1, 1_000, (1, 2)))
    box.commit(NewReading(1, 1_000, (1, 2)))
    box.kill()
    box.open()
    assert box.batches()[0].series[0].columns == LAYOUT.columns


# Accounts


def gap(meter: str, from_ms: int, to_ms: int) -> NewEvent:
    data = {"reason": "silent", "from_ms": from_ms, "to_ms": to_ms, "slots": (to_ms - from_ms) // 1_000}
    return NewEvent(from_ms, "gap", meter, data)


@pytest.mark.parametrize("sealed", [True, False])
def test_a_start_learns_up_to_when_each_meter_was_accounted_for(box: TestBuffer, sealed: bool) -> None:
    heat = Layout("heat", LAYOUT.columns[:1])
    box.commit(box.reading(10_000), box.reading(9_500, layout=heat), gap("cold", 5_000, 8_000))
    if sealed:
        box.seal()
    box.commit(box.reading(11_000))
    if sealed:
        box.seal()
    box.kill()
    assert box.open().accounted_ms == {"main": 11_000, "heat": 9_500, "cold": 7_000}


def test_accounts_go_on_within_a_boot_and_begin_anew_with_the_next(box: TestBuffer) -> None:
    box.commit(box.reading(10_000))
    box.kill()
    box.open()
    box.commit()
    box.kill()
    assert box.open().accounted_ms == {"main": 10_000}
    box.kill()
    assert box.open(boot=1).accounted_ms == {"main": 10_000}
    box.commit()
    box.kill()
    assert box.open(boot=1).accounted_ms == {}


# The lock


def test_a_second_agent_is_refused(box: TestBuffer) -> None:
    with pytest.raises(BufferFileError, match="it is in use; another agent has it open: stop that one first"):
        Buffer.open(box.path, BoxIdentity("apt-1", "machine", BOOTS[0]))
    box.buffer.close()
    box.open()


# Records that the wire cannot say


@pytest.mark.parametrize("number", [10**19, 10**30])
def test_an_event_that_no_batch_can_hold_is_dropped_by_name_and_holds_nothing_up(box: TestBuffer, number: int) -> None:
    box.readings(20)
    box.commit(NewEvent(5, "implausible", "main", {"value": number}))
    box.readings(20)
    box.seal()
    (batch,) = box.batches()
    (event,) = [one for one in batch.events if one.kind == "dropped"]
    assert event.data["events"] == {"implausible": 1}
    assert "int64" in event.data["reason"] or "integer" in event.data["reason"]


def test_what_an_older_agent_left_open_that_no_batch_can_hold_is_no_damage(
    box: TestBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.readings(20)
    with monkeypatch.context() as older:
        older.setattr("agent.adapters.buffer.buffer.sayable", lambda group: group)
        box.commit(NewEvent(-3_000, "gap", "main", {"value": 10**19}))
    box.readings(20)
    box.kill()
    opening = box.open()
    assert opening.moved_aside is None
    assert sum(len(series.readings) for batch in box.batches() for series in batch.series) == 40


def test_an_account_never_goes_back(box: TestBuffer) -> None:
    """The gap of readings given up may be stated in a batch of its own, after later readings."""
    box.readings(100)
    box.seal()
    given_up = {"reason": "not_kept", "from_ms": 10_000, "to_ms": 19_001, "slots": 10}
    box.commit(NewEvent(100_500, "gap", "main", given_up), due={"main": 10})
    box.seal()
    box.kill()
    assert box.open().accounted_ms["main"] == 100_000

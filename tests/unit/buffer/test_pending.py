"""Records that wait for a commit: none is lost without a gap, and the due slots add up, whatever the disk does."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.buffer import pending as pending_records
from agent.core.buffer.pending import PendingRecords
from agent.core.metering.slots import MeterSlots
from agent.core.records import Group, NewEvent, NewReading

METERS = ("main", "heat")


def reading(meter: int, at_ms: int) -> NewReading:
    return NewReading(meter, at_ms, (at_ms,))


def slots_of(groups: list[Group]) -> Counter[str]:
    total: Counter[str] = Counter()
    for group in groups:
        total.update(group.slots_due)
    return total


def stated(groups: list[Group]) -> Counter[str]:
    """Per meter the readings, and the slots of the gaps."""
    total: Counter[str] = Counter()
    for group in groups:
        for record in group.records:
            if isinstance(record, NewReading):
                total[METERS[record.layout]] += 1
            elif record.kind == "gap" and record.meter is not None:
                total[record.meter] += record.data["slots"]
    return total


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("read"), st.integers(0, 1)),
            st.tuples(st.just("miss"), st.integers(0, 1)),
            st.tuples(st.just("commit"), st.integers(1, 5)),
            st.tuples(st.just("refuse"), st.integers(1, 5)),
        ),
        max_size=80,
    )
)
def test_every_due_slot_is_committed_as_a_reading_or_in_a_gap(steps: list[tuple[str, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pending_records, "PENDING_MAX", 6)
        pending = PendingRecords(lambda layout: METERS[layout])
        pending.meters = schedules = [MeterSlots(name, 1_000, 0) for name in METERS]
        groups: list[Group] = []
        polled: Counter[str] = Counter()
        for number, (what, value) in enumerate(steps):
            now_ms = number * 1_000
            if what in {"read", "miss"}:
                slots = schedules[value]
                slots.next_ms = now_ms
                start_ms, _ = slots.take(now_ms)
                polled[slots.meter] += 1
                if what == "read":
                    pending.add([*slots.read(), reading(value, now_ms)])
                else:
                    pending.add(slots.explain("silent", start_ms))
            elif pending:
                pending.state_losses(now_ms)
                group = pending.take_group(value)
                if what == "commit":
                    groups.append(group)
                else:
                    pending.put_back(group)
        pending.add([event for slots in schedules for event in slots.close_gap()])
        pending.retire_meters()
        while pending or pending.has_losses:
            pending.state_losses(len(steps) * 1_000)
            groups.append(pending.take_group())
        assert stated(groups) == polled
        assert slots_of(groups) == polled


def test_no_more_records_wait_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_records, "PENDING_MAX", 3)
    pending = PendingRecords(lambda layout: METERS[layout])
    assert pending.add([reading(0, at_ms) for at_ms in range(5)]) == 2
    assert [record.mono_ms for record in pending] == [2, 3, 4]
    pending.state_losses(9)
    gap = next(iter(pending))
    assert isinstance(gap, NewEvent)
    assert (gap.kind, gap.meter, gap.data["slots"]) == ("gap", "main", 2)
    assert not pending.has_losses


def test_what_a_schedule_does_not_count_can_be_explained() -> None:
    pending = PendingRecords(lambda layout: METERS[layout])
    pending.explain("main", 7)
    pending.add([NewEvent(1, "gap", "main", {"slots": 7})])
    assert pending.take_group().slots_due == {"main": 7}


def test_a_group_that_the_disk_refused_goes_first_again() -> None:
    pending = PendingRecords(lambda layout: METERS[layout])
    pending.add([reading(0, 1), reading(0, 2)])
    group = pending.take_group(1)
    pending.add([reading(0, 3)])
    pending.put_back(group)
    assert [record.mono_ms for record in pending] == [1, 2, 3]


@pytest.mark.parametrize(("interval_ms", "idle"), [(1_000, False), (60_000, True)])
def test_whether_more_comes_before_a_commit(interval_ms: int, idle: bool) -> None:
    pending = PendingRecords(lambda layout: METERS[layout])
    assert not pending.is_idle_until(5_000)
    slots = MeterSlots("main", interval_ms, 0)
    slots.take(0)
    slots.read()
    pending.meters = [slots]
    assert pending.is_idle_until(5_000) is idle

"""When open records become a batch, and what the batch says."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from agent.core.buffer.sealing import (
    FIRST_GUESS_BYTES,
    RECORDS_MAX,
    ConfirmPolicy,
    Frame,
    OpenRecords,
    SealPolicy,
    build_batch,
    check_batch,
    fit,
)
from agent.core.invariants import BrokenInvariantError
from agent.core.records import Group, Layout, NewEvent, NewReading
from wire.batch import Anchor, Batch, Column, Slots
from wire.codec import decode, encode
from wire.errors import WireError
from wire.resolution import Resolution

ENERGY = Column("energy_active_import_total", Resolution(1, 0))
VOLTS = Column("voltage_l1_n", Resolution(1, -1))
LAYOUTS = {1: Layout("main", (ENERGY, VOLTS), b"desc"), 2: Layout("heat", (ENERGY,))}
FRAME = Frame("apt-1", b"epoch--1", b"boot---1", Anchor(1_790_000_000_000, 20), confirm_wanted=True)


def reading(mono_ms: int, *values: int | None, layout: int = 1) -> NewReading:
    return NewReading(layout, mono_ms, values or (1000 + mono_ms, 2300))


def gap(mono_ms: int, meter: str | None, slots: int | None) -> NewEvent:
    return NewEvent(mono_ms, "gap", meter, {"reason": "silent", "slots": slots})


def opened(
    *groups: Group, layouts: Mapping[int, Layout] = LAYOUTS, first: int = 1, range_first: int = 1
) -> OpenRecords:
    return OpenRecords(range_first, first, groups, layouts)


# When


@pytest.mark.parametrize(
    ("now_ms", "records", "oldest_ms", "due"),
    [
        (0, 0, None, False),
        (10**12, 0, None, False),
        (299_999, 1, 0, False),
        (300_000, 1, 0, True),
        (300_000, 0, 0, True),  # a gap that is open, and not recorded yet
        (1, 105, 0, False),
        (1, 106, 0, True),  # as many as the first guess says fit
    ],
)
def test_a_batch_is_due_by_age_or_by_size(now_ms: int, records: int, oldest_ms: int | None, due: bool) -> None:
    assert SealPolicy(300_000, 3600).due(now_ms, records, oldest_ms) is due


def test_records_that_take_no_room_are_sealed_before_the_format_is_full() -> None:
    policy = SealPolicy(86_400_000, 131_072, bytes_per_record=0.01)
    assert not policy.due(1, RECORDS_MAX - 1, 0)
    assert policy.due(1, RECORDS_MAX, 0)


def test_it_learns_how_many_bytes_a_record_takes() -> None:
    policy = SealPolicy(300_000, 3600)
    for _ in range(20):
        policy.sealed(300, 120 + 300 * 10)
    assert policy.bytes_per_record == pytest.approx(10, abs=0.1)


def test_a_small_batch_teaches_nothing_and_an_empty_one_cannot_make_records_free() -> None:
    policy = SealPolicy(300_000, 3600)
    policy.sealed(7, 3000)
    assert policy.bytes_per_record == FIRST_GUESS_BYTES
    for _ in range(50):
        policy.sealed(100, 50)
    assert policy.bytes_per_record > 0


def test_a_receipt_is_asked_for_with_the_first_batch_and_then_at_each_interval() -> None:
    policy = ConfirmPolicy(3_600_000)
    asked = [minute for minute in range(0, 180, 5) if policy.wanted(minute * 60_000, 0)]
    assert asked == [0, 60, 120]


def test_a_receipt_is_asked_for_more_often_when_much_is_unconfirmed() -> None:
    policy = ConfirmPolicy(3_600_000)
    asked = [number for number in range(100) if policy.wanted(number, 64)]
    assert asked == [0, 16, 32, 48, 64, 80, 96]


def test_an_interval_of_nothing_asks_with_each_batch_and_urgency_does_so_once() -> None:
    assert all(ConfirmPolicy(0).wanted(at, 0) for at in (0, 0, 1))
    policy = ConfirmPolicy(3_600_000)
    assert [policy.wanted(1, 0), policy.wanted(2, 0), policy.wanted(3, 0, urgent=True), policy.wanted(4, 0)] == [
        True,
        False,
        True,
        False,
    ]


# What


def test_a_batch_numbers_records_in_order_and_parts_them_by_layout() -> None:
    groups = Group([reading(10), NewEvent(11, "start", None, {"clean": True})]), Group([reading(12, 7, layout=2)])
    batch = build_batch(FRAME, opened(*groups, first=101, range_first=90))
    assert (batch.key.device, batch.key.epoch) == ("apt-1", b"epoch--1")
    assert (batch.key.first, batch.key.last, batch.key.rev) == (90, 103, 0)
    assert (batch.boot, batch.anchor, batch.confirm_wanted) == (FRAME.boot, FRAME.anchor, True)
    assert [(s.meter, s.descriptor, [r.seq for r in s.readings]) for s in batch.series] == [
        ("main", b"desc", [101]),
        ("heat", None, [103]),
    ]
    assert [(e.seq, e.mono_ms, e.kind, e.meter, e.data) for e in batch.events] == [
        (102, 11, "start", None, {"clean": True})
    ]


def test_each_meters_slots_are_counted_from_the_schedule_the_readings_and_the_gaps() -> None:
    groups = [
        Group([reading(10), reading(20)], {"main": 2}),
        Group(
            [gap(30, "main", 3), gap(30, "heat", 5), gap(31, "heat", None), gap(32, None, 7)], {"main": 3, "heat": 6}
        ),
    ]
    batch = build_batch(FRAME, opened(*groups))
    assert {s.meter: s.slots for s in batch.series} == {"main": Slots(5, 2, 3), "heat": Slots(6, 0, 5)}


def test_a_meter_with_nothing_to_say_is_not_in_the_batch() -> None:
    assert [s.meter for s in build_batch(FRAME, opened(Group([reading(1)]))).series] == ["main"]


def test_a_meters_slots_stand_with_its_newest_layout_also_when_its_readings_are_of_an_older_one() -> None:
    layouts = {1: LAYOUTS[1], 3: Layout("main", (ENERGY,), b"new!")}
    batch = build_batch(FRAME, opened(Group([reading(1), reading(2)], {"main": 2}), layouts=layouts))
    assert [(s.descriptor, len(s.readings), s.slots) for s in batch.series] == [
        (b"desc", 2, Slots()),
        (b"new!", 0, Slots(2, 2, 0)),
    ]
    assert decode(encode(batch)) == batch


# How much


def many(count: int) -> list[Group]:
    """Readings with noise in them."""
    chance = random.Random(1)
    return [
        Group([reading(1000 * at, 5 * at + chance.randrange(5), 2300 + chance.randrange(30))], {"main": 1})
        for at in range(count)
    ]


@pytest.mark.parametrize("max_bytes", [512, 1000, 3600])
def test_a_batch_takes_as_many_groups_as_fit(max_bytes: int) -> None:
    groups = many(3000)
    taken, batch, body = fit(FRAME, opened(*groups), max_bytes, encode)
    assert max_bytes * 0.8 < len(body) <= max_bytes
    assert decode(body) == batch
    assert batch.key.last == taken
    assert batch.series[0].slots == Slots(taken, taken, 0)


def test_what_is_open_is_one_batch_when_it_fits() -> None:
    taken, _, body = fit(FRAME, opened(*many(20)), 3600, encode)
    assert taken == 20
    assert len(body) < 400


def test_one_group_is_a_batch_even_if_it_is_too_large() -> None:
    group = Group([NewEvent(1, "start", None, {"text": "".join(map(str, range(5000)))})])
    taken, _, body = fit(FRAME, opened(group, group), 512, encode)
    assert taken == 1
    assert len(body) > 512


def test_a_batch_has_at_most_what_the_format_takes_of_records() -> None:
    group = Group([NewEvent(1, "stop")] * 64)
    taken, batch, _ = fit(FRAME, opened(*[group] * 100), 131_072, encode)
    assert taken == RECORDS_MAX // 64
    assert len(batch.events) <= RECORDS_MAX
    huge = Group([NewEvent(1, "stop")] * (RECORDS_MAX + 1))
    assert fit(FRAME, opened(huge, group), 131_072, lambda _: b"")[0] == 1


def test_a_batch_has_at_most_what_the_format_takes_of_values() -> None:
    """4,000 readings of 256 values are four times as many as a batch may have."""
    columns = tuple(Column(f"m{n}", Resolution(1, 0)) for n in range(256))
    groups = [Group([NewReading(1, at, (7,) * 256) for at in range(50)])] * 80
    taken, batch, body = fit(FRAME, opened(*groups, layouts={1: Layout("main", columns)}), 131_072, encode)
    assert taken == 20
    assert decode(body) == batch


def test_what_the_format_cannot_say_at_all_is_an_error_and_no_endless_loop() -> None:
    def refuse(_: Batch) -> bytes:
        raise WireError("no")

    with pytest.raises(WireError, match="no"):
        fit(FRAME, opened(*many(100)), 3600, refuse)


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lambda batch: replace(batch, key=replace(batch.key, first=2)), r"ranges are contiguous .*found=\(2, 23\)"),
        (lambda batch: replace(batch, key=replace(batch.key, last=24)), r"ranges are contiguous .*found=\(11, 24\)"),
        (lambda batch: replace(batch, events=batch.events[1:]), r"has all of its records \(found=2, "),
        (lambda batch: replace(batch, series=()), r"has all of its records \(found=1, "),
    ],
)
def test_a_batch_that_is_not_what_is_open_is_a_broken_invariant(spoil: Callable[[Batch], Batch], name: str) -> None:
    records = opened(Group([reading(1), gap(2, "main", 1), reading(3)]), first=21, range_first=11)
    batch = build_batch(FRAME, records)
    check_batch(batch, records)
    with pytest.raises(BrokenInvariantError, match=name):
        check_batch(spoil(batch), records)

"""Sealing, thinning and receipts for any records: nothing is lost on the way, nothing goes that is not proven."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.buffer.sealing import Frame, OpenRecords, fit
from agent.core.buffer.thinning import LEVEL_MAX, thin
from agent.core.delivery.receipts import Unconfirmed, judge
from agent.core.records import Group, Layout, NewEvent, NewReading, pack_group, unpack_group
from wire.batch import Anchor, Batch, Column
from wire.codec import decode, encode
from wire.receipt import Receipt
from wire.resolution import Resolution

LAYOUTS = {
    1: Layout(
        "main", (Column("energy_active_import_total", Resolution(1, 0)), Column("voltage_l1_n", Resolution(1, -1)))
    ),
    2: Layout("heat", (Column("water_flow", Resolution(5, 0)),), b"desc"),
    3: Layout("main", (Column("voltage_l1_n", Resolution(1, -1)),), b"new!"),
}
TIMES = st.integers(0, 2**40)
VALUES = st.none() | st.integers(-(2**40), 2**40)


@st.composite
def readings(draw: st.DrawFn) -> NewReading:
    layout = draw(st.sampled_from(sorted(LAYOUTS)))
    width = len(LAYOUTS[layout].columns)
    values = tuple(draw(VALUES) for _ in range(width))
    flags = draw(st.just(()) | st.tuples(*[st.integers(0, 63)] * width))
    return NewReading(layout, draw(TIMES), values, flags if any(flags) else ())


EVENTS = st.builds(
    NewEvent,
    TIMES,
    st.sampled_from(["gap", "start", "meter_back"]),
    st.sampled_from([None, "main", "heat"]),
    st.fixed_dictionaries({}, optional={"slots": st.none() | st.integers(0, 1000), "reason": st.text(max_size=20)}),
)
GROUPS = st.builds(
    Group,
    st.lists(readings() | EVENTS, min_size=1, max_size=12),
    st.dictionaries(st.sampled_from(["main", "heat"]), st.integers(0, 50), max_size=2),
)


@given(GROUPS)
def test_a_group_comes_back_as_it_was(group: Group) -> None:
    back = unpack_group(pack_group(group))
    assert (list(back.records), back.slots_due) == (list(group.records), group.slots_due)


def said(batch: Batch) -> dict[int, tuple[object, ...]]:
    """What the batch says of each number."""
    found: dict[int, tuple[object, ...]] = {
        event.seq: (event.mono_ms, event.kind, event.meter, dict(event.data)) for event in batch.events
    }
    for series in batch.series:
        for reading in series.readings:
            assert reading.seq not in found
            columns = tuple(column.measurand for column in series.columns)
            found[reading.seq] = (reading.mono_ms, series.meter, columns, reading.values, reading.flags)
    return found


def meant(records: list[NewReading | NewEvent], first: int) -> dict[int, tuple[object, ...]]:
    found: dict[int, tuple[object, ...]] = {}
    for seq, record in enumerate(records, first):
        if isinstance(record, NewReading):
            layout = LAYOUTS[record.layout]
            columns = tuple(column.measurand for column in layout.columns)
            found[seq] = (record.mono_ms, layout.meter, columns, record.values, record.flags)
        else:
            found[seq] = (record.mono_ms, record.kind, record.meter, dict(record.data))
    return found


@settings(max_examples=150, deadline=None)
@given(st.lists(GROUPS, min_size=1, max_size=12), st.integers(1, 10**9), st.sampled_from([60, 300, 3600]))
def test_sealing_everything_says_every_record_once_and_adds_up_every_slot(
    groups: list[Group], first: int, max_bytes: int
) -> None:
    frame = Frame("apt-1", b"epoch--1", b"boot---1", Anchor(1_790_000_000_000, 20), confirm_wanted=False)
    left, at = list(groups), first
    batches = []
    while left:
        taken, batch, body = fit(frame, OpenRecords(at, at, left, LAYOUTS), max_bytes, encode)
        assert decode(body) == batch
        assert len(body) <= max_bytes or taken == 1
        batches.append(batch)
        at, left = batch.key.last + 1, left[taken:]
    records = [record for group in groups for record in group.records]
    found: dict[int, tuple[object, ...]] = {}
    for batch in batches:
        found |= said(batch)
    assert found == meant(records, first)
    assert at == first + len(records)
    for meter in ("main", "heat"):
        slots = [series.slots for batch in batches for series in batch.series if series.meter == meter]
        assert sum(one.due for one in slots) == sum(group.slots_due.get(meter, 0) for group in groups)
        of_meter = [r for r in records if isinstance(r, NewReading) and LAYOUTS[r.layout].meter == meter]
        assert sum(one.read for one in slots) == len(of_meter)


@settings(max_examples=100, deadline=None)
@given(st.lists(GROUPS, min_size=1, max_size=6))
def test_thinning_only_takes_away(groups: list[Group]) -> None:
    frame = Frame("apt-1", b"epoch--1", b"boot---1", None, confirm_wanted=False)
    _, batch, _ = fit(frame, OpenRecords(1, 1, groups, LAYOUTS), 1 << 20, encode)
    for level in range(1, LEVEL_MAX + 1):
        thinner = thin(batch)
        assert decode(encode(thinner)) == thinner
        assert thinner.key.rev == level
        assert (thinner.key.first, thinner.key.last, thinner.events) == (batch.key.first, batch.key.last, batch.events)
        assert [(s.meter, s.slots, s.descriptor) for s in thinner.series] == [
            (s.meter, s.slots, s.descriptor) for s in batch.series
        ]
        for before, after in zip(batch.series, thinner.series, strict=True):
            values = {
                reading.seq: dict(zip(before.columns, reading.values, strict=True)) for reading in before.readings
            }
            for reading in after.readings:
                assert all(
                    values[reading.seq][column] == value
                    for column, value in zip(after.columns, reading.values, strict=True)
                )
        batch = thinner
    assert not any(series.readings for series in batch.series)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Unconfirmed], int, Receipt]:
    """Batches of an epoch, some confirmed before, and a receipt that may be true, partly true, or nonsense."""
    batches, last = [], 0
    for number in range(draw(st.integers(0, 8))):
        first, last = last + 1, last + draw(st.integers(1, 9))
        if draw(st.booleans()):
            batches.append(Unconfirmed(number, first, last, draw(st.booleans()), (f"d{last}",)))
    numbers = st.integers(1, last + 5)
    spans = st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))
    through = draw(st.integers(0, last + 3))
    digest = draw(st.sampled_from([None, f"d{through}", "other"]))
    ranges = tuple(draw(st.lists(spans, max_size=3)))
    held = tuple((*span, "why") for span in draw(st.lists(spans, max_size=2)))
    answers = tuple(draw(st.lists(st.sampled_from([f"d{b.last}" for b in batches] or ["x"]), max_size=3)))
    return batches, last, Receipt(b"epoch--1", through, digest, ranges, held, None, (), answers)


@given(situations(), st.booleans())
def test_a_receipt_deletes_only_what_was_sent_and_what_it_proves(
    situation: tuple[list[Unconfirmed], int, Receipt], retired: bool
) -> None:
    batches, sealed_through, receipt = situation
    verdict = judge(receipt, sealed_through, batches, retired=retired)
    spans = [*receipt.ranges, *([(1, receipt.through)] if receipt.through else [])]
    by_id = {batch.id: batch for batch in batches}
    for batch in (by_id[batch_id] for batch_id in verdict.delete):
        answered = not set(batch.digests).isdisjoint(receipt.answers)
        covered = any(first <= batch.first and batch.last <= last for first, last in spans)
        assert batch.sent
        assert answered or (covered and verdict.misfit is None)
        if batch.last == receipt.through and receipt.digest is not None and not answered:
            assert receipt.digest in batch.digests
    held = {batch_id for batch_id, _ in verdict.held}
    assert not held & set(verdict.delete)
    assert all(by_id[batch_id].sent for batch_id in held)
    if max((last for _, last in spans), default=0) > sealed_through and not retired:
        assert verdict.misfit

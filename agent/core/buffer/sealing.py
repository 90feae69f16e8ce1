"""When open records become a batch, how many of them, and what the batch looks like. Sealed once, never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.core.invariants import require
from agent.core.records import Group, Layout, NewReading, NewRecord
from wire.batch import Anchor, Batch, BatchKey, Event, Reading, Series, Slots
from wire.errors import WireError

FILL = 0.97  # seal a little before the limit, so that almost always all open records fit
FIRST_GUESS_BYTES = 32.0
HEADER_BYTES = 120
RECORDS_MAX = 4000  # the wire format takes 4,096 events in a batch
LEARN_FROM = 8  # records; a smaller batch is mostly header


@dataclass(slots=True)
class SealPolicy:
    """Decides by age and by expected size; learns the bytes per record from the batches sealed so far."""

    max_age_ms: int
    max_bytes: int
    bytes_per_record: float = FIRST_GUESS_BYTES

    def due(self, now_ms: int, open_records: int, oldest_ms: int | None) -> bool:
        """`oldest_ms` is when the oldest unsealed record, or gap not yet recorded, began."""
        if self.is_old(now_ms, oldest_ms):
            return True
        if open_records >= RECORDS_MAX:
            return True
        return HEADER_BYTES + open_records * self.bytes_per_record >= self.max_bytes * FILL

    def is_old(self, now_ms: int, oldest_ms: int | None) -> bool:
        """Whether the age alone is a reason to seal, then all open records."""
        return oldest_ms is not None and now_ms >= self.old_from_ms(oldest_ms)

    def old_from_ms(self, oldest_ms: int) -> int:
        """When open records whose oldest began at `oldest_ms` are old enough."""
        return oldest_ms + self.max_age_ms

    def sealed(self, records: int, size_bytes: int) -> None:
        if records >= LEARN_FROM:
            seen = max(size_bytes - HEADER_BYTES, 1) / records
            self.bytes_per_record += (seen - self.bytes_per_record) * 0.5


@dataclass(slots=True)
class ConfirmPolicy:
    """When a batch asks for a receipt: about every `interval_ms`, after a start, and when much is unconfirmed."""

    interval_ms: int
    many_unconfirmed: int = 64
    _last_ms: int | None = None
    _since: int = 0

    def wanted(self, now_ms: int, unconfirmed: int, *, urgent: bool = False) -> bool:
        self._since += 1
        many = unconfirmed >= self.many_unconfirmed and self._since >= self.many_unconfirmed // 4
        if urgent or many or self._last_ms is None or now_ms - self._last_ms >= self.interval_ms:
            self._last_ms, self._since = now_ms, 0
            return True
        return False


@dataclass(frozen=True, slots=True)
class OpenRecords:
    """Unsealed group commits of one boot, numbered on from `first`; `layouts` explains their readings.

    `range_first` lies before `first` where numbers were skipped. A batch takes whole groups, so that the slots that
    the schedule counted stand in the batch that has the records of these slots.
    """

    range_first: int
    first: int
    groups: Sequence[Group]
    layouts: Mapping[int, Layout]

    def head(self, groups: int) -> OpenRecords:
        return OpenRecords(self.range_first, self.first, self.groups[:groups], self.layouts)

    @property
    def last(self) -> int:
        return self.first + sum(len(group.records) for group in self.groups) - 1


def opened(
    range_first: int, numbered: Sequence[tuple[int, Group]], next_seq: int, layouts: Mapping[int, Layout]
) -> OpenRecords | None:
    """The groups with their first numbers, which must follow one another from `range_first` on and end by `next_seq`.

    None for no groups.
    """
    if not numbered:
        return None
    first = expected = numbered[0][0]
    require("open numbers lie beyond what is sealed", first >= range_first, first=first, range_first=range_first)
    for found, group in numbered:
        require("open numbers are contiguous", found == expected, found=found, expected=expected)
        expected += len(group.records)
    require("open numbers were given", expected <= next_seq, last=expected - 1, next_seq=next_seq)
    return OpenRecords(range_first, first, [group for _, group in numbered], layouts)


def check_batch(batch: Batch, records: OpenRecords) -> None:
    """Hold a batch against the records that it was made of, before it is stored in their place."""
    key, number = batch.key, sum(len(series.readings) for series in batch.series) + len(batch.events)
    follows = key.first == records.range_first and key.last == records.last
    found, due = (key.first, key.last), (records.range_first, records.last)
    require("batch ranges are contiguous", follows, found=found, due=due)
    require("a batch has all of its records", number == records.last - records.first + 1, found=number, due=due)


@dataclass(frozen=True, slots=True)
class Frame:
    """What a batch says beside its records."""

    device: str
    epoch: bytes
    boot: bytes
    anchor: Anchor | None
    confirm_wanted: bool


def build_batch(frame: Frame, opened: OpenRecords) -> Batch:
    """The batch of all of `opened`, which must have a record."""
    records, slots_due = merge_groups(opened.groups)
    readings: dict[int, list[Reading]] = {}
    events: list[Event] = []
    for seq, record in enumerate(records, opened.first):
        if isinstance(record, NewReading):
            readings.setdefault(record.layout, []).append(Reading(seq, record.mono_ms, record.values, record.flags))
        else:
            events.append(Event(seq, record.mono_ms, record.kind, record.meter, record.data))
    key = BatchKey(frame.device, frame.epoch, opened.range_first, opened.first + len(records) - 1)
    series = [
        Series(layout.meter, layout.columns, tuple(readings.get(id_, ())), slots, layout.descriptor)
        for id_, layout, slots in _sections(opened.layouts, readings, slots_due, events)
    ]
    return Batch(key, frame.boot, frame.anchor, frame.confirm_wanted, tuple(series), tuple(events))


def _sections(
    layouts: Mapping[int, Layout],
    readings: Mapping[int, Sequence[Reading]],
    slots_due: Mapping[str, int],
    events: Iterable[Event],
) -> Iterable[tuple[int, Layout, Slots]]:
    """The layouts that the batch needs; each meter's account of slots stands with its newest layout."""
    explained: dict[str, int] = {}
    for event in events:
        if event.kind == "gap" and event.meter:
            explained[event.meter] = explained.get(event.meter, 0) + (event.data.get("slots") or 0)
    newest = {layouts[id_].meter: id_ for id_ in sorted(layouts)}
    read: dict[str, int] = {}
    for id_, rows in readings.items():
        read[layouts[id_].meter] = read.get(layouts[id_].meter, 0) + len(rows)
    for id_ in sorted(layouts):
        meter = layouts[id_].meter
        slots = Slots()
        if newest[meter] == id_:
            slots = Slots(slots_due.get(meter, 0), read.get(meter, 0), explained.get(meter, 0))
        if id_ in readings or slots != Slots():
            yield id_, layouts[id_], slots


def fit(
    frame: Frame, opened: OpenRecords, max_bytes: int, encode: Callable[[Batch], bytes]
) -> tuple[int, Batch, bytes]:
    """As many groups as encode to at most `max_bytes`, but at least one: `(groups, batch, bytes)`."""
    groups = _within_records(opened.groups)
    while True:
        batch = build_batch(frame, opened.head(groups))
        try:
            body = encode(batch)
        except WireError:
            # More values or events than the format takes in one batch; one group is far from that.
            if groups == 1:
                raise
            groups //= 2
            continue
        if len(body) <= max_bytes or groups == 1:
            return groups, batch, body
        groups = max(1, min(groups - 1, int(groups * max_bytes / len(body) * FILL)))


def _within_records(groups: Sequence[Group]) -> int:
    """How many groups have at most `RECORDS_MAX` records, but at least one group."""
    records = 0
    for taken, group in enumerate(groups):
        records += len(group.records)
        if records > RECORDS_MAX and taken:
            return taken
    return len(groups)


def merge_groups(groups: Iterable[Group]) -> tuple[list[NewRecord], dict[str, int]]:
    """Records in order and slots added up."""
    records: list[NewRecord] = []
    slots_due: dict[str, int] = {}
    for group in groups:
        records += group.records
        for meter, slots in group.slots_due.items():
            slots_due[meter] = slots_due.get(meter, 0) + slots
    return records, slots_due

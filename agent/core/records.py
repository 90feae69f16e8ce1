"""What the box records before it has a number, and how a group commit of it is kept in the buffer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from wire.batch import Column
from wire.errors import WireError
from wire.events import canonical_json, check_json
from wire.limits import EVENT_BYTES_MAX, TIME_MS_MAX, check_meter, check_range
from wire.resolution import Resolution

# A group that fills a page of the buffer is overwritten in place; a smaller one would make SQLite merge pages.
GROUP_BYTES = 384


@dataclass(frozen=True, slots=True)
class Layout:
    """What the values of a meter's readings are, in order; a meter gets a new one when its configuration changes."""

    meter: str
    columns: tuple[Column, ...]
    descriptor: bytes | None = None


def pack_columns(columns: Sequence[Column]) -> str:
    """The columns of a layout as JSON: `[[measurand, step], ...]`."""
    return msgspec.json.encode([[column.measurand, str(column.resolution.step)] for column in columns]).decode()


def unpack_columns(text: str) -> tuple[Column, ...]:
    """The inverse of `pack_columns`; raises `msgspec.DecodeError`, LookupError, TypeError or ValueError otherwise."""
    return tuple(Column(name, Resolution.parse(step)) for name, step in msgspec.json.decode(text))


class NewReading(msgspec.Struct, frozen=True):
    """A reading without a number. `layout` is the buffer's id of its `Layout`; values count steps, None is missing.

    `slot_ms` is where its poll slot began: a telegram that was waiting may be older. By default it is `mono_ms`.
    """

    layout: int
    mono_ms: int
    values: tuple[int | None, ...]
    flags: tuple[int, ...] = ()
    slot_ms: int | None = None


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event without a number; `data` is what JSON can say."""

    mono_ms: int
    kind: str
    meter: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


NewRecord = NewReading | NewEvent


@dataclass(frozen=True, slots=True)
class Group:
    """One group commit: records in commit order, and per meter the poll slots that ended meanwhile.

    `slots_due` comes from the poll schedule, not from the records: a record lost between the two is then visible.
    """

    records: Sequence[NewRecord]
    slots_due: Mapping[str, int] = field(default_factory=dict)


def sayable(group: Group) -> Group:
    """The group with events that the wire can say: one that it cannot would keep all others from being sealed."""
    if not any(isinstance(record, NewEvent) for record in group.records):
        return group
    records = [_sayable(record) if isinstance(record, NewEvent) else record for record in group.records]
    return replace(group, records=records)


def _sayable(event: NewEvent) -> NewEvent:
    mono_ms = min(max(event.mono_ms, 0), TIME_MS_MAX)
    try:
        if event.meter is not None:
            check_meter(event.meter)
        data = dict(event.data)
        check_json(data, event.kind)
        check_range(f"{event.kind}: bytes of data", len(canonical_json(data)), 0, EVENT_BYTES_MAX // 4)
    except WireError as error:
        return NewEvent(mono_ms, "dropped", None, {"events": {event.kind: 1}, "reason": str(error)[:200]})
    return event if mono_ms == event.mono_ms else replace(event, mono_ms=mono_ms)


def pack_group(group: Group) -> bytes:
    """The group as MessagePack: `[slots_due, [record, ...], padding]`, at least `GROUP_BYTES`.

    A record is `[layout, mono_ms, values, flags, mono_ms - slot_ms]` or `[mono_ms, kind, meter, data, null]`.
    """
    rows: list[Any] = [
        [record.layout, record.mono_ms, record.values, record.flags, _late_ms(record)]
        if isinstance(record, NewReading)
        else [record.mono_ms, record.kind, record.meter, record.data, None]
        for record in group.records
    ]
    body = msgspec.msgpack.encode([group.slots_due, rows, b""])
    if len(body) < GROUP_BYTES:
        body = msgspec.msgpack.encode([group.slots_due, rows, bytes(GROUP_BYTES - len(body))])
    return body


def _late_ms(reading: NewReading) -> int | None:
    return None if reading.slot_ms is None else reading.mono_ms - reading.slot_ms


_Row = tuple[int, int | str, Any, Any, int | None]
_GROUP = msgspec.msgpack.Decoder(tuple[dict[str, int], list[_Row], bytes])
_GROUP_WITHOUT_SLOTS = msgspec.msgpack.Decoder(tuple[dict[str, int], list[tuple[int, int | str, Any, Any]], bytes])


def unpack_group(body: bytes) -> Group:
    """The inverse of `pack_group`; raises `msgspec.DecodeError` for bytes that are not one."""
    try:
        slots_due, rows, _padding = _GROUP.decode(body)
    except msgspec.ValidationError:  # perhaps of an agent that did not note the slots yet
        slots_due, short, _padding = _GROUP_WITHOUT_SLOTS.decode(body)
        rows = [(*row, None) for row in short]
    return Group([_record(*row) for row in rows], slots_due)


def _record(head: int, second: int | str, third: Any, fourth: Any, late_ms: int | None) -> NewRecord:
    if isinstance(second, str) and isinstance(fourth, dict):
        return NewEvent(head, second, third, fourth)
    if isinstance(second, int) and isinstance(third, list) and isinstance(fourth, list):
        return NewReading(head, second, tuple(third), tuple(fourth), None if late_ms is None else second - late_ms)
    raise msgspec.DecodeError("neither a reading nor an event")

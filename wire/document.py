"""A batch as the JSON document of `wattpost decode`: values in their units, times in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from wire.batch import Anchor, Batch, Column, Event, Reading, Series, flag_names
from wire.document_reader import from_document
from wire.events import canonical_json
from wire.json_safe import WHOLE_MAX, json_safe
from wire.resolution import Resolution
from wire.utc import format_utc

__all__ = ["flag_names", "from_document", "safe_document", "to_document"]

Json = dict[str, Any]

_EXACT_STEPS_MAX = 10**15  # decimals of up to 15 digits survive a float


def to_document(batch: Batch) -> Json:
    """What the batch says, for `json.dumps`; `from_document` is the inverse, to the byte of its encoding."""
    key, anchor = batch.key, batch.anchor
    meters = [series.meter for series in batch.series]
    readings: list[tuple[int, Json]] = []
    for i, series in enumerate(batch.series):
        place = {"series": i} if meters.count(series.meter) > 1 else {}
        names = [column.measurand for column in series.columns]
        readings += [(reading.seq, _reading(batch, series, names, reading) | place) for reading in series.readings]
    readings.sort(key=lambda item: item[0])
    return {
        "device": key.device,
        "epoch": key.epoch.hex(),
        "first": key.first,
        "last": key.last,
        "rev": key.rev,
        "boot": batch.boot.hex(),
        "anchor": anchor and {"boot_utc_ms": anchor.boot_utc_ms, "uncertainty_ms": anchor.uncertainty_ms},
        "confirm_wanted": batch.confirm_wanted,
        "meters": [_meter(series) for series in batch.series],
        "readings": [document for _, document in readings],
        "events": [_event(batch, event) for event in batch.events],
    }


def safe_document(document: Json) -> Json:
    """What `to_document` says, with numbers as text that a 64-bit float cannot hold; `from_document` reads it alike.

    Text in event data could have been text in the batch, too: `data_json` beside it keeps the data as they are.
    """
    safe: Json = json_safe(document)
    for said, event in zip(document["events"], safe["events"], strict=True):
        if event["data"] != said["data"]:
            event["data_json"] = canonical_json(said["data"]).decode()
    return safe


def _time(batch: Batch, mono_ms: int) -> Json:
    """`at` beside `mono_ms`; where `at` is not known, the boot that `mono_ms` counts from."""
    anchor: Anchor | None = batch.anchor
    if anchor is None:
        return {"at": None, "boot": batch.boot.hex(), "mono_ms": mono_ms}
    return {"at": format_utc(anchor.boot_utc_ms + mono_ms), "mono_ms": mono_ms}


def _meter(series: Series) -> Json:
    return {
        "meter": series.meter,
        "descriptor": series.descriptor and series.descriptor.hex(),
        "slots": {"due": series.slots.due, "read": series.slots.read, "explained": series.slots.explained},
        "resolution": {column.measurand: _resolution(column.resolution) for column in series.columns},
    }


def _resolution(resolution: Resolution) -> int | float | str:
    """A number, or text such as `10e-1` that is kept as it stands, for a step that is not in its shortest form."""
    if resolution.mantissa % 10:
        return resolution.to_number(1)
    return f"{resolution.mantissa}e{resolution.exponent}"


def _reading(batch: Batch, series: Series, names: Sequence[str], reading: Reading) -> Json:
    return {
        "seq": reading.seq,
        "meter": series.meter,
        **_time(batch, reading.mono_ms),
        "values": {
            column.measurand: _value(column, steps)
            for column, steps in zip(series.columns, reading.values, strict=True)
        },
        "quality": {
            name: flag_names(flags)
            for name, flags in zip(names, reading.flags or (0,) * len(names), strict=True)
            if flags
        },
    }


def _value(column: Column, steps: int | None) -> int | float | str | None:
    """The number in its unit; one with decimals as text where no float is exact enough."""
    if steps is None:
        return None
    number = column.resolution.to_number(steps)
    if -_EXACT_STEPS_MAX < steps * column.resolution.mantissa < _EXACT_STEPS_MAX or isinstance(number, int):
        return number
    exact = steps * column.resolution.step
    return number if abs(exact) <= WHOLE_MAX and Decimal(str(number)) == exact else str(exact)


def _event(batch: Batch, event: Event) -> Json:
    return {
        "seq": event.seq,
        **_time(batch, event.mono_ms),
        "kind": event.kind,
        "meter": event.meter,
        "data": dict(event.data),
    }

"""A held batch under new numbers: the way back of what a restored backup made conflict. Pure.

Its epoch is made from its bytes: whoever renumbers it again, say after the same backup was restored once more, makes
the same bytes, which the cloud knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from wire.batch import EPOCH_BYTES, Batch, BatchKey, Event, Series
from wire.codec import decode, digest

KIND = "renumbered"
FIRST = 1
CLAIMS = frozenset({"dropped", "numbers_skipped"})  # their `first..last` account for numbers of the batch's own epoch


def renumbered(body: bytes) -> Batch:
    """The batch in `body` as 1.. of an epoch of its own, with one record more, which says what it was.

    Times and values stay. Raises `WireError`.
    """
    batch, epoch = decode(body), bytes.fromhex(digest(body))[:EPOCH_BYTES]
    key, shift = batch.key, FIRST + 1 - batch.key.first
    old = {"epoch": key.epoch.hex(), "first": key.first, "last": key.last, "rev": key.rev}
    times = [reading.mono_ms for series in batch.series for reading in series.readings]
    times += [event.mono_ms for event in batch.events]
    told = Event(FIRST, min(times, default=0), KIND, None, old)
    return replace(
        batch,
        key=BatchKey(key.device, epoch, FIRST, key.last + shift, key.rev),
        confirm_wanted=True,
        series=tuple(_shifted(series, shift) for series in batch.series),
        events=(told, *(replace(e, seq=e.seq + shift, data=_data(e, key, shift)) for e in batch.events)),
    )


def _shifted(series: Series, shift: int) -> Series:
    readings = tuple(replace(reading, seq=reading.seq + shift) for reading in series.readings)
    return replace(series, readings=readings)


def _data(event: Event, key: BatchKey, shift: int) -> Mapping[str, Any]:
    """A claim on numbers goes along if they are in this batch; in the new epoch it would claim those of others."""
    if event.kind not in CLAIMS:
        return event.data
    first, last = event.data.get("first"), event.data.get("last")
    if isinstance(first, int) and isinstance(last, int) and key.first <= first <= last <= key.last:
        return {**event.data, "first": first + shift, "last": last + shift}
    rest = {name: value for name, value in event.data.items() if name not in {"first", "last"}}
    return {**rest, "epoch": key.epoch.hex(), "old_first": first, "old_last": last}

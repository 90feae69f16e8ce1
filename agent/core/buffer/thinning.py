"""What an old batch loses first when the disk is full: pure, a batch in, its successor out.

Level 1 keeps the counters of every reading, level 2 the counters once in 15 minutes, level 3 only the account of the
slots and the events. Each level covers the same numbers under the next `rev`: nothing goes missing without a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agent.core.invariants import require
from agent.core.time_units import MINUTE_MS
from wire.batch import Batch, Reading, Series
from wire.measurand import BY_NAME

LEVEL_MAX = 3
BILLING_MS = 15 * MINUTE_MS


def thin(batch: Batch) -> Batch:
    """The successor of `batch`, one level thinner; raises ValueError at the last level."""
    level = batch.key.rev + 1
    if level > LEVEL_MAX:
        raise ValueError(f"batch {batch.key.first}..{batch.key.last} cannot be thinned further")
    series = tuple(_thin_series(one, level) for one in batch.series)
    return replace(batch, key=replace(batch.key, rev=level), series=series)


def check_thinned(batch: Batch, thinner: Batch) -> None:
    """Hold a successor against its batch, before it is stored in its place."""
    numbers = thinner.key == replace(batch.key, rev=batch.key.rev + 1)
    require("a thinned batch keeps its numbers", numbers, found=thinner.key, was=batch.key)
    slots = [series.slots for series in thinner.series] == [series.slots for series in batch.series]
    require("a thinned batch keeps its account", slots and thinner.events == batch.events, batch=batch.key)


def _thin_series(series: Series, level: int) -> Series:
    kept = [i for i, column in enumerate(series.columns) if _is_counter(column.measurand)]
    if level == LEVEL_MAX or not kept:
        return replace(series, columns=(), readings=())
    readings = series.readings if level == 1 else _once_per(series.readings, BILLING_MS)
    return replace(
        series,
        columns=tuple(series.columns[i] for i in kept),
        readings=tuple(_pick(reading, kept) for reading in readings),
    )


def _is_counter(measurand: str) -> bool:
    known = BY_NAME.get(measurand)
    return known is not None and known.kind == "counter"


def _pick(reading: Reading, kept: Sequence[int]) -> Reading:
    flags = tuple(reading.flags[i] for i in kept) if reading.flags else ()
    return replace(reading, values=tuple(reading.values[i] for i in kept), flags=flags if any(flags) else ())


def _once_per(readings: Sequence[Reading], period_ms: int) -> list[Reading]:
    """The first reading of each period, and the last one of all."""
    chosen: list[Reading] = []
    for reading in readings:
        if not chosen or reading.mono_ms // period_ms != chosen[-1].mono_ms // period_ms:
            chosen.append(reading)
    if readings and chosen[-1] is not readings[-1]:
        chosen.append(readings[-1])
    return chosen

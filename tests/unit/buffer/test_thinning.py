"""What a full disk takes first: other values before counters, seldom counters before none, and never the account."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from agent.core.buffer.thinning import BILLING_MS, LEVEL_MAX, thin
from wire.batch import Anchor, Batch, BatchKey, Column, Event, Reading, Series, Slots
from wire.codec import decode, encode
from wire.resolution import Resolution

COLUMNS = (
    Column("voltage_l1_n", Resolution(1, -1)),
    Column("energy_active_import_total", Resolution(1, 0)),
    Column("water_flow", Resolution(5, 0)),  # not in the vocabulary: no counter as far as we know
    Column("energy_active_export_total", Resolution(1, 0)),
)
MINUTE_MS = 60_000


def batch(*, minutes: int = 40, flags: tuple[int, ...] = (), columns: tuple[Column, ...] = COLUMNS) -> Batch:
    """A reading a minute and a gap at the end."""
    readings = tuple(Reading(n + 1, n * MINUTE_MS, (2300, 10 * n, 5, n)[: len(columns)], flags) for n in range(minutes))
    series = Series("main", columns, readings, Slots(minutes + 2, minutes, 2), b"desc")
    gap = Event(minutes + 1, minutes * MINUTE_MS, "gap", "main", {"reason": "silent", "slots": 2})
    key = BatchKey("apt-1", b"epoch--1", 1, minutes + 1)
    return Batch(key, b"boot---1", Anchor(1_790_000_000_000, 20), True, (series,), (gap,))


def levels(original: Batch) -> list[Batch]:
    made = [original]
    for _ in range(LEVEL_MAX):
        made.append(thin(made[-1]))
    return made


def test_the_first_level_keeps_every_counter_and_nothing_else() -> None:
    (series,) = levels(batch())[1].series
    assert [column.measurand for column in series.columns] == [
        "energy_active_import_total",
        "energy_active_export_total",
    ]
    assert [(reading.seq, reading.values) for reading in series.readings[:2]] == [(1, (0, 0)), (2, (10, 1))]
    assert len(series.readings) == 40


def test_the_second_level_keeps_the_counters_once_in_a_quarter_of_an_hour_and_at_the_end() -> None:
    (series,) = levels(batch())[2].series
    assert [reading.mono_ms // MINUTE_MS for reading in series.readings] == [0, 15, 30, 39]
    assert BILLING_MS == 15 * MINUTE_MS


def test_the_end_is_kept_once_when_it_begins_a_quarter() -> None:
    (series,) = levels(batch(minutes=16))[2].series
    assert [reading.mono_ms // MINUTE_MS for reading in series.readings] == [0, 15]


def test_the_third_level_keeps_only_the_account_and_the_events() -> None:
    made = levels(batch())
    (series,) = made[3].series
    assert (series.columns, series.readings) == ((), ())


def test_each_level_is_a_revision_of_the_same_numbers_with_the_same_account_and_time() -> None:
    original = batch()
    for rev, thinner in enumerate(levels(original)):
        assert thinner.key == replace(original.key, rev=rev)
        assert (thinner.boot, thinner.anchor, thinner.confirm_wanted) == (original.boot, original.anchor, True)
        assert thinner.events == original.events
        assert (thinner.series[0].slots, thinner.series[0].descriptor) == (Slots(42, 40, 2), b"desc")
        assert decode(encode(thinner)) == thinner


def test_each_level_is_smaller() -> None:
    original, chance = batch(minutes=200), random.Random(1)
    (series,) = original.series
    noisy = [
        replace(one, values=tuple(v + chance.randrange(9) for v in one.values if v is not None))
        for one in series.readings
    ]
    sizes = [len(encode(one)) for one in levels(replace(original, series=(replace(series, readings=noisy),)))]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4


def test_the_last_level_cannot_be_thinned() -> None:
    with pytest.raises(ValueError, match=r"batch 1\.\.41 cannot be thinned further"):
        thin(levels(batch())[-1])


def test_flags_stay_with_their_values() -> None:
    (kept,) = thin(batch(flags=(0, 4, 0, 0))).series
    assert kept.readings[0].flags == (4, 0)
    (kept,) = thin(batch(flags=(1, 0, 2, 0))).series
    assert kept.readings[0].flags == ()


def test_a_meter_without_counters_is_given_up_at_the_first_level() -> None:
    (series,) = thin(batch(columns=COLUMNS[:1])).series
    assert (series.columns, series.readings, series.slots) == ((), (), Slots(42, 40, 2))


def test_an_empty_series_stays_empty() -> None:
    original = batch(minutes=1)
    bare = replace(original, series=(replace(original.series[0], readings=()),))
    assert [len(one.series[0].readings) for one in levels(bare)] == [0, 0, 0, 0]

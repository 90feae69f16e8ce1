"""Which conflicting batches are proven to be stored nowhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cloud.core.conflicts import proven
from cloud.ingest.ingest import ingest
from cloud.ingest.outcome import IngestStatus
from cloud.ports import BESIDE_MAX, Stores
from wire.batch import Batch, Event
from wire.codec import encode
from wire.receipt import APART


def later(batch: Batch, shift_ms: int = 1) -> Batch:
    """The same numbers for other records: made at other times."""
    (series,) = batch.series
    readings = tuple(replace(reading, mono_ms=reading.mono_ms + shift_ms) for reading in series.readings)
    return replace(batch, series=(replace(series, readings=readings),))


def is_proven(batch: Batch, *stored: Batch) -> bool:
    said = proven("conflict", batch, encode(batch), [encode(one) for one in stored])
    assert said in {"conflict", f"conflict; {APART}"}
    return APART in said


def test_records_of_another_boot_are_others(box: Any) -> None:
    assert is_proven(box.batch(3, 8), box.batch(1, 5, boot=b"2nd-boot"), box.batch(6, 9, boot=b"2nd-boot"))


def test_records_of_one_boot_are_others_if_none_that_can_be_compared_is_the_same(box: Any) -> None:
    assert is_proven(box.batch(3, 8), later(box.batch(1, 5)))
    assert not is_proven(box.batch(3, 8), later(box.batch(1, 5)), box.batch(6, 9))
    assert not is_proven(box.batch(3, 8), box.batch(1, 5, salt=9)), "another value does not make another reading"


def test_without_something_to_compare_nothing_is_proven(box: Any) -> None:
    only_event = box.batch(1, 5, events=[Event(1, 1, "start")])
    thinned = replace(only_event, series=())
    assert not is_proven(box.batch(3, 8), thinned)
    assert not is_proven(box.batch(3, 8))
    assert proven("conflict", box.batch(3, 8), b"", [b"damaged"]) == "conflict"


def test_events_are_compared_too(box: Any) -> None:
    start, stop = Event(4, 77, "start"), Event(4, 77, "stop")
    mine, theirs = later(box.batch(3, 8, events=[start])), box.batch(1, 5, events=[stop])
    assert is_proven(mine, theirs)
    assert not is_proven(mine, box.batch(1, 5, events=[start]))


@pytest.mark.parametrize("shift_ms", [0, 1])
def test_the_reason_says_it(stores: Stores, box: Any, shift_ms: int) -> None:
    ingest([box.message(1, 5), box.message(6, 6), box.message(7, 12)], stores)
    data = encode(later(box.batch(3, 9, salt=7), shift_ms))
    (outcome,) = ingest([box.wrap(data)], stores).outcomes
    assert outcome.status is IngestStatus.HELD
    assert (APART in str(outcome.reason)) == bool(shift_ms)
    assert len(str(outcome.reason)) < 200


def test_more_than_can_be_compared_proves_nothing(stores: Stores, box: Any) -> None:
    ingest([box.message(n, n) for n in range(1, BESIDE_MAX + 2)], stores)
    assert len(stores.batches.beside(box.batch(1, BESIDE_MAX).key)) == BESIDE_MAX
    (outcome,) = ingest([box.wrap(encode(later(box.batch(1, BESIDE_MAX + 1))))], stores).outcomes
    assert outcome.status is IngestStatus.HELD
    assert APART not in str(outcome.reason)

"""Every length limit of docs/wire-format.md: what reaches it travels, one more is refused by writer and reader."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wire import limits
from wire.batch import Anchor, Batch, BatchKey, Column, Event, Reading, Series, Slots
from wire.codec import decode, encode, peek
from wire.errors import WireError
from wire.resolution import Resolution

WIDE = "\U00010000"  # four bytes of UTF-8
BYTES_PER_ROW = 24  # of `scattered`, about
EMPTY = Batch(BatchKey("d", bytes(8), 1, 1 << 20), bytes(8), None, False)
STEP = Resolution(1, 0)

lengths_by_name: dict[str, tuple[int, Callable[[int], Batch]]] = {
    "device": (128, lambda n: replace(EMPTY, key=replace(EMPTY.key, device="d" * n))),
    "meter": (64, lambda n: with_series(Series("m" * n, (), ()))),
    "meter in bytes": (64, lambda n: with_series(Series(padded(n), (), ()))),
    "measurand": (64, lambda n: with_series(Series("m", (Column("x" * n, STEP),), ()))),
    "columns": (256, lambda n: with_series(Series("m", columns(n), (Reading(1, 0, (7,) * n),)))),
    "series": (256, lambda n: replace(EMPTY, series=tuple(Series(f"m{i}", (), ()) for i in range(n)))),
    "kind": (64, lambda n: with_events(Event(1, 0, "k" * n))),
    "meter of an event": (64, lambda n: with_events(Event(1, 0, "gap", padded(n)))),
    "events": (4096, lambda n: with_events(*[Event(i + 1, 0, "gap") for i in range(n)])),
}


def padded(size: int) -> str:
    """Text of `size` bytes with a character of four bytes where there is room for one."""
    return WIDE + "m" * (size - 4) if size >= 4 else "m" * size


def columns(count: int) -> tuple[Column, ...]:
    return tuple(Column(f"c{i}", STEP) for i in range(count))


def with_series(*series: Series) -> Batch:
    return replace(EMPTY, series=series)


def with_events(*events: Event) -> Batch:
    return replace(EMPTY, events=events)


def travels(batch: Batch) -> None:
    data = encode(batch)
    assert decode(data) == batch
    assert peek(data).key == batch.key


@pytest.mark.parametrize("name", lengths_by_name)
@settings(max_examples=15)  # the largest batches take a tenth of a second each
@given(data=st.data())
def test_every_length_up_to_the_limit_travels(name: str, data: st.DataObject) -> None:
    most, build = lengths_by_name[name]
    travels(build(data.draw(st.integers(1, most) | st.sampled_from([most - 1, most]))))


@pytest.mark.parametrize("name", lengths_by_name)
@pytest.mark.parametrize("more", [1, 2, 100])
def test_the_writer_refuses_what_is_longer(name: str, more: int) -> None:
    most, build = lengths_by_name[name]
    travels(build(most))
    with pytest.raises(WireError):
        encode(build(most + more))


@given(st.integers(1, 128).map(lambda n: ("a-Z:9_" * 22)[:n]))
@example("x" * 127)
@example("x" * 128)
def test_the_length_of_the_device_name_is_a_uvarint(device: str) -> None:
    size = len(device)
    coded = bytes([size]) if size < 128 else bytes([0x80, 0x01])
    data = encode(replace(EMPTY, key=replace(EMPTY.key, device=device)))
    assert data[4 : 4 + len(coded) + size] == coded + device.encode()
    assert peek(data).key.device == device


numbers_by_name: dict[str, tuple[int, int, Callable[[int], Batch]]] = {
    "first": (1, limits.SEQ_MAX, lambda n: keyed(first=n, last=limits.SEQ_MAX)),
    "last": (1, limits.SEQ_MAX, lambda n: keyed(first=1, last=n)),
    "rev": (0, (1 << 31) - 1, lambda n: keyed(rev=n)),
    "boot_utc_ms": (0, (1 << 46) - 1, lambda n: replace(EMPTY, anchor=Anchor(n, 0))),
    "uncertainty_ms": (0, (1 << 46) - 1, lambda n: replace(EMPTY, anchor=Anchor(0, n))),
    "mono_ms of a reading": (0, (1 << 46) - 1, lambda n: with_series(Series("m", (), (Reading(1, n, ()),)))),
    "mono_ms of an event": (0, (1 << 46) - 1, lambda n: with_events(Event(1, 0, "gap"), Event(2, n, "gap"))),
    "due": (0, (1 << 31) - 1, lambda n: with_series(Series("m", (), (), Slots(due=n)))),
    "read": (0, (1 << 31) - 1, lambda n: with_series(Series("m", (), (), Slots(read=n)))),
    "explained": (0, (1 << 31) - 1, lambda n: with_series(Series("m", (), (), Slots(explained=n)))),
    "mantissa": (1, 1_000_000, lambda n: with_series(Series("m", (Column("x", Resolution(n, 0)),), ()))),
    "exponent": (-12, 12, lambda n: with_series(Series("m", (Column("x", Resolution(1, n)),), ()))),
    "value": (-(1 << 63), (1 << 63) - 1, lambda n: valued((n,))),
    "flags": (0, (1 << 31) - 1, lambda n: valued((None,), (n,) if n else ())),
    "integer in data": (-(1 << 63), (1 << 63) - 1, lambda n: with_events(Event(1, 0, "gap", None, {"x": n}))),
}


def keyed(**parts: Any) -> Batch:
    return replace(EMPTY, key=replace(EMPTY.key, **parts))


def valued(values: tuple[int | None, ...], flags: tuple[int, ...] = ()) -> Batch:
    return with_series(Series("m", columns(1), (Reading(1, 0, values, flags),)))


@pytest.mark.parametrize("name", numbers_by_name)
@settings(max_examples=30)
@given(data=st.data())
def test_every_number_within_its_limits_travels(name: str, data: st.DataObject) -> None:
    least, most, build = numbers_by_name[name]
    travels(build(data.draw(st.integers(least, most) | st.sampled_from([least, most]))))


@pytest.mark.parametrize("name", numbers_by_name)
def test_the_writer_refuses_numbers_beyond_their_limits(name: str) -> None:
    least, most, build = numbers_by_name[name]
    for number in (least, most):
        travels(build(number))
    for number in (least - 1, most + 1):
        with pytest.raises(WireError):
            encode(build(number))


@pytest.mark.parametrize("empty", [0, 1, 20])
def test_event_data_may_take_all_of_its_bytes_beside_events_without_data(empty: int) -> None:
    """An event without data takes none of them."""
    most = limits.EVENT_BYTES_MAX
    full = Event(1, 0, "gap", None, {"x": "y" * (most - len('{"x":""}'))})
    others = [Event(2 + i, 0, "gap") for i in range(empty)]
    travels(with_events(full, *others))
    with pytest.raises(WireError, match="bytes of event data 524289 is not in"):
        encode(with_events(replace(full, data={"x": full.data["x"] + "y"}), *others))
    with pytest.raises(WireError, match="bytes of event data 524295 is not in"):
        encode(with_events(full, *others, Event(100, 0, "gap", None, {"x": 1})))


@pytest.mark.parametrize("series", [1, 3])
def test_readings_may_be_65536_over_all_series(series: int) -> None:
    share, rest = divmod(limits.READINGS_MAX, series)
    ends = [share * (i + 1) for i in range(series - 1)] + [share * series + rest]
    starts = [0, *ends[:-1]]
    made = [
        Series(f"m{i}", (), tuple(Reading(1 + n, n, ()) for n in range(start, end)))
        for i, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
    travels(with_series(*made))
    with pytest.raises(WireError, match="readings bring the batch over 65536"):
        encode(with_series(*made, Series("n", (), (Reading(1 << 20, 0, ()),))))


def test_values_may_be_262144() -> None:
    rows = tuple(Reading(1 + i, i, (i,) * 256) for i in range(1024))
    travels(with_series(Series("m", columns(256), rows)))
    with pytest.raises(WireError, match="values bring the batch over 262144"):
        encode(with_series(Series("m", columns(256), rows), Series("n", columns(1), (Reading(2000, 0, (1,)),))))


def test_a_batch_may_have_1_mib() -> None:
    """Values that do not deflate; the device name takes the last bytes."""
    rows, spare = 43_950, 1 << 20  # another zlib may need a few rows more
    while spare >= limits.DEVICE_CHARS_MAX:
        largest = scattered(rows)
        spare = (1 << 20) - len(encode(largest))
        rows += spare // BYTES_PER_ROW
    assert spare >= 0
    full = replace(largest, key=replace(EMPTY.key, device="d" * (1 + spare)))
    data = encode(full)
    assert len(data) == 1 << 20
    assert decode(data) == full
    with pytest.raises(WireError, match="bytes of batch 1048577 is not in"):
        encode(replace(full, key=replace(EMPTY.key, device="d" * (2 + spare))))
    with pytest.raises(WireError, match="batch of 1048577 bytes is over 1048576"):
        decode(data + b"x")


def scattered(rows: int) -> Batch:
    """Readings of three values without a pattern, the same at each run."""
    source = random.Random(1)
    values = [tuple(source.getrandbits(63) for _ in range(3)) for _ in range(rows)]
    return with_series(Series("m", columns(3), tuple(Reading(1 + i, i, row) for i, row in enumerate(values))))

"""What holds for every batch and for any bytes."""

from __future__ import annotations

import json
import zlib
from contextlib import suppress
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from wire import limits
from wire.batch import Anchor, Batch, BatchKey, Column, Event, Reading, Series, Slots
from wire.codec import decode, encode, peek
from wire.column import encode_column, read_head, read_values
from wire.document import from_document, safe_document, to_document
from wire.errors import WireError
from wire.header import open_batch
from wire.limits import INT64_MIN
from wire.measurand import VOCABULARY
from wire.receipt import Receipt, parse_receipt
from wire.resolution import EXPONENT_MAX, EXPONENT_MIN, MANTISSA_MAX, Resolution
from wire.varint import UINT64_MAX, Reader, pack_planes

int64 = st.integers(limits.INT64_MIN, limits.INT64_MAX)
steps = st.none() | st.integers(-300, 300) | int64
flags = st.sampled_from([0, 0, 0, 1, 2, 32]) | st.integers(0, limits.FLAGS_MAX)
times = st.integers(0, limits.TIME_MS_MAX)
resolutions = st.builds(Resolution, st.integers(1, MANTISSA_MAX), st.integers(EXPONENT_MIN, EXPONENT_MAX))
measurands = st.sampled_from([measurand.name for measurand in VOCABULARY]) | st.from_regex(
    r"[a-z0-9_]{1,64}", fullmatch=True
)
meters = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=16)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.none() | st.booleans() | int64 | st.floats(allow_nan=False, allow_infinity=False) | texts
plain_json = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
receipts = st.builds(
    Receipt,
    st.binary(min_size=8, max_size=8),
    st.integers(0, limits.SEQ_MAX),
    st.none() | st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    st.lists(st.integers(1, limits.SEQ_MAX).map(lambda n: (n, n)), max_size=5).map(tuple),
    st.lists(st.tuples(st.just(1), st.just(2), texts), max_size=5).map(tuple),
    st.none() | st.floats(0.001, 1000),
)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Any batch that the format can say: record numbers are dealt out to a few series and the events."""
    columns = draw(st.lists(st.builds(Column, measurands, resolutions), max_size=4, unique_by=lambda c: c.measurand))
    first = draw(st.integers(1, 1 << 62))
    gaps = draw(st.lists(st.integers(1, 5), max_size=12))
    numbers = list(accumulate(gaps, initial=first - 1))[1:]
    owners = [draw(st.integers(0, 2)) for _ in numbers]
    series = [
        Series(
            draw(meters),
            tuple(columns[: len(columns) - i]),
            tuple(
                draw(readings(seq, len(columns) - i)) for seq, owner in zip(numbers, owners, strict=True) if owner == i
            ),
            draw(st.builds(Slots, *[st.integers(0, limits.COUNT_MAX)] * 3)),
            draw(st.none() | st.binary(min_size=4, max_size=4)),
        )
        for i in range(min(2, len(columns)))
    ]
    events = tuple(draw(event(seq)) for seq, owner in zip(numbers, owners, strict=True) if owner == 2)
    key = BatchKey(
        draw(st.from_regex(r"[A-Za-z0-9:_-]{1,128}", fullmatch=True)),
        draw(st.binary(min_size=8, max_size=8)),
        first,
        max(numbers, default=first) + draw(st.integers(0, 3)),
        draw(st.integers(0, limits.REV_MAX)),
    )
    anchor = draw(st.none() | st.builds(Anchor, times, times))
    return Batch(key, draw(st.binary(min_size=8, max_size=8)), anchor, draw(st.booleans()), tuple(series), events)


def readings(seq: int, width: int) -> st.SearchStrategy[Reading]:
    marks = st.tuples(*[flags] * width).map(lambda row: row if any(row) else ())
    return st.builds(Reading, st.just(seq), times, st.tuples(*[steps] * width), st.just(()) | marks)


def event(seq: int) -> st.SearchStrategy[Event]:
    kinds = st.from_regex(r"[a-z][a-z0-9_]{0,63}", fullmatch=True)
    return st.builds(
        Event, st.just(seq), times, kinds, st.none() | meters, st.dictionaries(texts, plain_json, max_size=3)
    )


@given(batches())
def test_what_is_decoded_is_what_was_encoded(batch: Batch) -> None:
    data = encode(batch)
    assert decode(data) == batch
    assert encode(decode(data)) == data
    assert peek(data).key == batch.key


@given(batches())
def test_the_document_leads_back_to_the_same_bytes(batch: Batch) -> None:
    text = json.dumps(to_document(batch), allow_nan=False)
    assert encode(from_document(json.loads(text))) == encode(batch)


@given(batches())
def test_a_reader_whose_numbers_are_floats_loses_nothing(batch: Batch) -> None:
    """As in JavaScript."""
    text = json.dumps(safe_document(to_document(batch)), allow_nan=False)
    assert encode(from_document(json.loads(text, parse_int=lambda digits: int(float(digits))))) == encode(batch)


def test_the_lowest_number_of_64_bits_is_no_common_divisor() -> None:
    """Its amount has no place in a signed 64-bit number."""
    head_bytes, planes = encode_column([0, INT64_MIN], [])
    reader = Reader(head_bytes + planes)
    assert read_values(reader, read_head(reader, 2, "column")) == [0, INT64_MIN]


@given(st.lists(steps, max_size=40), st.data())
def test_a_column_reads_back(values: list[int | None], data: st.DataObject) -> None:
    marks = data.draw(st.just([]) | st.lists(flags, min_size=len(values), max_size=len(values)))
    head_bytes, planes = encode_column(values, marks)
    reader = Reader(head_bytes + planes)
    head = read_head(reader, len(values), "column")
    assert read_values(reader, head) == values
    assert reader.left == 0
    found = [0] * len(values)
    for start, end, mark in head.flags:
        found[start:end] = [mark] * (end - start)
    assert found == (marks or [0] * len(values))


@given(st.lists(st.integers(0, 300) | st.integers(0, UINT64_MAX), max_size=50))
def test_planes_read_back(numbers: list[int]) -> None:
    assert Reader(pack_planes(numbers)).planes(len(numbers), "x") == numbers


@given(st.binary(max_size=300))
def test_any_bytes_raise_the_one_error(data: bytes) -> None:
    for read in (decode, peek, parse_receipt):
        with suppress(WireError):
            read(data)
    with suppress(WireError):
        decode(b"WP\x01" + data + zlib.crc32(b"WP\x01" + data).to_bytes(4, "little"))


def sealed(header: bytes, body: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    data = header + packer.compress(body) + packer.flush()
    return data + zlib.crc32(data).to_bytes(4, "little")


@given(batches(), st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_body_with_changed_bytes_is_read_or_refused(batch: Batch, changes: list[tuple[int, int]]) -> None:
    """Past the CRC, which would catch it: this is what a hostile sender can do."""
    data = encode(batch)
    _, reader = open_batch(data)
    header = data[: reader.pos]
    body = bytearray(zlib.decompress(reader.take(reader.left, "body"), -15))
    for place, byte in changes:
        body[place % len(body)] = byte
    with suppress(WireError):
        read = decode(sealed(header, bytes(body)))
        assert decode(encode(read)) == read


@given(batches(), st.data())
def test_cut_short_or_with_junk_behind_it_is_refused(batch: Batch, data: st.DataObject) -> None:
    whole = encode(batch)
    cut = data.draw(st.integers(0, len(whole) - 1))
    junk = data.draw(st.binary(min_size=1, max_size=8))
    for broken in (whole[:cut], whole + junk):
        try:
            decode(broken)
        except WireError:
            continue
        raise AssertionError(broken.hex())


@given(receipts)
def test_a_receipt_reads_back(receipt: Receipt) -> None:
    assert parse_receipt(receipt.to_json()) == receipt

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from wire import limits
from wire.batch import Anchor, Batch, BatchKey, Column, Event, Quality, Reading, Series, Slots
from wire.codec import decode, digest, encode, peek
from wire.errors import WireError
from wire.header import open_batch
from wire.resolution import Resolution
from wire.varint import svarint, uvarint

VOLT = Column("voltage_l1_n", Resolution(1, -1))
ENERGY = Column("energy_active_import_total", Resolution(1, 0))
OWN = Column("water_flow", Resolution(5, 2))
EPOCH, BOOT = bytes(range(8)), bytes(range(8, 16))


def batch(*series: Series, events: tuple[Event, ...] = (), last: int = 100, **header: Any) -> Batch:
    key = BatchKey(header.get("device", "apt-0123"), EPOCH, 1, last, header.get("rev", 0))
    return Batch(key, BOOT, header.get("anchor"), header.get("confirm_wanted", False), series, events)


def rows(*values: tuple[int | None, ...], first: int = 1) -> tuple[Reading, ...]:
    return tuple(Reading(first + i, 1000 + 10_000 * i, row) for i, row in enumerate(values))


def one_column(*values: int | None) -> Batch:
    return batch(Series("main", (ENERGY,), rows(*((value,) for value in values))))


FULL = batch(
    Series(
        "main",
        (VOLT, ENERGY, OWN),
        (
            Reading(5, 60_000, (2300, 1_000_000, None)),
            Reading(8, 70_004, (2310, 1_000_002, None), (0, Quality.JUMP, 0)),
            Reading(9, 80_001, (None, 1_000_004, -3), (Quality.NOT_AVAILABLE, Quality.JUMP, 1 << 30)),
            Reading(12, 90_000, (2290, 1_000_900, None)),
        ),
        Slots(6, 4, 2),
        b"\x01\x02\x03\x04",
    ),
    Series("Wärmepumpe", (), rows((), first=20)),
    Series("silent", (VOLT,), (), Slots(due=6, explained=6)),
    events=(
        Event(6, 61_000, "gap", "main", {"reason": "silent", "nested": [1, -2.5, None, True, {"ä": "ö"}]}),
        Event(7, 5, "stop"),
    ),
    anchor=Anchor(1_790_000_000_000, 25),
    confirm_wanted=True,
    rev=3,
)


@pytest.mark.parametrize(
    "value",
    [
        FULL,
        batch(),
        batch(events=(Event(1, 0, "start", None, {"version": "1"}),)),
        one_column(7),
        one_column(None),
        one_column(None, None, 4, None),
        one_column(0, 0, 0),
        one_column(3, 3, 3, 3),
        one_column(10, 20, 30, 40),
        one_column(0, 70_000, 140_000, 70_000, 0, 350_000),
        one_column(5, -5, 5, -5),
        one_column(1 << 62, -(1 << 62), 0),
        one_column(limits.INT64_MIN, limits.INT64_MAX, limits.INT64_MIN),
        one_column(limits.INT64_MIN),
        one_column(1, 1_000_000, 2_000_000),
    ],
)
def test_decode_is_the_inverse_of_encode(value: Batch) -> None:
    data = encode(value)
    assert decode(data) == value
    assert encode(decode(data)) == data


def test_peek_reads_the_header_alone() -> None:
    header = peek(encode(FULL))
    assert (header.key, header.boot, header.anchor, header.confirm_wanted) == (FULL.key, BOOT, FULL.anchor, True)


def test_peek_does_not_look_at_the_body() -> None:
    data = sealed(b"no deflate data")
    assert peek(data).key == batch().key
    with pytest.raises(WireError, match="body is not deflate data"):
        decode(data)


def test_digest_is_half_a_sha256() -> None:
    assert digest(b"wattpost") == hashlib.sha256(b"wattpost").hexdigest()[:32]


def test_flags_that_are_all_good_are_none() -> None:
    said = replace(one_column(1), series=(Series("main", (ENERGY,), (Reading(1, 0, (1,), (0,)),)),))
    assert decode(encode(said)).series[0].readings[0].flags == ()


def test_a_regular_poll_costs_no_bytes_for_its_time_and_number() -> None:
    short, long = (one_column(*range(100, 100 + count)) for count in (20, 90))
    assert len(encode(long)) <= len(encode(short)) + 3


def test_missing_values_in_a_run_cost_no_bytes_each() -> None:
    assert len(encode(one_column(1, *[None] * 90, 2))) <= len(encode(one_column(1, None, 2))) + 4


def test_values_that_share_a_factor_are_divided_by_it() -> None:
    fine = [0, 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7]
    coarse = encode(one_column(*(1000 * value for value in fine)))
    assert len(coarse) <= len(encode(one_column(*fine))) + 4


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (batch(device="a/b"), "device name 'a/b' is not 1 to 128 of"),
        (batch(device=""), "device name '' is not"),
        (replace(batch(), boot=b"1"), "boot has 1 bytes instead of 8"),
        (replace(batch(), key=BatchKey("a", b"", 1, 1)), "epoch has 0 bytes instead of 8"),
        (replace(batch(), key=BatchKey("a", EPOCH, 0, 1)), "first 0 is not in 1.."),
        (replace(batch(), key=BatchKey("a", EPOCH, 2, 1)), "last 1 is not in 2.."),
        (replace(batch(), key=BatchKey("a", EPOCH, 1, 1 << 400)), "last of 401 bits is not in"),
        (batch(rev=-1), "rev -1 is not in 0.."),
        (batch(anchor=Anchor(-1, 0)), "boot_utc_ms -1 is not in 0.."),
        (batch(anchor=Anchor(1, 1 << 46)), "uncertainty_ms 70368744177664 is not in 0.."),
        (one_column(limits.INT64_MAX + 1), "energy_active_import_total: a value does not fit 64 bits"),
        (batch(Series("a\n", (), ())), r"meter name 'a\\n' is not"),
        (batch(Series("é" * 33, (), ())), "is not 1 to 64 bytes"),
        (batch(Series("m", (Column("Big", Resolution(1, 0)),), ())), "measurand name 'Big' is not"),
        (batch(Series("m", (VOLT, VOLT), ())), "two columns have the same measurand"),
        (batch(Series("m", (VOLT,), rows((1, 2)))), "has not one value for each of the 1 columns"),
        (batch(Series("m", (VOLT,), (Reading(1, 0, (1,), (1, 2)),))), "has not one quality for each"),
        (batch(Series("m", (VOLT,), (Reading(1, 0, (1,), (-1,)),))), "quality flags are not in 0.."),
        (batch(Series("m", (VOLT,), (), descriptor=b"1")), "descriptor has 1 bytes instead of 4"),
        (batch(Series("m", (VOLT,), (), Slots(due=-1))), "slots of meter 'm' -1 is not in 0.."),
        (batch(Series("m", (), (Reading(1, -1, ()),))), "meter 'm': mono_ms -1 is not in 0.."),
        (batch(Series("m", (), (Reading(101, 0, ()),))), "meter 'm': seq 101 is not in 1..100"),
        (batch(Series("m", (), (Reading(2, 0, ()), Reading(1, 0, ())))), "meter 'm': record numbers do not ascend"),
        (batch(Series("m", (), rows(())), events=(Event(1, 0, "x"),)), "a record number is used twice"),
        (batch(events=(Event(1, 0, "Gap"),)), "event kind 'Gap' is not"),
        (batch(events=(Event(1, 0, "gap", "\x7f"),)), "meter name"),
        (batch(*[Series(f"m{i}", (), ()) for i in range(257)]), "number of series 257 is not in 0..256"),
    ],
)
def test_what_the_format_cannot_say_is_refused(value: Batch, problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        encode(value)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"x": float("nan")}, "a number that is not finite"),
        ({"x": 1 << 63}, "integer 9223372036854775808 is not in"),
        ({"x": {1: 2}}, "a key that is not text: 1"),
        ({"x": "\ud800"}, "half of a surrogate pair"),
        ({"\udfff": 1}, "half of a surrogate pair"),
        ({"x": {2}}, "a set, which JSON cannot say"),
        ({"x": "é" * (256 << 10)}, "bytes of event data 524296 is not in 0..524288"),
    ],
)
def test_event_data_is_plain_json(data: Mapping[str, Any], problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        encode(batch(events=(Event(1, 0, "gap", None, data),)))


def test_event_data_may_nest_so_far() -> None:
    deep: Any = 1
    for _ in range(limits.EVENT_DEPTH_MAX - 1):
        deep = [deep]
    value = batch(events=(Event(1, 0, "gap", None, {"x": deep}),))
    assert decode(encode(value)) == value
    with pytest.raises(WireError, match="nested deeper than 16"):
        encode(batch(events=(Event(1, 0, "gap", None, {"x": [deep]}),)))


def test_readings_and_values_are_limited() -> None:
    reading = Reading(1, 0, (1,) * 200)
    columns = tuple(Column(f"c{i}", Resolution(1, 0)) for i in range(200))
    many = [replace(reading, seq=1 + i) for i in range(limits.VALUES_MAX // 200 + 1)]
    with pytest.raises(WireError, match="values bring the batch over 262144"):
        encode(batch(Series("m", columns, many), last=1 << 20))
    many = [Reading(1 + i, 0, ()) for i in range(limits.READINGS_MAX + 1)]
    with pytest.raises(WireError, match="readings bring the batch over 65536"):
        encode(batch(Series("m", (), many), last=1 << 20))


EMPTY = encode(batch())


def sealed(body: bytes, header: bytes | None = None) -> bytes:
    """Header, the body as it is, and the right CRC."""
    head = header if header is not None else EMPTY[: open_batch(EMPTY)[1].pos]
    return head + body + struct.pack("<I", zlib.crc32(head + body))


def deflated(body: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(body) + packer.flush()


def with_body(*parts: bytes | str) -> bytes:
    return sealed(deflated(b"".join(bytes.fromhex(part) if isinstance(part, str) else part for part in parts)))


BASE = "00"  # the base of times
NO_SERIES = BASE + "00"
NO_EVENTS = "00"
ONE_SERIES = BASE + "01" + "016d" + "00" + "000000"  # meter "m", no descriptor, no slots


def test_the_helper_makes_a_batch() -> None:
    assert decode(with_body(NO_SERIES, NO_EVENTS)) == batch()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "starts with nothing instead of 5750"),
        (b"{}", "starts with 7b7d instead of 5750"),
        (b"WP\x01", "batch cut short: 3 bytes"),
        (EMPTY[:-1], "damaged or cut short"),
        (EMPTY + b"x", "damaged or cut short"),
        (b"WP\x02" + EMPTY[3:], "format version 2, this reader knows version 1"),
        (b"WP" + bytes(limits.BATCH_BYTES_MAX), "batch of 1048578 bytes is over 1048576"),
        (sealed(b"", b"WP\x01"), "flags at byte 3: 1 bytes declared, 0 left"),
        (sealed(b"", b"WP\x01\x04\x01a"), "header flags 0x04 are not known"),
        (sealed(b"", b"WP\x01\x00\x81\x01"), "length of device at byte 4: 129 is over 128"),
        (sealed(b"", b"WP\x01\x00\x01/"), "device name '/' is not"),
        (sealed(b"", b"WP\x01\x00\x01a" + bytes(16) + b"\0\0\0"), "first 0 is not in"),
        (sealed(b"", b"WP\x01\x00\x01a" + bytes(16) + b"\1" + uvarint((1 << 63) - 1)), "last 9223372036854775808 is"),
        (
            sealed(b"", b"WP\x01\x00\x01a" + bytes(16) + b"\1\0" + uvarint(1 << 31)),
            "rev at byte 24: 2147483648 is over",
        ),
        (sealed(deflated(b"\0\0\0")[:-1]), "body is cut short"),
        (sealed(deflated(b"\0\0\0") + b"more"), "4 bytes between body and CRC"),
        (sealed(deflated(bytes(limits.BODY_BYTES_MAX + 1))), "body inflates to more than 4194304 bytes"),
    ],
)
def test_a_bad_frame_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        decode(data)


def test_the_largest_body_is_inflated_whole() -> None:
    with pytest.raises(WireError, match="body has 4194301 bytes after its end"):
        decode(sealed(deflated(bytes(limits.BODY_BYTES_MAX))))


def event(data: bytes) -> str:
    return NO_SERIES + "01" + "00" + "00" + "0167" + "00" + (uvarint(len(data)) + data).hex()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (BASE + "8102", "number of series at byte 1: 257 is over 256"),
        (BASE + "01" + "00", "meter name '' is not"),
        (BASE + "01" + "41" + "6d" * 65, "length of meter name at byte 2: 65 is over 64"),
        (BASE + "01" + "016d" + "00" + "8080808008", "slots at byte 5: 2147483648 is over 2147483647"),
        ("80808080808010" + "00" + NO_EVENTS, "base of times at byte 0: 70368744177664 is over"),
        (BASE + "01" + "016d" + "02", "meter 'm': series flags 0x02 are not known"),
        (ONE_SERIES + "8102", "number of columns at byte 8: 257 is over 256"),
        (ONE_SERIES + "00" + "818004", "number of readings at byte 9: 65537 is over 65536"),
        (ONE_SERIES + "08" + "808004", "65536 x 8 values bring the batch over 262144"),
        (ONE_SERIES + "01" + "00" + "8f4e" + "01" + "00", "measurand number 9999 is not registered"),
        (ONE_SERIES + "01" + "00" + "00" + "0141" + "01" + "00", "measurand name 'A' is not"),
        (ONE_SERIES + "01" + "00" + "00" + "41" + "78" * 65, "length of measurand name at byte 11: 65 is over 64"),
        (ONE_SERIES + "01" + "00" + "01" + "c1843d" + "00", "resolution at byte 11: 1000001 is over 1000000"),
        (ONE_SERIES + "01" + "00" + "01" + "00" + "00", "resolution mantissa 0 is not in"),
        (ONE_SERIES + "01" + "00" + "01" + "01" + "1a", "resolution exponent 13 is not in"),
        (ONE_SERIES + "02" + "00" + "010100" + "010100", "two columns have the same measurand"),
        (ONE_SERIES + "00" + "01" + "03", "meter 'm': seq: head 0x03 is not known"),
        (ONE_SERIES + "00" + "01" + "40", "meter 'm': seq: head 0x40 is not known"),
        (ONE_SERIES + "00" + "01" + "30" + "02", "meter 'm': seq: head 0x30 is not known"),
        (ONE_SERIES + "00" + "01" + "20" + "00", "meter 'm': seq: divisor 0"),
        (ONE_SERIES + "00" + "01" + "14" + "010000" + "10", "cannot be missing or flagged"),
        (ONE_SERIES + "00" + "01" + "10" + "18" + "01000001", "cannot be missing or flagged"),
        (ONE_SERIES + "00" + "01" + "14" + "00", "meter 'm': seq: head 0x14 announces runs, and there are none"),
        (ONE_SERIES + "00" + "01" + "10" + "18" + "00", "meter 'm': mono_ms: head 0x18 announces runs"),
        (ONE_SERIES + "00" + "00" + "14" + "00", "meter 'm': seq: head 0x14 announces runs"),
        (ONE_SERIES + "01" + "01" + "010100" + "10" * 2 + "1400", "voltage_l1_n: head 0x14 announces runs"),
        (ONE_SERIES + "01" + "01" + "010100" + "10" * 2 + "1800", "voltage_l1_n: head 0x18 announces runs"),
        (ONE_SERIES + "01" + "01" + "010100" + "10" * 2 + "1c0100" + "0000", "voltage_l1_n: head 0x1c announces runs"),
        (ONE_SERIES + "00" + "01" + "04" + "010100", "meter 'm': seq: a run ends at row 2 of 1"),
        (ONE_SERIES + "00" + "01" + "04" + "02", "runs of meter 'm': seq at byte 11: 2 is over 1"),
        (ONE_SERIES + "00" + "01" + "08" + "01000000", "meter 'm': seq: a run of flags says 0"),
        (
            ONE_SERIES + "00" + "01" + "08" + "0100008080808008",
            "flags of meter 'm': seq at byte 14: 2147483648 is over",
        ),
        (ONE_SERIES + "00" + "02" + "10" + "10" + NO_EVENTS, "meter 'm': record numbers do not ascend"),
        (ONE_SERIES + "00" + "01" + "00" + "10" + "01" + NO_EVENTS, "meter 'm': seq 0 is not in 1..100"),
        (ONE_SERIES + "00" + "01" + "10" + "00" + "01" + NO_EVENTS, "meter 'm': mono_ms -1 is not in 0"),
        (ONE_SERIES + "00" + "01" + "00" + "10", "meter 'm': seq at byte 12: 1 bytes declared, 0 left"),
        (NO_SERIES + "818020", "number of events at byte 2: 524289 is over 4096"),
        (NO_SERIES + "8120", "number of events at byte 2: 4097 is over 4096"),
        (NO_SERIES + "01" + "00" + "00" + "0147", "event kind 'G' is not"),
        (NO_SERIES + "01" + "00" + "00" + "41" + "67" * 65, "length of kind of event at byte 5: 65 is over 64"),
        (NO_SERIES + "01" + "00" + "00" + "0167" + "41", "length of meter of event at byte 7: 65 is over 64"),
        (
            NO_SERIES + "01" + "00" + "00" + "0167" + "00" + "818020",
            "length of data of event at byte 8: 524289 is over",
        ),
        (NO_SERIES + "01" + "00" + "00" + "0167" + "017f" + "00", "meter name"),
        (event(b"[]"), "data is not a JSON object"),
        (event(b"{"), "event 1: data is not JSON"),
        (event(b" "), "event 1: data is not JSON"),
        (event(b"\xef\xbb\xbf{}"), "event 1: data is not JSON"),
        (event(b'{"a":1e400}'), "a number that is not finite"),
        (event(b'{"a":-9223372036854775809}'), "integer -9223372036854775809 is not in"),
        (event(b'{"a":1e999}'), "a number that is not finite"),
        (event(b'{"a":NaN}'), "a number that is not finite"),
        (event(b'{"a":"\\ud800"}'), "half of a surrogate pair"),
        (event(b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}"), "data is not JSON: maximum recursion|nested deeper"),
        (event(b'{"a":' + b"9" * 5000 + b"}"), "data is not JSON: Exceeds the limit"),
        (event(b"\xff"), "not UTF-8"),
        (NO_SERIES + "01" + "01" + "01" + "0167" + "00" + "00" + "00", "body has 1 bytes after its end"),
        (NO_SERIES + "01" + "00" + "01" + "0167" + "00" + "00", "events: mono_ms -1 is not in 0"),
        (NO_SERIES + "01" + "64" + "00" + "0167" + "00" + "00", "events: seq 101 is not in 1..100"),
    ],
)
def test_a_bad_body_is_refused(body: str, problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        decode(with_body(body))


def read_events(*texts: bytes) -> list[Mapping[str, Any]]:
    return [decode(with_body(event(text))).events[0].data for text in texts]


def test_data_may_be_any_form_of_json() -> None:
    spaced, twice, minus = b' {"a" :\n[1,\t2]}\r ', b'{"a":1,"b":2,"a":3}', b'{"a":-0,"b":1e2,"c":1e-400}'
    assert read_events(spaced, twice, minus, b"{}", b"") == [
        {"a": [1, 2]},
        {"a": 3, "b": 2},
        {"a": 0, "b": 100.0, "c": 0.0},
        {},
        {},
    ]
    assert [type(value) for value in read_events(minus)[0].values()] == [int, float, float]


def test_a_registered_measurand_may_come_as_text() -> None:
    name = b"voltage_l1_n"
    text = "00" + (bytes([len(name)]) + name).hex() + "01" + "01"
    body = with_body(ONE_SERIES, "01" + "00" + text, "10" * 3, NO_EVENTS)
    assert decode(body).series[0].columns == (VOLT,)
    assert encode(decode(body)) == encode(batch(Series("m", (VOLT,), ())))
    with pytest.raises(WireError, match="two columns have the same measurand"):
        decode(with_body(ONE_SERIES, "02" + "00" + text + "010101", "10" * 4, NO_EVENTS))


@pytest.mark.parametrize("head", ["10", "11", "12", "00", "01", "02", "2005", "2205"])
def test_a_column_without_residuals_may_have_any_order_and_a_divisor(head: str) -> None:
    body = with_body(ONE_SERIES, "01" + "00" + "010101", head, head, head, NO_EVENTS)
    assert decode(body) == batch(Series("m", (VOLT,), ()))


def test_a_divisor_stands_beside_a_single_value() -> None:
    body = with_body(ONE_SERIES, "01" + "01" + "010101", "01" + "00", "10", "21" + "0e" + "05", NO_EVENTS)
    assert decode(body).series[0].readings == (Reading(1, 0, (7,)),)


def test_a_present_value_keeps_flags_that_say_it_is_missing() -> None:
    flags = Quality.NOT_AVAILABLE | Quality.OVERFLOW
    value = batch(Series("m", (VOLT,), (Reading(1, 0, (7,), (flags,)), Reading(2, 0, (None,)))))
    assert decode(encode(value)) == value


def test_a_meter_may_have_series_with_the_same_columns_and_events_without_a_series() -> None:
    value = batch(
        Series("m", (VOLT,), (Reading(1, 5, (7,)),), descriptor=b"abcd"),
        Series("m", (VOLT,), (Reading(2, 4, (7,)),), descriptor=b"efgh"),
        Series("m", (), (), Slots(2, 2)),
        events=(Event(3, 9, "gap", "other"), Event(4, 1, "gap", "m")),
    )
    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    ("head", "planes"),
    [
        ("22" + svarint(0).hex() + svarint(1).hex() + uvarint(1 << 62).hex(), "08"),
        ("01" + svarint(limits.INT64_MAX).hex(), "0202"),
        ("02" + svarint(0).hex() + svarint(limits.INT64_MAX).hex(), "02"),
    ],
)
def test_sums_over_64_bits_are_refused(head: str, planes: str) -> None:
    column, seq = "01" + "01" + "00", "01" + "00"  # order 1 from the first number on
    with pytest.raises(WireError, match="voltage_l1_n: a number does not fit 64 bits"):
        decode(with_body(ONE_SERIES, "01" + "03" + column, seq, "10", head, "0202", planes * 3))


def test_a_divisor_of_one_and_adjacent_runs_are_understood() -> None:
    """Another writer may waste bytes."""
    column = "01" + "01" + "00"
    seq = "02" + "00" + "02"  # order 2, all that is left in planes
    missing = "24" + "02" + "0000" + "0000" + "01"  # order 0, divisor 1, two runs of one
    body = with_body(ONE_SERIES, "01" + "03" + column, seq, "10", missing, "00", "0a", NO_EVENTS)
    assert [reading.values for reading in decode(body).series[0].readings] == [(None,), (None,), (5,)]

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from wire.batch import Anchor, Batch, BatchKey, Column, Event, Quality, Reading, Series, Slots
from wire.codec import encode
from wire.document import flag_names, from_document, to_document
from wire.errors import WireError
from wire.resolution import Resolution

EPOCH, BOOT = bytes(range(8)), bytes(range(8, 16))
VOLT = Column("voltage_l1_n", Resolution(1, -1))
OWN = Column("own", Resolution(10, -1))
MAIN = Series(
    "main",
    (VOLT, OWN),
    (Reading(2, 60_000, (2304, None)), Reading(4, 70_250, (None, -3), (Quality.NOT_AVAILABLE | 1 << 20, 0))),
    Slots(3, 2, 1),
    b"\xaa\xbb\xcc\xdd",
)
BATCH = Batch(
    BatchKey("apt-0123", EPOCH, 1, 9, 2),
    BOOT,
    Anchor(1_790_000_000_000, 25),
    True,
    (MAIN,),
    (Event(1, 59_000, "start", None, {"clean": True}), Event(3, 65_000, "gap", "main", {"slots": 1})),
)
DOCUMENT: dict[str, Any] = {
    "device": "apt-0123",
    "epoch": "0001020304050607",
    "first": 1,
    "last": 9,
    "rev": 2,
    "boot": "08090a0b0c0d0e0f",
    "anchor": {"boot_utc_ms": 1_790_000_000_000, "uncertainty_ms": 25},
    "confirm_wanted": True,
    "meters": [
        {
            "meter": "main",
            "descriptor": "aabbccdd",
            "slots": {"due": 3, "read": 2, "explained": 1},
            "resolution": {"voltage_l1_n": 0.1, "own": "10e-1"},
        }
    ],
    "readings": [
        {
            "seq": 2,
            "meter": "main",
            "at": "2026-09-21T14:14:20.000Z",
            "mono_ms": 60_000,
            "values": {"voltage_l1_n": 230.4, "own": None},
            "quality": {},
        },
        {
            "seq": 4,
            "meter": "main",
            "at": "2026-09-21T14:14:30.250Z",
            "mono_ms": 70_250,
            "values": {"voltage_l1_n": None, "own": -3},
            "quality": {"voltage_l1_n": ["not_available", "bit20"]},
        },
    ],
    "events": [
        {
            "seq": 1,
            "at": "2026-09-21T14:14:19.000Z",
            "mono_ms": 59_000,
            "kind": "start",
            "meter": None,
            "data": {"clean": True},
        },
        {
            "seq": 3,
            "at": "2026-09-21T14:14:25.000Z",
            "mono_ms": 65_000,
            "kind": "gap",
            "meter": "main",
            "data": {"slots": 1},
        },
    ],
}
PLAIN: dict[str, Any] = {
    "device": "gateway-7",
    "epoch": "00000000000000aa",
    "readings": [
        {"meter": "a", "at": "2026-01-31T12:00:00Z", "values": {"voltage_l1_n": 230.4, "heat": 1.25}},
        {"meter": "b", "at": "2026-01-31T13:00:00.0005+01:00", "values": {"frequency": 50.001}},
        {"meter": "a", "at": "2026-01-31T12:00:10Z", "values": {"heat": "2.5", "energy_active_import_total": 7}},
    ],
    "events": [{"at": "2026-01-31T12:00:10Z", "kind": "stop"}],
}


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with the member at `path` (dots; numbers index lists) set."""
    made = copy.deepcopy(document)
    *way, last = path.split(".")
    place: Any = made
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    place[int(last) if last.isdigit() else last] = value
    return made


def test_the_document_says_all_of_the_batch() -> None:
    assert to_document(BATCH) == DOCUMENT


def test_the_inverse_is_the_same_to_the_byte() -> None:
    assert from_document(DOCUMENT) == BATCH
    assert encode(from_document(json.loads(json.dumps(DOCUMENT)))) == encode(BATCH)


def test_without_an_anchor_at_is_null_beside_boot_and_mono_ms() -> None:
    undated = Batch(BATCH.key, BOOT, None, False, (MAIN,), BATCH.events)
    document = to_document(undated)
    assert document["readings"][0]["at"] is None
    assert document["readings"][0]["boot"] == BOOT.hex()
    assert document["events"][0]["mono_ms"] == 59_000
    assert from_document(document) == undated


def test_a_meter_with_two_series_keeps_them_apart() -> None:
    later = Series("main", (OWN,), (Reading(5, 80_000, (4,)),))
    both = Batch(BATCH.key, BOOT, None, False, (MAIN, later), ())
    document = to_document(both)
    assert [reading["series"] for reading in document["readings"]] == [0, 0, 1]
    assert from_document(document) == both


def test_flags_have_names() -> None:
    assert flag_names(0) == []
    assert flag_names(Quality.STALE | Quality.NOT_AVAILABLE | 1 << 30) == ["not_available", "stale", "bit30"]


def test_another_sender_may_say_less() -> None:
    batch = from_document(PLAIN)
    assert batch.key == BatchKey("gateway-7", bytes(7) + b"\xaa", 1, 4)
    assert (batch.boot, batch.anchor, batch.confirm_wanted) == (bytes(8), Anchor(0, 0), False)
    first, second = batch.series
    assert [column.measurand for column in first.columns] == ["voltage_l1_n", "heat", "energy_active_import_total"]
    assert first.slots == Slots(2, 2)
    assert first.readings == (
        Reading(1, 1_769_860_800_000, (2304, 125, None)),
        Reading(3, 1_769_860_810_000, (None, 250, 7)),
    )
    assert second.readings[0].mono_ms == 1_769_860_800_000
    assert batch.events == (Event(4, 1_769_860_810_000, "stop"),)
    again = to_document(batch)
    assert again["readings"][0]["at"] == "2026-01-31T12:00:00.000Z"
    assert from_document(again) == batch


def test_the_step_of_a_sender_is_that_of_the_unit_or_as_fine_as_its_values() -> None:
    columns = {
        column.measurand: column.resolution for series in from_document(PLAIN).series for column in series.columns
    }
    assert columns == {
        "voltage_l1_n": Resolution(1, -1),
        "heat": Resolution(1, -2),
        "energy_active_import_total": Resolution(1, 0),
        "frequency": Resolution(1, -3),
    }


def test_the_step_that_a_sender_gives_is_taken() -> None:
    given = {**PLAIN, "resolution": {"voltage_l1_n": 0.5, "heat": "1e-3"}}
    columns = from_document(given).series[0].columns
    assert [column.resolution for column in columns[:2]] == [Resolution(5, -1), Resolution(1, -3)]


@pytest.mark.parametrize("value", [None, 0, 0.0, 1e22])
def test_values_without_decimals_need_no_finer_step(value: float | None) -> None:
    given = changed(PLAIN, "readings.0.values.heat", value)
    given["readings"][2]["values"]["heat"] = None
    if value == 1e22:
        with pytest.raises(WireError, match="does not fit 64 bits"):
            from_document(given)
    else:
        assert from_document(given).series[0].columns[1].resolution == Resolution(1, 0)


def test_a_value_of_many_digits_is_not_cut_off() -> None:
    given = changed(PLAIN, "readings.0.values.heat", "12345678901234567890.1234567890123")
    with pytest.raises(WireError, match=r"^heat: a value has more than 12 decimals"):
        from_document(given)
    given = changed(PLAIN, "readings.0.values.heat", "1234567.123456789012000000000000000000000")
    assert from_document(given).series[0].columns[1].resolution == Resolution(1, -12)


@pytest.mark.parametrize("at", ["2026-01-31t12:00:00z", "2026-01-31T12:00:00.0009999Z", "2026-01-31T10:30:00-01:30"])
def test_at_is_read_in_any_form_of_rfc_3339(at: str) -> None:
    """Parts of a millisecond are cut off."""
    assert from_document(changed(PLAIN, "readings.0.at", at)) == from_document(PLAIN)


def test_numbers_go_on_from_those_given() -> None:
    given = changed(changed(PLAIN, "readings.0.seq", 40), "readings.2.seq", 50)
    batch = from_document(given)
    assert [reading.seq for series in batch.series for reading in series.readings] == [40, 50, 41]
    assert (batch.key.first, batch.key.last, batch.events[0].seq) == (40, 51, 51)
    assert from_document({**given, "first": 30, "last": 99}).key == BatchKey("gateway-7", bytes(7) + b"\xaa", 30, 99)


def test_the_boot_may_stand_beside_mono_ms_alone() -> None:
    """As a reading says it that has no `at`."""
    reading = {"meter": "a", "at": None, "boot": BOOT.hex(), "mono_ms": 5, "values": {}}
    event = {"at": None, "boot": BOOT.hex(), "mono_ms": 6, "kind": "stop"}
    for records in ({"readings": [reading]}, {"events": [event]}, {"readings": [reading], "events": [event]}):
        batch = from_document({"device": "d", "epoch": "00" * 8, **records})
        assert (batch.boot, batch.anchor) == (BOOT, None)
    two_boots = {"device": "d", "epoch": "00" * 8, "readings": [reading, {**reading, "boot": "00" * 8}]}
    with pytest.raises(WireError, match=r"^readings\[1\].boot: another boot than the batch"):
        from_document(two_boots)


def test_at_beside_mono_ms_says_the_anchor_where_the_document_has_none() -> None:
    few = {name: DOCUMENT[name] for name in ("device", "epoch", "first", "last", "rev", "readings", "events")}
    batch = from_document({**few, "resolution": {"own": 1}})
    assert batch.anchor == Anchor(1_790_000_000_000, 0)
    assert [{**reading, "quality": {}} for reading in to_document(batch)["readings"]] == [
        {**reading, "quality": {}} for reading in DOCUMENT["readings"]
    ]
    assert to_document(batch)["events"] == DOCUMENT["events"]
    with pytest.raises(WireError, match=r"^readings\[1\].mono_ms: says another time than at"):
        from_document(changed(few, "readings.1.mono_ms", 60_000))
    with pytest.raises(WireError, match=r"^readings\[0\].mono_ms: is more than at has since 1970"):
        from_document(changed(few, "readings.0.mono_ms", 2**45))


def test_slots_that_are_left_out_are_0() -> None:
    assert from_document(changed(DOCUMENT, "meters.0.slots", {"due": 5})).series[0].slots == Slots(5, 0, 0)
    assert from_document(changed(DOCUMENT, "meters.0.slots", None)).series[0].slots == Slots(2, 2, 0)


def test_records_may_come_in_any_order_of_their_numbers() -> None:
    shuffled = {**DOCUMENT, "readings": DOCUMENT["readings"][::-1], "events": DOCUMENT["events"][::-1]}
    assert from_document(shuffled) == BATCH


def test_noise_of_a_float_needs_no_finer_step() -> None:
    given = changed(PLAIN, "readings.0.values.heat", 0.1 + 0.2)
    given["readings"][2]["values"]["heat"] = 1234.1 - 0.000_000_000_000_1
    first = from_document(given).series[0]
    assert first.columns[1].resolution == Resolution(1, -1)
    assert [reading.values[1] for reading in first.readings] == [3, 12341]


@pytest.mark.parametrize("good", [None, {}, [], "", "good", 0, {"heat": None}, {"heat": "good"}, {"heat": 0}])
def test_good_quality_may_be_said_in_any_way(good: Any) -> None:
    assert from_document(changed(PLAIN, "readings.0.quality", good)) == from_document(PLAIN)


@pytest.mark.parametrize(
    ("quality", "flags"),
    [
        ({"heat": "stale"}, (0, Quality.STALE, 0)),
        ({"heat": 48}, (0, 48, 0)),
        (["stale", "jump"], (24, 24, 0)),
        ("not_available", (1, 1, 0)),
        (8, (8, 8, 0)),
    ],
)
def test_quality_may_be_a_name_or_a_number_and_of_all_values(quality: Any, flags: tuple[int, ...]) -> None:
    first = from_document(changed(PLAIN, "readings.0.quality", quality)).series[0]
    assert [reading.flags for reading in first.readings] == [flags, ()]


def test_a_whole_number_may_have_a_decimal_point() -> None:
    assert from_document({**DOCUMENT, "first": 1.0, "last": 9.0}) == BATCH


def test_no_records_is_a_batch_too() -> None:
    batch = from_document({"device": "d", "epoch": "00" * 8, "readings": []})
    assert batch == Batch(BatchKey("d", bytes(8), 1, 1), bytes(8), None, False, (), ())


@pytest.mark.parametrize("more", [{}, {"reading": []}, {"readings": None, "events": None}, {"meters": []}], ids=str)
def test_a_document_with_neither_readings_nor_events_says_nothing(more: dict[str, Any]) -> None:
    """As with a misspelt key: an empty batch would be taken for what was meant."""
    with pytest.raises(WireError, match='neither "readings" nor "events" is there'):
        from_document({"device": "d", "epoch": "00" * 8, **more})


def test_monotonic_time_may_come_without_at_and_anchor_without_boot() -> None:
    reading = {"meter": "a", "mono_ms": 5, "values": {}}
    batch = from_document({"device": "d", "epoch": "00" * 8, "readings": [reading]})
    assert (batch.series[0].readings[0].mono_ms, batch.anchor, batch.boot) == (5, None, bytes(8))
    anchored = {"device": "d", "epoch": "00" * 8, "anchor": {"boot_utc_ms": 1000}, "readings": [reading]}
    assert from_document(anchored).anchor == Anchor(1000, 0)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], r"^document: \[\] is not an object"),
        ({}, "^device: missing, text is needed"),
        (changed(DOCUMENT, "device", 7), "^device: 7 is not text"),
        (changed(DOCUMENT, "device", "a/b"), "^device: device name 'a/b' is not"),
        (changed(DOCUMENT, "epoch", "xyz"), "^epoch: 'xyz' is not 16 hexadecimal digits"),
        (changed(DOCUMENT, "epoch", "00"), "^epoch: '00' is not 16 hexadecimal digits"),
        (changed(DOCUMENT, "first", 0), "^first: 0 is not in 1.."),
        (changed(DOCUMENT, "first", True), "^first: True is not a whole number"),
        (changed(DOCUMENT, "last", 0), "^last: 0 is not in 1.."),
        (changed(DOCUMENT, "rev", 1.5), "^rev: 1.5 is not a whole number"),
        (changed(DOCUMENT, "confirm_wanted", 1), "^confirm_wanted: 1 is not a boolean"),
        (changed(DOCUMENT, "anchor", {}), "^anchor.boot_utc_ms: missing, a whole number is needed"),
        (
            changed(changed(PLAIN, "readings.0.boot", "00" * 8), "anchor", None),
            r"^readings\[0\].at: cannot be turned into mono_ms",
        ),
        (changed(DOCUMENT, "last", 9.5), "^last: 9.5 is not a whole number"),
        (changed(DOCUMENT, "last", 1e300), r"^last: 1e\+300 is not a whole number"),
        (changed(DOCUMENT, "readings.0.quality", True), r"^readings\[0\].quality: True is not a q"),
        (changed(DOCUMENT, "readings.0.quality", 1 << 31), r"^readings\[0\].quality: 2147483648 is not in 0"),
        (changed(DOCUMENT, "meters.0.meter", "\n"), r"^meters\[0\].meter: meter name"),
        (changed(DOCUMENT, "meters.0.descriptor", "00"), r"^meters\[0\].descriptor: '00' is not 8 hexadecimal digits"),
        (changed(DOCUMENT, "meters.0.slots.due", -1), r"^meters\[0\].slots.due: -1 is not in 0"),
        (changed(DOCUMENT, "meters.0.resolution.own", 0), r"^meters\[0\].resolution.own: resolution mantissa 0"),
        (changed(DOCUMENT, "meters.0.resolution.own", "0e1"), r"^meters\[0\].resolution.own: resolution mantissa 0"),
        (
            changed(DOCUMENT, "meters.0.resolution.own", None),
            r"^meters\[0\].resolution.own: None is not a finite number",
        ),
        (changed(DOCUMENT, "readings", {}), "^readings: {} is not a list"),
        (changed(DOCUMENT, "readings.0", 5), r"^readings\[0\]: 5 is not an object"),
        (changed(DOCUMENT, "readings.0.seq", "01"), r"^readings\[0\].seq: '01' is not a whole number"),
        (changed(DOCUMENT, "readings.0.seq", "1.0"), r"^readings\[0\].seq: '1.0' is not a whole number"),
        (changed(DOCUMENT, "readings.0.seq", "-1"), r"^readings\[0\].seq: '-1' is not a whole number"),
        (changed(DOCUMENT, "readings.0.seq", str(1 << 63)), r"^readings\[0\].seq: 9223372036854775808 is not in 1"),
        (changed(DOCUMENT, "readings.0.mono_ms", "60000"), r"^readings\[0\].mono_ms: '60000' is not a whole number"),
        (changed(DOCUMENT, "epoch", "00 01 02 03 04 05 06 07"), "^epoch: '00 01 02 03 04 05 06 07' is not 16 hex"),
        (changed(DOCUMENT, "boot", "0011 223344556"), "^boot: '0011 223344556' is not 16 hexadecimal digits"),
        (changed(DOCUMENT, "events.1.data_json", "{"), r"^events\[1\].data_json: data is not JSON"),
        (changed(DOCUMENT, "events.1.data_json", "[]"), r"^events\[1\].data_json: data is not a JSON object"),
        (changed(DOCUMENT, "events.1.data_json", {}), r"^events\[1\].data_json: {} is not text"),
        (
            changed(DOCUMENT, "events.1.data_json", '{"slots":2}'),
            r"^events\[1\].data_json: says something else than data; leave out one",
        ),
        (changed(DOCUMENT, "readings.0.meter", ""), r"^readings\[0\].meter: meter name"),
        (changed(DOCUMENT, "readings.0.series", 1), r"^readings\[0\].series: 1 is not in 0..0"),
        (changed(changed(DOCUMENT, "readings.0.meter", "x"), "readings.0.series", 0), "is of meter 'main'"),
        (changed(DOCUMENT, "readings.0.boot", "00" * 8), r"^readings\[0\].boot: another boot than the batch"),
        (changed(DOCUMENT, "readings.0.at", "today"), r"^readings\[0\].at: 'today' is not ISO 8601"),
        (changed(DOCUMENT, "readings.0.at", "2026-01-31T12:00:00"), "has no Z and no offset"),
        (changed(DOCUMENT, "readings.0.mono_ms", 7), r"^readings\[0\].mono_ms: says another time than at"),
        (changed(PLAIN, "readings.0.at", "1969-12-31T23:59:59Z"), r"^readings\[0\].at: is before the boot"),
        (changed(PLAIN, "readings.0.at", None), r"^readings\[0\].at: missing, and so is mono_ms"),
        (changed(DOCUMENT, "readings.0.values", None), r"^readings\[0\].values: None is not an object"),
        (
            changed(DOCUMENT, "readings.0.values", {1: 1}),
            r"^readings\[0\].values: .* is not an object with text as keys",
        ),
        (
            changed(DOCUMENT, "readings.0.values.voltage_l1_n", "x"),
            r"^readings\[0\].values.voltage_l1_n: 'x' is not a f",
        ),
        (changed(DOCUMENT, "readings.0.values.voltage_l1_n", True), "True is not a finite number"),
        (changed(DOCUMENT, "readings.0.values.voltage_l1_n", float("nan")), "nan is not a finite number"),
        (changed(DOCUMENT, "readings.0.values.voltage_l1_n", 1 << 400), "a number of 401 bits is too large"),
        (changed(DOCUMENT, "readings.0.values.voltage_l1_n", 1e30), "voltage_l1_n: value .* does not fit 64 bits"),
        (changed(PLAIN, "readings.0.values.heat", 1e-13), "^heat: a value has more than 12 decimals"),
        (changed(PLAIN, "readings.0.values.Heat", 1), "measurand name 'Heat'"),
        (
            changed(DOCUMENT, "readings.0.quality", {"frequency": []}),
            r"^readings\[0\].quality.frequency: is a measurand",
        ),
        (
            changed(DOCUMENT, "readings.0.quality", {"own": ["odd"]}),
            r"^readings\[0\].quality.own\[0\]: 'odd' is not a q",
        ),
        (changed(DOCUMENT, "events.1.kind", None), r"^events\[1\].kind: None is not text"),
        (
            changed(DOCUMENT, "events.1.data", {"x": float("inf")}),
            r"^events\[1\].data: data has a number that is not f",
        ),
        (changed(DOCUMENT, "events.1.data", "x" * 100), r"^events\[1\].data: 'x{59}\.\.\. is not an object"),
    ],
)
def test_a_mistake_is_named_with_its_path(document: Any, problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        from_document(document)

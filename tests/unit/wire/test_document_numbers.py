"""Numbers of the JSON document: none is lost to a reader that holds them as 64-bit floats."""

from __future__ import annotations

import json

import pytest

from wire.batch import Batch, BatchKey, Column, Event, Reading, Series, Slots
from wire.document import from_document, safe_document, to_document
from wire.resolution import Resolution

EPOCH, BOOT = bytes(range(8)), bytes(range(8, 16))


@pytest.mark.parametrize("steps", [2**63 - 1, -(2**63), 10**15 + 1, 2**53 + 1, 123_456_789_012_345_678])
@pytest.mark.parametrize(
    "resolution", [Resolution(1, -2), Resolution(7, -12), Resolution(999_999, 12), Resolution(1, 0)]
)
def test_values_beyond_a_float_lose_nothing(steps: int, resolution: Resolution) -> None:
    wide = Series("m", (Column("x", resolution),), (Reading(1, 0, (steps,)),), Slots(1, 1))
    batch = Batch(BatchKey("d", EPOCH, 1, 1), BOOT, None, False, (wide,), ())
    assert from_document(json.loads(json.dumps(to_document(batch)))) == batch


SAFE = 2**53 - 1  # what a float of 64 bits holds, and so JavaScript


def one_value(steps: int, resolution: Resolution, seq: int = 1) -> Batch:
    series = Series("m", (Column("x", resolution),), (Reading(seq, 0, (steps,)),), Slots(1, 1))
    return Batch(BatchKey("d", EPOCH, seq, seq), BOOT, None, False, (series,), ())


@pytest.mark.parametrize(
    ("steps", "resolution", "said"),
    [
        (SAFE, Resolution(1, 0), SAFE),
        (-SAFE, Resolution(1, 0), -SAFE),
        (SAFE + 1, Resolution(1, 0), "9007199254740992"),
        (-SAFE - 1, Resolution(1, 0), "-9007199254740992"),
        (7_120_867_707_683_263_389, Resolution(1, 0), "7120867707683263389"),
        (9_007_199_254_741, Resolution(1, 3), "9007199254741000"),
        (-3, Resolution(999_999, 12), "-2999997000000000000"),
        (10**16, Resolution(1, -1), 1e15),
        (10**17, Resolution(1, -1), "10000000000000000.0"),
        (9_007_199_254_740_991_0, Resolution(1, -1), 9_007_199_254_740_991.0),
        (9_007_199_254_740_992_0, Resolution(1, -1), "9007199254740992.0"),
        (1_234_567_890_123_456, Resolution(1, -2), 12_345_678_901_234.56),
        (123_456_789_012_345_678, Resolution(1, -4), "12345678901234.5678"),
    ],
)
def test_numbers_that_a_float_does_not_hold_are_text(steps: int, resolution: Resolution, said: float | str) -> None:
    batch = one_value(steps, resolution)
    document = safe_document(to_document(batch))
    value = document["readings"][0]["values"]["x"]
    assert (value, type(value)) == (said, type(said))
    assert from_document(json.loads(json.dumps(document))) == batch


def test_large_record_numbers_and_steps_are_text() -> None:
    batch = one_value(0, Resolution(999_999, 12), seq=SAFE + 1)
    document = safe_document(to_document(batch))
    assert (document["first"], document["last"], document["readings"][0]["seq"]) == ("9007199254740992",) * 3
    assert document["meters"][0]["resolution"] == {"x": "999999000000000000"}
    assert from_document(document) == batch
    at_the_limit = safe_document(to_document(one_value(0, Resolution(1, 0), seq=SAFE)))
    assert (at_the_limit["first"], at_the_limit["readings"][0]["seq"]) == (SAFE, SAFE)


def test_large_numbers_in_event_data_are_text_beside_the_data_as_they_are() -> None:
    data = {"n": [SAFE + 1, -SAFE], "text": "9007199254740992", "float": 1e300}
    events = (Event(1, 0, "x", None, data), Event(2, 0, "x", None, {"text": "9007199254740992", "n": SAFE}))
    batch = Batch(BatchKey("d", EPOCH, 1, 2), BOOT, None, False, (), events)
    first, second = safe_document(to_document(batch))["events"]
    assert first["data"] == {**data, "n": ["9007199254740992", -SAFE]}
    assert first["data_json"] == '{"float":1e+300,"n":[9007199254740992,-9007199254740991],"text":"9007199254740992"}'
    assert (second["data"], "data_json" in second) == (events[1].data, False)
    for shown in (first, {**first, "data": data}, {**first, "data": None}):
        assert from_document({"device": "d", "epoch": EPOCH.hex(), "events": [shown]}).events[0].data == data

from __future__ import annotations

import json
from typing import Any

import pytest

from wire.errors import WireError
from wire.receipt import RANGES_MAX, RECEIPT_BYTES_MAX, Receipt, parse_receipt

EPOCH = bytes(range(8))
FULL = Receipt(EPOCH, 123, "0123456789abcdef" * 2, ((130, 140), (150, 150)), ((131, 131, "poison"),), 2.5)


def said(**changes: Any) -> bytes:
    return json.dumps({**json.loads(FULL.to_json()), **changes}).encode()


@pytest.mark.parametrize("receipt", [FULL, Receipt(EPOCH, 0), Receipt(EPOCH, 5, None, (), (), 1.0)])
def test_a_receipt_reads_back(receipt: Receipt) -> None:
    assert parse_receipt(receipt.to_json()) == receipt


def test_the_json_is_as_specified() -> None:
    assert json.loads(FULL.to_json()) == {
        "v": 1,
        "epoch": "0001020304050607",
        "through": 123,
        "digest": "0123456789abcdef0123456789abcdef",
        "ranges": [[130, 140], [150, 150]],
        "held": [[131, 131, "poison"]],
        "pace": 2.5,
    }


def test_unknown_keys_are_ignored_and_hints_may_be_missing() -> None:
    assert parse_receipt(said(weather={"sun": True})) == FULL
    assert parse_receipt(b'{"v": 1, "epoch": "0001020304050607", "through": 0}') == Receipt(EPOCH, 0)
    assert parse_receipt(said(ranges=None, held=None)) == Receipt(EPOCH, FULL.through, FULL.digest, pace=FULL.pace)


def test_the_writer_keeps_to_the_limits_that_the_reader_sets() -> None:
    spans = tuple((2 * i, 2 * i) for i in range(1, 200))
    wide = Receipt(EPOCH, 1, None, spans, tuple((*span, "r" * 500) for span in spans))
    read = parse_receipt(wide.to_json())
    assert read.ranges == spans[:RANGES_MAX]
    assert len(read.held) == RANGES_MAX
    assert len(read.held[0][2]) == 200


@pytest.mark.parametrize("character", ["\U0001f50b", "\\", "\ud800"], ids=["outside ASCII", "escaped", "half a pair"])
def test_reasons_of_uncommon_characters_fit_too(character: str) -> None:
    """In escapes a hundred of them would be more than AWS IoT and the reader take: the box would never be answered."""
    spans = tuple((10**18 + 2 * i, 10**18 + 2 * i) for i in range(100))
    digests = ("f" * 32,) * 100
    held = tuple((*span, character * 200) for span in spans)
    wide = Receipt(EPOCH, 1, None, spans, held, range_digests=digests, answers=digests)
    assert [len(reason) for _, _, reason in parse_receipt(wide.to_json()).held] == [200] * 100


def test_half_a_pair_in_a_reason_is_read_as_a_question_mark() -> None:
    """JSON can say it, SQLite and UTF-8 cannot."""
    ((_, _, reason),) = parse_receipt(said(held=[[131, 131, "bad \ud800 \U0001f50b"]])).held
    assert reason == "bad ? \U0001f50b"


@pytest.mark.parametrize("key", ["v", "epoch", "through", "digest", "ranges", "held", "pace", "answers"])
def test_half_a_pair_elsewhere_is_refused_in_words_that_can_be_stored(key: str) -> None:
    for value in ("\ud800", ["\ud800"], [[1, 2, ["\ud800"]]]):
        with pytest.raises(WireError) as caught:
            parse_receipt(said(**{key: value}))
        assert str(caught.value).encode()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "receipt is not JSON"),
        (b"\xff", "receipt is not JSON"),
        (b"[" * 100_000, "receipt is not JSON"),
        (b" " * (RECEIPT_BYTES_MAX + 1), "receipt of 131073 bytes is over 131072"),
        (b"[]", "receipt is not a JSON object"),
        (said(v=2), "receipt v is 2, this reader knows 1"),
        (said(epoch=None), "receipt epoch is None, not"),
        (said(epoch="000102030405060"), "receipt epoch is '000102030405060', not"),
        (said(epoch="0001020304050607\n"), "receipt epoch is"),
        (said(through=-1), "receipt through is -1, not a whole number in 0"),
        (said(through=True), "receipt through is True"),
        (said(through=1.0), "receipt through is 1.0"),
        (said(through=1 << 63), "receipt through is 9223372036854775808"),
        (said(digest="x" * 500), r"receipt digest is '.*\.\.\., not"),
        (said(ranges={}), "receipt ranges is not a list of at most 100"),
        (said(ranges="ab"), "receipt ranges is not a list of at most 100"),
        (said(ranges=[[1, 2]] * 101), "receipt ranges is not a list of at most 100"),
        (said(ranges=[[1]]), r"receipt ranges\[0\] is \[1\], not \[first, last\]"),
        (said(ranges=[7]), r"receipt ranges\[0\] is 7, not \[first, last\]"),
        (said(ranges=[[1, 2], [5, 4]]), r"receipt ranges\[1\] is 4, not a whole number in 5"),
        (said(held=[[1, 2]]), r"receipt held\[0\] is \[1, 2\], not \[first, last, reason\]"),
        (said(held=[[1, 2, 3]]), r"receipt held\[0\] is \[1, 2, 3\], not"),
        (said(pace=0), "receipt pace is 0, not a number over 0"),
        (said(pace=False), "receipt pace is False"),
        (said(pace="fast"), "receipt pace is 'fast'"),
        (said(pace=float("nan")), "receipt pace is nan"),
    ],
)
def test_anything_else_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        parse_receipt(data)

"""docs/wire-format.md says what the code does."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import pytest

from wire import limits, receipt, topics
from wire.batch import Quality
from wire.codec import decode, digest, encode
from wire.document import from_document, to_document
from wire.header import open_batch
from wire.measurand import VOCABULARY
from wire.receipt import parse_receipt

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "wire-format.md").read_text(encoding="utf-8")


def block(info: str) -> str:
    found = re.search(rf"^```{info}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found, info
    return found[1]


def octets(info: str) -> bytes:
    """The bytes of a block: what stands before three spaces in each line."""
    return b"".join(bytes.fromhex(line.split("   ")[0]) for line in block(info).splitlines())


BATCH = octets("hex batch")


def test_the_worked_example_decodes_to_its_document() -> None:
    assert to_document(decode(BATCH)) == json.loads(block("json document"))


def test_the_worked_example_is_explained_to_the_byte() -> None:
    _, reader = open_batch(BATCH)
    assert octets("hex header") == BATCH[: reader.pos]
    assert octets("hex body") == zlib.decompress(BATCH[reader.pos : -4], -15)
    assert f"`{digest(BATCH)}`" in PAGE
    assert f"A batch of {len(BATCH)} bytes" in PAGE


def test_this_writer_writes_the_worked_example() -> None:
    written = encode(from_document(json.loads(block("json document"))))
    _, reader = open_batch(written)
    assert written[: reader.pos] == octets("hex header")
    assert zlib.decompress(written[reader.pos : -4], -15) == octets("hex body")


def test_the_receipt_parses() -> None:
    read = parse_receipt(block("json receipt").encode())
    assert (read.through, read.ranges, read.pace) == (123, ((130, 140),), None)


@pytest.mark.parametrize(
    "words",
    [
        f"{limits.BATCH_BYTES_MAX >> 20} MiB (2^20 bytes)",
        f"{limits.BODY_BYTES_MAX >> 20} MiB (2^22 bytes)",
        f"{limits.SERIES_MAX} each",
        f"| {limits.READINGS_MAX:,} |",
        f"| {limits.VALUES_MAX:,} |",
        f"{limits.EVENTS_MAX:,}, with {limits.EVENT_BYTES_MAX:,} bytes",
        f"nests at most {limits.EVENT_DEPTH_MAX} deep",
        f"at most {receipt.RANGES_MAX}",
        f"at most {receipt.REASON_CHARS_MAX} characters",
        f"at most {receipt.RECEIPT_BYTES_MAX >> 10} KiB",
        f"{topics.TOPIC_BYTES_MAX} bytes of UTF-8 and {topics.TOPIC_SLASHES_MAX} slashes",
    ],
)
def test_the_limits_are_those_of_the_code(words: str) -> None:
    assert words in " ".join(PAGE.split())


def test_the_quality_flags_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| ([0-9]+) \| `([a-z_]+)` \|", PAGE, re.MULTILINE)
    assert {name: 1 << int(bit) for bit, name in rows} == {str(f.name).lower(): f.value for f in Quality}


def test_the_measurands_are_numbered_once_and_named_once() -> None:
    assert len({m.number for m in VOCABULARY}) == len({m.name for m in VOCABULARY}) == len(VOCABULARY)
    table = (DOCS / "measurands.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([0-9]+) \| `([a-z0-9_]+)` \| (\S+) \| (\S+) \|", table, re.MULTILINE)
    assert rows == [(str(m.number), m.name, m.unit, m.kind) for m in VOCABULARY]

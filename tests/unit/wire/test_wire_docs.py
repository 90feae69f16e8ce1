"""docs/wire-format.md says what the code does."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import pytest

from wire import limits, receipt, topics
from wire.batch import Anchor, Batch, BatchKey, Column, Event, Quality, Reading, Series, Slots
from wire.codec import decode, digest, encode
from wire.document import from_document, safe_document, to_document
from wire.header import open_batch
from wire.measurand import VOCABULARY
from wire.receipt import parse_receipt
from wire.resolution import Resolution

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


def test_the_shortest_document_is_a_batch() -> None:
    batch = from_document(json.loads(block("json shortest")))
    assert (batch.key, batch.anchor) == (BatchKey("gateway-7", bytes(7) + b"\xaa", 1, 2), Anchor(0, 0))
    (series,) = batch.series
    assert series.slots == Slots(2, 2, 0)
    names = ["voltage_l1_n", "heat", "energy_active_import_total"]
    steps = [Resolution(1, -1), Resolution(1, -2), Resolution(1, 0)]
    assert series.columns == tuple(map(Column, names, steps))
    assert [reading.values for reading in series.readings] == [(2304, 125, None), (None, 250, 7)]


NUMBERS = re.findall(r"^\| ([0-9.]+) \| (-?[0-9]+) \| `(.+)` \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("step", "steps", "written"), NUMBERS, ids=str)
def test_a_number_is_written_as_the_table_says(step: str, steps: str, written: str) -> None:
    series = Series("m", (Column("x", Resolution.parse(step)),), (Reading(1, 0, (int(steps),)),))
    batch = Batch(BatchKey("d", bytes(8), 1, 1), bytes(8), None, False, (series,))
    document = safe_document(to_document(batch))
    assert json.dumps(document["readings"][0]["values"]["x"]) == written
    assert from_document(json.loads(json.dumps(document))) == batch


def test_the_table_of_numbers_is_there() -> None:
    assert len(NUMBERS) == 9


def rows_after(words: str) -> set[str]:
    """The names in the first column of the table that follows these words."""
    table = PAGE.split(words)[1].split("|---|---|---|\n")[1].split("\n\n")[0]
    return {name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1])}


def test_the_tables_of_the_document_have_every_key_that_decode_writes() -> None:
    columns = (Column("x", Resolution(1, 0)),)
    series = Series("m", columns, (Reading(1, 0, (1,)),))
    events = (Event(2, 0, "x", None, {"n": 2**60}),)
    batch = Batch(BatchKey("d", bytes(8), 1, 2), bytes(8), None, False, (series, series), events)
    document = safe_document(to_document(batch))
    assert set(document) | {"resolution"} == rows_after("## Document")
    assert set(document["meters"][0]) == rows_after("A member of `meters`:")
    assert set(document["readings"][0]) == rows_after("A member of `readings`:")
    assert set(document["events"][0]) == rows_after("A member of `events`:")


@pytest.mark.parametrize(
    ("said", "meant"),
    [(10, Resolution(1, 1)), ("10e-1", Resolution(10, -1)), ("25e-2", Resolution(25, -2)), ("0.10", Resolution(1, -1))],
)
def test_a_step_is_read_as_the_page_says(said: object, meant: Resolution) -> None:
    given = {**json.loads(block("json shortest")), "resolution": {"heat": said}}
    assert from_document(given).series[0].columns[1].resolution == meant


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

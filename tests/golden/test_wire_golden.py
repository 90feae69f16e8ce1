"""Batches of format version 1 that were written once. If one of these fails, the format has changed: make a version 2.

The files are not to be written anew. A new feature of version 1's writer adds files.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest

from wire.codec import decode, encode
from wire.document import from_document, to_document
from wire.header import open_batch

FOLDER = Path(__file__).with_name("batches_v1")
BATCHES = sorted(FOLDER.glob("*.wpb"))


def parts(data: bytes) -> tuple[bytes, bytes]:
    """Header and inflated body: another zlib may deflate the same body to other bytes."""
    _, reader = open_batch(data)
    return data[: reader.pos], zlib.decompress(reader.take(reader.left, "body"), -15)


def test_the_files_are_there() -> None:
    assert len(BATCHES) == 8


@pytest.mark.parametrize("path", BATCHES, ids=lambda path: path.stem)
def test_a_batch_of_version_1_says_what_it_said(path: Path) -> None:
    assert to_document(decode(path.read_bytes())) == json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", BATCHES, ids=lambda path: path.stem)
def test_the_writer_writes_the_same_header_and_body(path: Path) -> None:
    document = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert parts(encode(from_document(document))) == parts(path.read_bytes())

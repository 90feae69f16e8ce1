"""Serial numbers as meters hold them."""

from __future__ import annotations

import pytest

from drivers.modbus.nameplate import nameplate_text


@pytest.mark.parametrize(
    ("kind", "word_order", "data", "text"),
    [
        ("uint32", "big", b"\x01\x5e\xa1\x00", "22978816"),
        ("uint32", "little", b"\xa1\x00\x01\x5e", "22978816"),
        ("uint16", "big", b"\x00\x07", "7"),
        ("ascii", "big", b"SN-4711 \0\0", "SN-4711"),
        ("ascii", "big", b"AB\0junk", "AB"),
        ("ascii", "big", b"A\x81B\n1", "AB1"),
        ("ascii", "little", b"CDAB", "ABCD"),
        ("uint32", "big", b"\0\0\0\0", ""),
        ("uint32", "big", b"\xff\xff\xff\xff", ""),
        ("ascii", "big", b"\0\0\0\0", ""),
        ("ascii", "big", b"    ", ""),
    ],
)
def test_texts_and_numbers(kind: str, word_order: str, data: bytes, text: str) -> None:
    assert nameplate_text(kind, word_order, data) == text

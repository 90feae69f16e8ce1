from __future__ import annotations

import pytest

from wire.errors import WireError
from wire.varint import UINT64_MAX, Reader, pack_planes, svarint, unzigzag, uvarint, zigzag

EDGES = [0, 1, 127, 128, 16383, 16384, 2**32, 2**63, UINT64_MAX]


@pytest.mark.parametrize(
    ("number", "octets"), [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (UINT64_MAX, "ff" * 9 + "01")]
)
def test_leb128_is_the_usual_one(number: int, octets: str) -> None:
    assert uvarint(number).hex() == octets


@pytest.mark.parametrize(
    ("signed", "unsigned"), [(0, 0), (-1, 1), (1, 2), (2**63 - 1, 2**64 - 2), (-(2**63), 2**64 - 1)]
)
def test_zigzag_keeps_small_numbers_small(signed: int, unsigned: int) -> None:
    assert zigzag(signed) == unsigned
    assert unzigzag(unsigned) == signed
    assert Reader(svarint(signed)).svarint("x") == signed


@pytest.mark.parametrize("number", EDGES)
def test_a_varint_reads_back(number: int) -> None:
    assert Reader(uvarint(number)).uvarint("x") == number


def test_planes_put_first_bytes_first() -> None:
    assert pack_planes([1, 300, 2, 70000]) == bytes([1, 0xAC, 2, 0xF0, 0x02, 0xA2, 0x04])
    assert pack_planes([]) == b""


def test_planes_read_back_at_every_width() -> None:
    numbers = [*EDGES, *reversed(EDGES)]
    reader = Reader(pack_planes(numbers) + b"rest")
    assert reader.planes(len(numbers), "x") == numbers
    assert reader.take(reader.left, "rest") == b"rest"


@pytest.mark.parametrize(
    ("octets", "problem"),
    [
        ("", "1 bytes declared, 0 left"),
        ("80", "1 bytes declared, 0 left"),
        ("8000", "longer than needed"),
        ("ff" * 10 + "01", "longer than 10 bytes"),
        ("ff" * 9 + "02", "is over 18446744073709551615"),
    ],
)
def test_a_bad_varint_is_refused(octets: str, problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        Reader(bytes.fromhex(octets)).uvarint("x")


@pytest.mark.parametrize(
    ("octets", "count", "problem"),
    [
        ("01", 2, "2 bytes declared, 1 left"),
        ("8180", 2, "2 bytes declared, 0 left"),
        ("8100", 1, "longer than needed"),
        ("ff" * 11, 1, "longer than 10 bytes"),
        ("ff" * 9 + "02", 1, "over 64 bits"),
    ],
)
def test_bad_planes_are_refused(octets: str, count: int, problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        Reader(bytes.fromhex(octets)).planes(count, "x")


def test_text_is_bounded_and_utf8() -> None:
    assert Reader("\x03Wé".encode()).text("x", 10) == "Wé"
    with pytest.raises(WireError, match="length of x at byte 0: 11 is over 10"):
        Reader(b"\x0b" + b"a" * 11).text("x", 10)
    with pytest.raises(WireError, match="not UTF-8"):
        Reader(b"\x01\xff").text("x", 10)

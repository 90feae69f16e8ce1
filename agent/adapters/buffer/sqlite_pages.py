"""Rows of an SQLite file straight from its leaf pages, past damaged pages that should lead to them.

As far as https://www.sqlite.org/fileformat2.html is needed for tables (sections 1.6, 2 and 4). Nothing is believed of
the bytes: what makes no sense is no row, and what was deleted a while ago may pass for one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

LEAF = b"\x0d"  # the first byte of a leaf of a table; an overflow page begins with the high byte of a page number, 0
LEAF_HEADER_BYTES = 8
CHUNK_PAGES = 2048
OFFSET_BITS, PLACE_BITS = 16, 48
VARINT_BYTES_MAX = 9
PAGES_MAX = 1 << 25  # what lies beyond is not looked at
HEADER_BYTES_MAX = 128  # of a row: of some 60 columns
PAYLOAD_BYTES_MAX = 4 << 20  # of a row, all of which is read at once
WAL_BYTES_MAX = 16 << 20
WAL_HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
WAL_LITTLE_ENDIAN, WAL_BIG_ENDIAN = 0x377F0682, 0x377F0683
INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8)  # by serial type
FLOAT, ZERO, ONE, FIRST_BLOB = 7, 8, 9, 12

Value = int | float | bytes | str | None


class NoRowError(Exception):
    """Bytes that are no row."""


class SqlitePages:
    """The pages of the file at `path`, and in the place of some those that its WAL has committed."""

    def __init__(self, path: Path, page_bytes: int) -> None:
        self._page_bytes = page_bytes
        self._file = path.open("rb")
        self._pages = min(path.stat().st_size // page_bytes, PAGES_MAX)
        self._newer = _committed(_start_of(path.with_name(path.name + "-wal")), page_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def rows(self, is_wanted: Callable[[Sequence[int]], bool]) -> Iterator[tuple[int, int]]:
        """`(row id, place)` of the rows of whose serial types `is_wanted` says so; of old copies, too.

        A place has `PLACE_BITS` and is not 0: the number of the page, and the offset in it.
        """
        free = self._free()
        for number in self._leaves():
            if free[number]:
                continue
            with suppress(NoRowError):
                page = self._page(number)
                for at in _cells(page):
                    row_id = _row_id(page, at, is_wanted)
                    if row_id is not None:
                        yield row_id, number << OFFSET_BITS | at

    def read(self, place: int) -> Sequence[Value]:
        """The values of a row; an id that stands for the row id is None. Raises `NoRowError`."""
        page = self._page(place >> OFFSET_BITS)
        size, start = _varint(page, place & ((1 << OFFSET_BITS) - 1))
        _row_id, start = _varint(page, start)
        payload = self._payload(page, start, size)
        types, at = _types(payload)
        values = []
        for type_ in types:
            value, at = _value(payload, at, type_)
            values.append(value)
        return values

    def _payload(self, page: bytes, start: int, size: int) -> bytes:
        """With what lies on overflow pages."""
        usable = len(page)
        if size > PAYLOAD_BYTES_MAX:
            raise NoRowError
        if size <= usable - 35:
            return page[start : start + size]
        least = (usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (usable - 4)
        if local > usable - 35:
            local = least
        parts = [page[start : start + local]]
        left, following = size - local, _number(page, start + local)
        while left > 0:
            overflow = self._page(following)
            parts.append(overflow[4 : 4 + min(left, usable - 4)])
            left -= usable - 4
            following = _number(overflow, 0)
        return b"".join(parts)

    def _page(self, number: int) -> bytes:
        newer = self._newer.get(number)
        if newer is not None:
            return newer
        if not 0 < number <= self._pages:
            raise NoRowError
        page = self._read(number, 1)
        if len(page) < self._page_bytes:
            raise NoRowError
        return page

    def _read(self, number: int, pages: int) -> bytes:
        try:
            self._file.seek((number - 1) * self._page_bytes)
            return self._file.read(pages * self._page_bytes)
        except OSError as error:  # the card cannot read it any more
            raise NoRowError from error

    def _leaves(self) -> Iterator[int]:
        """The numbers of what looks like a leaf of a table."""
        for first in range(0, self._pages, CHUNK_PAGES):
            kinds = self._first_bytes(first)
            at = kinds.find(LEAF)
            while at >= 0:
                if first + at + 1 not in self._newer:
                    yield first + at + 1
                at = kinds.find(LEAF, at + 1)
        yield from sorted(number for number, page in self._newer.items() if page.startswith(LEAF))

    def _first_bytes(self, first: int) -> bytes:
        """Of `CHUNK_PAGES` pages, or what there are, after the first `first`; zeros for what cannot be read."""
        count = min(CHUNK_PAGES, self._pages - first)
        with suppress(NoRowError):
            return self._read(first + 1, count)[:: self._page_bytes]
        kinds = bytearray(count)
        for index in range(count):
            with suppress(NoRowError):
                kinds[index] = self._page(first + 1 + index)[0]
        return bytes(kinds)

    def _free(self) -> bytearray:
        """By page number whether it is a free one; none is where their list is not as long as the header says."""
        pages = max(self._pages, *self._newer, 0)
        free = bytearray(pages + 1)
        with suppress(NoRowError):
            header = self._page(1)
            trunk = _number(header, 32)
            while 0 < trunk <= pages and not free[trunk]:
                page, free[trunk] = self._page(trunk), 1
                trunk, count = _number(page, 0), _number(page, 4)
                for number in struct.unpack_from(f">{min(count, len(page) // 4 - 2)}I", page, 8):
                    if number <= pages:
                        free[number] = 1
            if trunk == 0 and sum(free) == _number(header, 36):
                return free
        return bytearray(pages + 1)


def blob_type(size: int) -> int:
    """The serial type of so many bytes."""
    return FIRST_BLOB + 2 * size


def _start_of(wal: Path) -> bytes:
    try:
        with wal.open("rb") as file:
            return file.read(WAL_BYTES_MAX)
    except OSError:
        return b""


def _committed(wal: bytes, page_bytes: int) -> dict[int, bytes]:
    """The newest version of each page, up to the last frame that ends a transaction and is whole like all before it."""
    newest: dict[int, bytes] = {}
    pending: dict[int, bytes] = {}
    if len(wal) < WAL_HEADER_BYTES:
        return newest
    magic, _version, size, _checkpoints, salts, *_ = struct.unpack_from(">4I8s2I", wal)
    order = {WAL_LITTLE_ENDIAN: "<", WAL_BIG_ENDIAN: ">"}.get(magic)
    if order is None or size != page_bytes:
        return newest
    sums = _checksum(order, wal[:24], (0, 0))
    if sums != struct.unpack_from(">2I", wal, 24):
        return newest
    for at in range(WAL_HEADER_BYTES, len(wal) - FRAME_HEADER_BYTES - page_bytes + 1, FRAME_HEADER_BYTES + page_bytes):
        number, pages, frame_salts, *expected = struct.unpack_from(">2I8s2I", wal, at)
        page = wal[at + FRAME_HEADER_BYTES : at + FRAME_HEADER_BYTES + page_bytes]
        sums = _checksum(order, wal[at : at + 8] + page, sums)
        if frame_salts != salts or sums != tuple(expected):
            break
        pending[number] = page
        if pages:  # so many has the file from here on: the transaction ends
            newest |= {number: page for number, page in pending.items() if number <= min(pages, PAGES_MAX)}
            pending.clear()
    return newest


def _checksum(order: str, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    for one, other in struct.iter_unpack(f"{order}2I", data):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second


def _number(data: bytes, at: int) -> int:
    if at + 4 > len(data):
        raise NoRowError
    return int.from_bytes(data[at : at + 4], "big")


def _cells(page: bytes) -> Sequence[int]:
    """The offsets of the rows in a leaf."""
    count = min(int.from_bytes(page[3:5], "big"), (len(page) - LEAF_HEADER_BYTES) // 2)
    return sorted(set(struct.unpack_from(f">{count}H", page, LEAF_HEADER_BYTES)))


def _row_id(page: bytes, at: int, is_wanted: Callable[[Sequence[int]], bool]) -> int | None:
    try:
        _size, start = _varint(page, at)
        row_id, start = _varint(page, start)
        return row_id if is_wanted(_types(page[start:])[0]) else None
    except NoRowError:
        return None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and where the next begins."""
    value = 0
    for count, byte in enumerate(data[at : at + VARINT_BYTES_MAX], 1):
        if count == VARINT_BYTES_MAX:
            return (value << 8) | byte, at + count
        value = (value << 7) | (byte & 0x7F)
        if not byte & 0x80:
            return value, at + count
    raise NoRowError


def _types(payload: bytes) -> tuple[list[int], int]:
    """The serial types of a row, and where its values begin."""
    end, at = _varint(payload, 0)
    if end > HEADER_BYTES_MAX:
        raise NoRowError
    header, types = payload[:end], []
    while at < end:
        type_, at = _varint(header, at)
        types.append(type_)
    return types, end


def _value(payload: bytes, at: int, type_: int) -> tuple[Value, int]:
    if type_ < FLOAT:
        size = INTEGER_BYTES[type_]
    elif type_ == FLOAT:
        size = 8
    else:
        size = 0 if type_ < FIRST_BLOB else (type_ - FIRST_BLOB) // 2
    data = payload[at : at + size]
    if len(data) < size:
        raise NoRowError
    if type_ >= FIRST_BLOB:
        return (data.decode(errors="replace") if type_ % 2 else data), at + size
    if type_ == FLOAT:
        return struct.unpack(">d", data)[0], at + size
    if type_ in (ZERO, ONE):
        return type_ - ZERO, at
    return (int.from_bytes(data, "big", signed=True) if type_ else None), at + size

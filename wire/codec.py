"""A batch as bytes and back: format version 1 of `docs/wire-format.md`."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from operator import ge

from wire.batch import Batch, Event, Reading
from wire.errors import WireError
from wire.events import encode_events, read_events
from wire.header import CRC_BYTES, Header, encode_header, open_batch
from wire.limits import BATCH_BYTES_MAX, BODY_BYTES_MAX, SERIES_MAX, TIME_MS_MAX, check_range
from wire.series import Budget, encode_series, read_series
from wire.varint import Reader, uvarint

__all__ = ["Header", "decode", "digest", "encode", "peek"]

DIGEST_BYTES = 16
_RAW_WINDOW_BITS = -15
_MEMORY_LEVEL = 9
# Raw deflate leaves the writer free: each way is tried, the shortest is sent. True ends a block after each column.
_DEFLATE_WAYS = (
    (zlib.Z_DEFAULT_STRATEGY, False),
    (zlib.Z_FILTERED, False),
    (zlib.Z_RLE, True),
)


def encode(batch: Batch) -> bytes:
    """The bytes of a batch; the same batch gives the same bytes. Raises `WireError` on what the format cannot say."""
    header = encode_header(batch)
    _check_records(batch)
    first = batch.key.first
    base_ms = min(
        chain((r.mono_ms for s in batch.series for r in s.readings), (e.mono_ms for e in batch.events)), default=0
    )
    budget = Budget()
    parts = [uvarint(base_ms) + uvarint(check_range("number of series", len(batch.series), 0, SERIES_MAX))]
    for series in batch.series:
        head, *planes = encode_series(series, first, base_ms, budget)
        parts[-1] += head
        parts += planes
        parts.append(b"")
    parts[-1] += encode_events(batch.events, first, base_ms)
    check_range("bytes of body", sum(map(len, parts)), 0, BODY_BYTES_MAX)
    data = header + _deflate([part for part in parts if part])
    check_range("bytes of batch", len(data) + CRC_BYTES, 0, BATCH_BYTES_MAX)
    return data + zlib.crc32(data).to_bytes(CRC_BYTES, "little")


def decode(data: bytes) -> Batch:
    """The batch of whole batch bytes. Raises only `WireError`; memory and time are bounded by `wire.limits`."""
    header, rest = open_batch(data)
    reader = Reader(_inflate(rest.take(rest.left, "body")))
    first = header.key.first
    base_ms = reader.uvarint("base of times", TIME_MS_MAX)
    count = reader.uvarint("number of series", SERIES_MAX)
    budget = Budget()
    series = tuple(read_series(reader, first, base_ms, budget) for _ in range(count))
    events = read_events(reader, first, base_ms)
    if reader.left:
        raise WireError(f"body has {reader.left} bytes after its end")
    batch = Batch(header.key, header.boot, header.anchor, header.confirm_wanted, series, events)
    _check_records(batch)
    return batch


def peek(data: bytes) -> Header:
    """The header of whole batch bytes: CRC checked, body not looked at. Raises only `WireError`."""
    return open_batch(data)[0]


def digest(data: bytes) -> str:
    """What a receipt calls these batch bytes: 32 hex digits, the first 16 bytes of their SHA-256."""
    return hashlib.sha256(data).hexdigest()[: 2 * DIGEST_BYTES]


def _check_records(batch: Batch) -> None:
    """Numbers ascend within each series and the events, lie in the range of the batch, and name one record each."""
    owners: list[tuple[str, Sequence[Reading] | Sequence[Event]]] = [
        (f"meter {series.meter!r}", series.readings) for series in batch.series
    ]
    owners.append(("events", batch.events))
    used: set[int] = set()
    total = 0
    for owner, records in owners:
        if not records:
            continue
        numbers = [record.seq for record in records]
        times = [record.mono_ms for record in records]
        if any(map(ge, numbers, islice(numbers, 1, None))):
            raise WireError(f"{owner}: record numbers do not ascend")
        check_range(f"{owner}: seq", numbers[0], batch.key.first, batch.key.last)
        check_range(f"{owner}: seq", numbers[-1], batch.key.first, batch.key.last)
        check_range(f"{owner}: mono_ms", min(times), 0, TIME_MS_MAX)
        check_range(f"{owner}: mono_ms", max(times), 0, TIME_MS_MAX)
        used.update(numbers)
        total += len(numbers)
    if len(used) != total:
        raise WireError("a record number is used twice")


def _deflate(parts: Sequence[bytes]) -> bytes:
    return min((_deflate_one_way(parts, strategy, split) for strategy, split in _DEFLATE_WAYS), key=len)


def _deflate_one_way(parts: Iterable[bytes], strategy: int, split: bool) -> bytes:  # noqa: FBT001 - a table's column
    packer = zlib.compressobj(9, zlib.DEFLATED, _RAW_WINDOW_BITS, _MEMORY_LEVEL, strategy)
    out = bytearray()
    for part in parts:
        out += packer.compress(part)
        if split:
            out += packer.flush(zlib.Z_BLOCK)
    return bytes(out + packer.flush())


def _inflate(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(_RAW_WINDOW_BITS)
    try:
        body = unpacker.decompress(data, BODY_BYTES_MAX + 1)
    except zlib.error as error:
        raise WireError(f"body is not deflate data: {error}") from error
    if len(body) > BODY_BYTES_MAX:
        raise WireError(f"body inflates to more than {BODY_BYTES_MAX} bytes")
    if not unpacker.eof:
        raise WireError("body is cut short")
    if unpacker.unused_data:
        raise WireError(f"{len(unpacker.unused_data)} bytes between body and CRC")
    return body

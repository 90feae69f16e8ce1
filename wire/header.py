"""The header of a batch: what routing, the ledger and the buffer need, readable without inflating the body."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from wire.batch import BOOT_BYTES, EPOCH_BYTES, Anchor, Batch, BatchKey
from wire.errors import WireError
from wire.limits import BATCH_BYTES_MAX, DEVICE_CHARS_MAX, REV_MAX, SEQ_MAX, TIME_MS_MAX, check_device, check_range
from wire.varint import Reader, uvarint

MAGIC = b"WP"
VERSION = 1
CONFIRM_WANTED = 1
HAS_ANCHOR = 2
CRC_BYTES = 4


@dataclass(frozen=True, slots=True)
class Header:
    """What `peek` says of a batch."""

    key: BatchKey
    boot: bytes
    anchor: Anchor | None
    confirm_wanted: bool


def encode_header(batch: Batch) -> bytes:
    """The bytes of a batch before its body; raises `WireError` on what a header cannot say."""
    key, anchor = batch.key, batch.anchor
    device = check_device(key.device).encode()
    _check_size("epoch", key.epoch, EPOCH_BYTES)
    _check_size("boot", batch.boot, BOOT_BYTES)
    check_range("first", key.first, 1, SEQ_MAX)
    check_range("last", key.last, key.first, SEQ_MAX)
    check_range("rev", key.rev, 0, REV_MAX)
    flags = (CONFIRM_WANTED if batch.confirm_wanted else 0) | (HAS_ANCHOR if anchor else 0)
    out = bytearray(MAGIC)
    out += bytes((VERSION, flags))
    out += uvarint(len(device)) + device + key.epoch + batch.boot
    out += uvarint(key.first) + uvarint(key.last - key.first) + uvarint(key.rev)
    if anchor:
        out += uvarint(check_range("boot_utc_ms", anchor.boot_utc_ms, 0, TIME_MS_MAX))
        out += uvarint(check_range("uncertainty_ms", anchor.uncertainty_ms, 0, TIME_MS_MAX))
    return bytes(out)


def _check_size(what: str, data: bytes, size: int) -> None:
    if len(data) != size:
        raise WireError(f"{what} has {len(data)} bytes instead of {size}")


def open_batch(data: bytes) -> tuple[Header, Reader]:
    """The header of whole batch bytes whose CRC is right, and a reader of the body that follows."""
    if len(data) > BATCH_BYTES_MAX:
        raise WireError(f"batch of {len(data)} bytes is over {BATCH_BYTES_MAX}")
    if data[:2] != MAGIC:
        raise WireError(f"not a batch: starts with {data[:2].hex() or 'nothing'} instead of {MAGIC.hex()} ('WP')")
    if len(data) < len(MAGIC) + 1 + CRC_BYTES:
        raise WireError(f"batch cut short: {len(data)} bytes")
    if data[2] != VERSION:
        raise WireError(f"batch has format version {data[2]}, this reader knows version {VERSION}")
    end = len(data) - CRC_BYTES
    said, found = int.from_bytes(data[end:], "little"), zlib.crc32(memoryview(data)[:end])
    if said != found:
        raise WireError(f"batch damaged or cut short: CRC-32 is {found:08x}, the batch says {said:08x}")
    reader = Reader(data, 3, end)
    return _read_header(reader), reader


def _read_header(reader: Reader) -> Header:
    flags = reader.byte("flags")
    if flags & ~(CONFIRM_WANTED | HAS_ANCHOR):
        raise WireError(f"header flags {flags:#04x} are not known to version {VERSION}")
    device = check_device(reader.text("device", DEVICE_CHARS_MAX))
    epoch = reader.take(EPOCH_BYTES, "epoch")
    boot = reader.take(BOOT_BYTES, "boot")
    first = check_range("first", reader.uvarint("first"), 1, SEQ_MAX)
    last = check_range("last", first + reader.uvarint("last"), first, SEQ_MAX)
    rev = reader.uvarint("rev", REV_MAX)
    anchor = None
    if flags & HAS_ANCHOR:
        anchor = Anchor(reader.uvarint("boot_utc_ms", TIME_MS_MAX), reader.uvarint("uncertainty_ms", TIME_MS_MAX))
    return Header(BatchKey(device, epoch, first, last, rev), boot, anchor, bool(flags & CONFIRM_WANTED))

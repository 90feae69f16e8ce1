"""The archive object: all batches of one invocation with their provenance, named by the SHA-256 of its bytes.

Layout: `WPA1` and a line feed; per batch u32 length of header, u32 length of data (big endian), header (JSON), data.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from cloud.ports import Delivery

MAGIC = b"WPA1\n"
_PROVENANCE = ("device", "door", "principal", "client_id", "trace")
_LENGTHS = struct.Struct(">II")


class ArchiveError(ValueError):
    """An archive object that is not as described above."""


def pack(deliveries: Sequence[Delivery]) -> bytes:
    """The object for `deliveries`; nothing in it depends on the time, so that a retry writes the same object."""
    parts = [MAGIC]
    for delivery in deliveries:
        header = json.dumps(provenance(delivery), separators=(",", ":"), sort_keys=True).encode()
        parts += [_LENGTHS.pack(len(header), len(delivery.data)), header, delivery.data]
    return b"".join(parts)


def unpack(data: bytes) -> Iterator[Delivery]:
    """The deliveries of one object, for a rebuild (which deduplicates by key of batch)."""
    if not data.startswith(MAGIC):
        raise ArchiveError(f"archive object starts with {data[:5]!r}, not {MAGIC!r}")
    at = len(MAGIC)
    while at < len(data):
        if at + _LENGTHS.size > len(data):
            raise ArchiveError(f"archive object ends inside the lengths at byte {at}")
        header_bytes, data_bytes = _LENGTHS.unpack_from(data, at)
        at += _LENGTHS.size
        end = at + header_bytes + data_bytes
        if end > len(data):
            raise ArchiveError(f"archive object ends at byte {len(data)}, inside a batch that reaches to {end}")
        header = json.loads(data[at : at + header_bytes])
        yield Delivery(data=data[at + header_bytes : end], **header)
        at = end


def name_of(data: bytes) -> str:
    """The SHA-256 of an object, in hex."""
    return hashlib.sha256(data).hexdigest()


def delivered(note: object, data: bytes) -> Delivery | None:
    """The delivery of `data` from a note that has its `provenance`; None for a note of something else."""
    if not isinstance(note, dict) or not isinstance(note.get("device"), str) or not isinstance(note.get("door"), str):
        return None
    fields: dict[str, Any] = {name: note.get(name) for name in _PROVENANCE}
    return Delivery(data=data, **fields)


def provenance(delivery: Delivery) -> dict[str, str | None]:
    """Everything of a delivery but its bytes."""
    return {name: getattr(delivery, name) for name in _PROVENANCE}

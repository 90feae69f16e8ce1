"""The archive object: all batches of one invocation with their provenance, named by the SHA-256 of its bytes.

Layout: `WPA1` and a line feed; per batch u32 length of header, u32 length of data (big endian), header (JSON), data.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from cloud.ports import InboundMessage

MAGIC = b"WPA1\n"
_PROVENANCE = ("device", "door", "principal", "client_id", "trace")
_LENGTHS = struct.Struct(">II")


class ArchiveError(ValueError):
    """An archive object that does not have the layout above."""


def pack(messages: Sequence[InboundMessage]) -> bytes:
    """The object for `messages`. It does not depend on the time, so that a retry writes the same object."""
    parts = [MAGIC]
    for message in messages:
        header = json.dumps(provenance(message), separators=(",", ":"), sort_keys=True).encode()
        parts += [_LENGTHS.pack(len(header), len(message.data)), header, message.data]
    return b"".join(parts)


def unpack(data: bytes) -> Iterator[InboundMessage]:
    """The messages of one object. A rebuild of the stores must remove duplicates by the key of the batch."""
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
        yield InboundMessage(data=data[at + header_bytes : end], **header)
        at = end


def name_of(data: bytes) -> str:
    """The SHA-256 of an object, in hex."""
    return hashlib.sha256(data).hexdigest()


def message_of_note(note: object, data: bytes) -> InboundMessage | None:
    """The message that a note in quarantine belongs to; None if the note has no provenance."""
    if not isinstance(note, dict) or not isinstance(note.get("device"), str) or not isinstance(note.get("door"), str):
        return None
    fields: dict[str, Any] = {name: note.get(name) for name in _PROVENANCE}
    return InboundMessage(data=data, **fields)


def provenance(message: InboundMessage) -> dict[str, str | None]:
    """Everything of a message except its bytes."""
    return {name: getattr(message, name) for name in _PROVENANCE}

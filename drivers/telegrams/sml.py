"""SML, the Smart Message Language of German meters, as they push it: transport version 1, GetListResponse.

1B1B1B1B 01010101, messages in type-length-value, zeros up to a multiple of 4, 1B1B1B1B 1A, how many zeros, CRC-16/X-25
with its low byte first. Four bytes 1B within the messages are doubled. (BSI TR-03109-1, annex "Feinspezifikation LMN".)
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.telegrams.cosem import UNITS, obis
from drivers.telegrams.crc import crc_x25
from drivers.telegrams.telegram import Found, Item, StreamFramer, Telegram, TelegramError, power_of_ten, shown

ESCAPE = b"\x1b\x1b\x1b\x1b"
START = ESCAPE + b"\x01\x01\x01\x01"
STOP, LITERAL, BEGIN = 0x1A, ESCAPE, b"\x01\x01\x01\x01"
FRAME_BYTES_MAX = 16_384
DEPTH_MAX = 8
OCTETS, BOOLEAN, SIGNED, UNSIGNED, LIST = 0, 4, 5, 6, 7
GET_LIST_RESPONSE = 0x0701
MESSAGE_FIELDS, LIST_RESPONSE_FIELDS, ENTRY_FIELDS = 6, 7, 7
NUMBER_BYTES_MAX = 8
SERIAL_NUMBERS = ("1-0:96.1.0", "1-0:0.0.9", "1-0:0.0.0", "0-0:96.1.255")
SERVER_ID_BYTES = 10


@dataclass(frozen=True, slots=True)
class _Signed:
    """A signed number with the count of bytes it was sent in, for a meter that forgets the sign bit."""

    value: int
    size: int


Node = bytes | bool | int | _Signed | list["Node"] | None


class SmlFramer(StreamFramer):
    """Frames with a good check sum and their doubled escapes undone: the messages, zeros at the end removed."""

    protocol = "SML"

    def _next(self, buffer: bytes) -> tuple[int, Found | None] | None:
        start = buffer.find(START)
        if start < 0:
            keep = _overlap(buffer, START)
            return (len(buffer) - keep, None) if len(buffer) > keep else None
        if start:
            return start, None
        return self._frame(buffer)

    def _frame(self, buffer: bytes) -> tuple[int, Found | None] | None:
        at, parts = len(START), []
        while (mark := buffer.find(ESCAPE, at, FRAME_BYTES_MAX)) >= 0 and len(buffer) >= mark + 8:
            after = buffer[mark + 4 : mark + 8]
            parts.append(buffer[at:mark])
            if after[0] == STOP:
                return mark + 8, _checked(buffer[: mark + 8], b"".join(parts))
            if after == BEGIN:
                return mark, TelegramError("truncated", self.protocol, f"another begins after {mark} bytes")
            at = mark + 8 if after == LITERAL else mark + 1
            parts.append(ESCAPE if after == LITERAL else buffer[mark : mark + 1])
        if len(buffer) >= FRAME_BYTES_MAX + 8:
            return len(START), TelegramError("too_long", self.protocol, f"no end within {FRAME_BYTES_MAX} bytes")
        return None


def _overlap(buffer: bytes, start: bytes) -> int:
    """How many of the last bytes may be the beginning of `start`."""
    return next((size for size in range(len(start) - 1, 0, -1) if buffer.endswith(start[:size])), 0)


def _checked(frame: bytes, messages: bytes) -> Found:
    claimed = int.from_bytes(frame[-2:], "little")
    computed = crc_x25(frame[:-2])
    if claimed != computed:
        return TelegramError("checksum", "SML", f"CRC is {claimed:04X}, computed {computed:04X}")
    zeros = frame[-3]
    if zeros >= len(ESCAPE) or messages[len(messages) - zeros :].strip(b"\0"):
        return TelegramError("length", "SML", f"{zeros} bytes of filling are said to be there, which is not so")
    return messages[: len(messages) - zeros]


def decode_sml(messages: bytes) -> Telegram:
    """The values of all lists in a frame's messages, as `SmlFramer` gives them."""
    items: list[Item] = []
    server_id, at = b"", 0
    while at < len(messages):
        message, at = _read(messages, at, 0)
        body = _body(message)
        if body is not None:
            server_id = body[1] if isinstance(body[1], bytes) else server_id
            items += _items(body)
    if not items:
        raise TelegramError("unsupported", "SML", "no list of values in it")
    return Telegram(tuple(items), _serial_number(items, server_id))


def _read(data: bytes, at: int, depth: int) -> tuple[Node, int]:
    """The element at `at`, and where it ends."""
    kind, length, begin = _head(data, at)
    if kind == LIST:
        return _read_list(data, begin, length, depth)
    if kind == OCTETS and not length:  # the end of a message
        return None, begin
    end = at + length
    if end < begin:
        raise TelegramError("length", "SML", f"an element of {length} bytes with {begin - at} bytes of length")
    if end > len(data):
        raise TelegramError("truncated", "SML", f"an element of {length} bytes where {len(data) - at} are left")
    return _simple(kind, data[begin:end]), end


def _read_list(data: bytes, at: int, count: int, depth: int) -> tuple[Node, int]:
    if depth > DEPTH_MAX:
        raise TelegramError("syntax", "SML", f"lists in lists deeper than {DEPTH_MAX}")
    if count > len(data) - at:
        raise TelegramError("truncated", "SML", f"a list of {count} in {len(data) - at} bytes")
    entries: list[Node] = []
    for _ in range(count):
        entry, at = _read(data, at, depth + 1)
        entries.append(entry)
    return entries, at


def _simple(kind: int, content: bytes) -> Node:
    if kind == OCTETS:
        return content or None
    if kind == BOOLEAN and len(content) == 1:
        return bool(content[0])
    if kind in {SIGNED, UNSIGNED} and 1 <= len(content) <= NUMBER_BYTES_MAX:
        value = int.from_bytes(content, "big", signed=kind == SIGNED)
        return _Signed(value, len(content)) if kind == SIGNED else value
    raise TelegramError("syntax", "SML", f"an element of type {kind} with {len(content)} bytes")


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """Type, length (of lists in entries, else in bytes with this head), and where the content begins."""
    if at >= len(data):
        raise TelegramError("truncated", "SML", "it ends where an element should begin")
    kind, length, more = data[at] >> 4 & 7, data[at] & 0x0F, data[at] & 0x80
    begin = at + 1
    while more:
        if begin >= len(data) or begin - at > 3:  # noqa: PLR2004 - longer than any frame
            raise TelegramError("length", "SML", f"a length without end: {shown(data[at:])}")
        length = length << 4 | data[begin] & 0x0F
        more = data[begin] & 0x80
        begin += 1
    return kind, length, begin


def _body(message: Node) -> list[Node] | None:
    """The fields of a GetListResponse; None for messages of other kinds."""
    if not isinstance(message, list) or len(message) != MESSAGE_FIELDS:
        raise TelegramError("syntax", "SML", "a message that is not a list of 6")
    choice = message[3]
    if not isinstance(choice, list) or len(choice) != 2 or not isinstance(choice[0], int):  # noqa: PLR2004 - tag, body
        raise TelegramError("syntax", "SML", "a message without a body")
    tag, body = choice
    if tag != GET_LIST_RESPONSE:
        return None
    if not isinstance(body, list) or len(body) != LIST_RESPONSE_FIELDS or not isinstance(body[4], list):
        raise TelegramError("syntax", "SML", "a list of values that is none")
    return body


def _items(body: list[Node]) -> list[Item]:
    entries = body[4]
    assert isinstance(entries, list)  # noqa: S101 - _body has looked
    unsigned_power = _forgets_sign(body[1], entries)
    return [item for entry in entries if (item := _item(entry, unsigned_power=unsigned_power)) is not None]


def _item(entry: Node, *, unsigned_power: bool) -> Item | None:
    if not isinstance(entry, list) or len(entry) != ENTRY_FIELDS:
        raise TelegramError("syntax", "SML", "an entry that is not a list of 7")
    name, _status, _time, unit, scaler, value, _signature = entry
    if not isinstance(name, bytes) or len(name) != 6:  # noqa: PLR2004 - an OBIS code
        return None
    code = obis(name)
    if isinstance(value, bytes):
        return Item(code, None, text=_text(value))
    exponent = scaler.value if isinstance(scaler, _Signed) else 0
    if isinstance(value, _Signed):
        number = value.value
        if unsigned_power and code == "1-0:16.7.0" and number < 0 and value.size < 4:  # noqa: PLR2004 - see below
            number += 1 << 8 * value.size
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        return None
    step = power_of_ten(exponent)
    return Item(code, number * step, UNITS.get(unit, "") if isinstance(unit, int) else "", str(number), step)


def _forgets_sign(server_id: Node, entries: list[Node]) -> bool:
    """DZG DVS74 send positive power in too few bytes, so that it reads as negative; status bit 11 tells the truth.

    As libsml and pysml do it (commit 81c4026 of libsml): only for this maker, and a status word that looks like it.
    """
    statuses = [entry[1] for entry in entries if isinstance(entry, list) and len(entry) == ENTRY_FIELDS]
    is_dzg = isinstance(server_id, bytes) and server_id[2:6] == b"DZG\0"
    return is_dzg and any(isinstance(s, int) and s & 0xFFE009FF == 0x104 for s in statuses)  # noqa: PLR2004


def _text(value: bytes) -> str:
    plain = value.rstrip(b"\0").decode("latin-1")
    return plain if plain.isascii() and plain.isprintable() else value.hex()


def _serial_number(items: list[Item], server_id: bytes) -> str:
    texts = {item.code: item.text for item in items}
    found = next((texts[code] for code in SERIAL_NUMBERS if texts.get(code)), server_id.hex())
    return _din(found)


def _din(server_id: str) -> str:
    """`0a01445a47000282225e` is printed on the meter as `1DZG0042082910` (DIN 43863-5)."""
    try:
        raw = bytes.fromhex(server_id)
    except ValueError:
        return server_id
    if len(raw) != SERVER_ID_BYTES or raw[0] not in {9, 10} or not raw[2:5].isalpha():
        return server_id
    return f"{raw[1]:X}{raw[2:5].decode('latin-1')}{raw[5]:02X}{int.from_bytes(raw[6:], 'big'):08d}"

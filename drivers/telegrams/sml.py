"""SML, the Smart Message Language of German meters, as they push it: transport version 1, GetListResponse.

1B1B1B1B 01010101, messages in type-length-value, zeros up to a multiple of 4, 1B1B1B1B 1A, how many zeros, CRC-16/X-25
with its low byte first. Four bytes 1B within the messages are doubled. (BSI TR-03109-1, annex "Feinspezifikation LMN".)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from drivers.telegrams.cosem import UNITS, obis
from drivers.telegrams.crc import crc_x25
from drivers.telegrams.telegram import Framed, Item, StreamFramer, Telegram, TelegramError, power_of_ten, shown

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
DZG = b"DZG"
WATT = 27
NET, ABSOLUTE = "1-0:16.7.0", "1-0:15.7.0"
PHASES = {"1-0:36.7.0": 1, "1-0:56.7.0": 2, "1-0:76.7.0": 3}
ONE_WAY = re.compile(r"1-0:(1|2|15|21|22|35|41|42|55|61|62|75)\.7\.0")  # import, export, and powers without direction
FNN_MARK, FNN_EXPORT_BIT = 0x04, 11  # the low byte of the status words of FNN's meters; bits 12 to 14: of L1 to L3
FNN_PHASE_BITS = 0x7000
EDL_MARK, EDL_EXPORT_BIT = 0x80, 5  # those of EDL meters (EMH eHZ, ISKRA MT175) have bit 7 set


@dataclass(frozen=True, slots=True)
class _Signed:
    """A signed number with the count of bytes it was sent in, for a meter that forgets the sign bit."""

    value: int
    size: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of a list."""

    code: str
    status: SmlNode
    unit: SmlNode
    exponent: int
    value: SmlNode

    @property
    def number(self) -> int | None:
        """Not what is true or false."""
        if isinstance(self.value, _Signed):
            return self.value.value
        return self.value if isinstance(self.value, int) and not isinstance(self.value, bool) else None


SmlNode = bytes | bool | int | _Signed | list["SmlNode"] | None


class SmlFramer(StreamFramer):
    """Frames with a good check sum and their doubled escapes undone: the messages, zeros at the end removed."""

    protocol = "SML"

    def _next(self, buffer: bytes) -> tuple[int, Framed | None] | None:
        start = buffer.find(START)
        if start < 0:
            keep = _overlap(buffer, START)
            return (len(buffer) - keep, None) if len(buffer) > keep else None
        if start:
            return start, None
        return self._frame(buffer)

    def _frame(self, buffer: bytes) -> tuple[int, Framed | None] | None:
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


def _checked(frame: bytes, messages: bytes) -> Framed:
    claimed = int.from_bytes(frame[-2:], "little")
    computed = crc_x25(frame[:-2])
    if claimed != computed:
        return TelegramError("checksum", "SML", f"CRC is {claimed:04X}, computed {computed:04X}")
    zeros = frame[-3]
    if zeros >= len(ESCAPE) or messages[len(messages) - zeros :].strip(b"\0"):
        return TelegramError("length", "SML", f"{zeros} bytes of filling are said to be there, which is not so")
    return messages[: len(messages) - zeros]


def decode_sml(messages: bytes) -> Telegram:
    """The values of all lists in a frame's messages, as `SmlFramer` gives them. What has an odd form is left out."""
    items: list[Item] = []
    server_id, at = b"", 0
    odd: TelegramError | None = None
    while at < len(messages):
        message, at = _read(messages, at, 0)
        try:
            body = _body(message)
        except TelegramError as error:
            odd = odd or error
            continue
        if body is not None:
            server_id = body[1] if isinstance(body[1], bytes) else server_id
            items += _items(body)
    if not any(item.code for item in items):
        raise odd or TelegramError("unsupported", "SML", "no list of values in it")
    return Telegram(tuple(items), _serial_number(items, server_id))


def _read(data: bytes, at: int, depth: int) -> tuple[SmlNode, int]:
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


def _read_list(data: bytes, at: int, count: int, depth: int) -> tuple[SmlNode, int]:
    if depth > DEPTH_MAX:
        raise TelegramError("syntax", "SML", f"lists in lists deeper than {DEPTH_MAX}")
    if count > len(data) - at:
        raise TelegramError("truncated", "SML", f"a list of {count} in {len(data) - at} bytes")
    entries: list[SmlNode] = []
    for _ in range(count):
        entry, at = _read(data, at, depth + 1)
        entries.append(entry)
    return entries, at


def _simple(kind: int, content: bytes) -> SmlNode:
    if kind == OCTETS:
        return content or None
    if kind == BOOLEAN and len(content) == 1:
        return bool(content[0])
    if kind in {SIGNED, UNSIGNED} and 1 <= len(content) <= NUMBER_BYTES_MAX:
        value = int.from_bytes(content, "big", signed=kind == SIGNED)
        return _Signed(value, len(content)) if kind == SIGNED else value
    return None  # of a kind that no meter should send; its length is known, so what follows is not harmed


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


def _body(message: SmlNode) -> list[SmlNode] | None:
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


def _items(body: list[SmlNode]) -> list[Item]:
    """All values. A power without direction is there once more with its sign, where the status word tells it."""
    rows = body[4]
    assert isinstance(rows, list)  # noqa: S101 - _body has looked
    entries = [entry for row in rows if (entry := _entry(row)) is not None]
    status = _status(entries)
    if status is not None and isinstance(body[1], bytes) and body[1][2:5] == DZG:
        entries = _signs_undone(entries, status)
    items = [item for entry in entries if (item := _item(entry)) is not None]
    items += [Item("", None, fault="an entry that is not a list of 7") for row in rows if not _is_row(row)]
    known = {item.code for item in items}
    absolute = next((item for item in items if item.code == ABSOLUTE and item.number is not None), None)
    if absolute is not None and not known & {NET, "1-0:1.7.0", "1-0:2.7.0"}:
        items += _directed(absolute, status, has_export="1-0:2.8.0" in known)
    return items


def _is_row(row: SmlNode) -> bool:
    return isinstance(row, list) and len(row) == ENTRY_FIELDS


def _entry(row: SmlNode) -> _Entry | None:
    """None for what has no OBIS code."""
    if not isinstance(row, list) or len(row) != ENTRY_FIELDS:
        return None
    name, status, _time, unit, scaler, value, _signature = row
    if not isinstance(name, bytes) or len(name) != 6:  # noqa: PLR2004 - an OBIS code
        return None
    exponent = scaler.value if isinstance(scaler, _Signed) else 0
    return _Entry(obis(name), status, unit, exponent, value)


def _item(entry: _Entry) -> Item | None:
    if isinstance(entry.value, bytes):
        return Item(entry.code, None, text=_text(entry.value))
    if entry.number is None:
        return None
    step = power_of_ten(entry.exponent)
    unit = UNITS.get(entry.unit, "") if isinstance(entry.unit, int) else ""
    return Item(entry.code, entry.number * step, unit, str(entry.number), step)


def _status(entries: Sequence[_Entry]) -> int | None:
    """The status word, which stands with a counter: mostly with 1-0:1.8.0."""
    words = (entry.status for entry in entries if ".8." in entry.code)
    return next((word for word in words if isinstance(word, int) and not isinstance(word, bool)), None)


def _exports(status: int, phase: int = 0) -> bool | None:
    """Whether energy flows to the grid, on all phases together or on one; None where the word does not say it."""
    if status & 0xFF == FNN_MARK:
        exports = bool(status >> FNN_EXPORT_BIT & 1)
        if phase and exports and not status & FNN_PHASE_BITS:
            return None  # one of them must, so this meter does not say which
        return bool(status >> FNN_EXPORT_BIT + phase & 1)
    if status & EDL_MARK and not phase:
        return bool(status >> EDL_EXPORT_BIT & 1)
    return None


def _directed(absolute: Item, status: int | None, *, has_export: bool) -> list[Item]:
    """1-0:15.7.0 is a power without direction: the status word has it, and a meter without export needs none."""
    exports = _exports(status) if status is not None else None
    if exports is None and has_export:
        return []
    assert absolute.number is not None  # noqa: S101 - the caller has looked
    told = f"status {status:X}" if status is not None else "no status"
    text = f"{'-' if exports else ''}{absolute.text} ({ABSOLUTE}, {told})"
    return [replace(absolute, code=NET, number=-absolute.number if exports else absolute.number, text=text)]


def _signs_undone(entries: Sequence[_Entry], status: int) -> list[_Entry]:
    """Some DZG meters send positive powers as signed numbers in too few bytes, so that they read as negative.

    The status word tells the direction of the total and of each phase, so a power below zero that it contradicts is
    such a number (the facts: volkszaehler/libsml, issues 59, 105, 125 and 162; the bits: FNN, Lastenheft Basiszaehler).
    Where the phases as they were sent add up to the total, nothing is wrong with them.
    """
    wrong = {entry.code for entry in entries if _contradicts(entry, status)}
    total_right = [_unsigned(entry) if entry.code in wrong - PHASES.keys() else entry for entry in entries]
    if _adds_up(total_right):
        return total_right
    return [_unsigned(entry) if entry.code in wrong else entry for entry in entries]


def _contradicts(entry: _Entry, status: int) -> bool:
    if entry.number is None or entry.number >= 0 or entry.unit != WATT:
        return False
    if ONE_WAY.fullmatch(entry.code):
        return True
    return (entry.code == NET or entry.code in PHASES) and _exports(status, PHASES.get(entry.code, 0)) is False


def _unsigned(entry: _Entry) -> _Entry:
    assert isinstance(entry.value, _Signed)  # noqa: S101 - nothing else is below zero
    return replace(entry, value=entry.value.value + (1 << 8 * entry.value.size))


def _adds_up(entries: Sequence[_Entry]) -> bool:
    """Whether the total and all phases are there, and agree but for rounding."""
    powers = {entry.code: (entry.number or 0) * power_of_ten(entry.exponent) for entry in entries if entry.unit == WATT}
    if NET not in powers or not powers.keys() >= PHASES.keys():
        return False
    step = max(power_of_ten(entry.exponent) for entry in entries if entry.unit == WATT)
    return abs(powers[NET] - sum(powers[code] for code in PHASES)) <= step * len(PHASES)


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

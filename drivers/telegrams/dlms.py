"""DLMS/COSEM data notifications of the Nordic customer port, as Aidon, Kaifa and Kamstrup write them.

LLC header E6 E7 00, tag 0F, four bytes of invocation, date and time, then data in A-XDR (IEC 62056-5-3, 62056-6-2):
- Aidon: an array of structures (OBIS code, value, (exponent, unit));
- Kamstrup, and Kaifa in Sweden: one structure of OBIS codes and values by turns, units as agreed;
- Kaifa in Norway: one structure of values alone, told apart by their count.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction

from drivers.telegrams.cosem import UNITS, obis
from drivers.telegrams.telegram import Item, Telegram, TelegramError, power_of_ten

LLC = b"\xe6\xe7\x00"
DATA_NOTIFICATION = 0x0F
CIPHERED = {0xDB: "general-glo-ciphering", 0xDC: "general-ded-ciphering", 0xDD: "general-ciphering"}
DATE_TIME_BYTES = 12
DEPTH_MAX = 6
ELEMENTS_MAX = 500
OBIS_BYTES = 6
NULL, ARRAY, STRUCTURE, OCTETS, TEXT, UTF8 = 0, 1, 2, 9, 10, 12
FIXED = {  # tag: format of struct, big-endian
    3: ">B",
    5: ">i",
    6: ">I",
    15: ">b",
    16: ">h",
    17: ">B",
    18: ">H",
    20: ">q",
    21: ">Q",
    22: ">B",
    23: ">f",
    24: ">d",
}
LONG_FORM = {0x81: 1, 0x82: 2}
SERIAL_NUMBERS = ("0-0:96.1.0", "1-1:0.0.5", "1-1:96.1.0", "1-0:96.1.0", "0-0:42.0.0")
IDENTIFICATIONS = ("1-0:0.2.129", "1-1:0.2.129", "1-1:96.1.1", "0-0:96.1.7", "1-0:96.1.7")

_KAIFA_HEAD = ("1-0:0.2.129", "0-0:96.1.0", "0-0:96.1.7", "1-0:1.7.0", "1-0:2.7.0", "1-0:3.7.0", "1-0:4.7.0")
_KAIFA_ONE_PHASE = (*_KAIFA_HEAD, "1-0:31.7.0", "1-0:32.7.0")
_KAIFA_PHASES = (
    *_KAIFA_HEAD, "1-0:31.7.0", "1-0:51.7.0", "1-0:71.7.0", "1-0:32.7.0", "1-0:52.7.0", "1-0:72.7.0",
)  # fmt: skip
_KAIFA_HOUR = ("0-0:1.0.0", "1-0:1.8.0", "1-0:2.8.0", "1-0:3.8.0", "1-0:4.8.0")
KAIFA_LISTS = {  # count of values: their codes (Kaifa "KFM_001", NVE, 2018)
    1: ("1-0:1.7.0",),
    9: _KAIFA_ONE_PHASE,
    13: _KAIFA_PHASES,
    14: (*_KAIFA_ONE_PHASE, *_KAIFA_HOUR),
    18: (*_KAIFA_PHASES, *_KAIFA_HOUR),
}

Data = int | float | bytes | str | list["Data"] | None


def decode_dlms(information: bytes) -> Telegram:
    """The values in a frame's information field, from the LLC header on."""
    if not information.startswith(LLC):
        raise TelegramError("syntax", "DLMS", f"no LLC header: {information[:3].hex(' ')}")
    return decode_notification(information[len(LLC) :])


def decode_notification(apdu: bytes) -> Telegram:
    """The values in an application message, from its tag on."""
    tag = apdu[0] if apdu else -1
    if tag in CIPHERED:
        raise TelegramError("encrypted", "DLMS", f"encrypted ({CIPHERED[tag]}): needs the key of the customer's port")
    if tag != DATA_NOTIFICATION:
        raise TelegramError("unsupported", "DLMS", f"tag {tag:#04x} is no data notification" if apdu else "empty")
    reader = _Reader(apdu, _date_time_end(apdu))
    data = reader.read(0)
    if reader.at != len(apdu):
        raise TelegramError("length", "DLMS", f"{len(apdu) - reader.at} bytes after the end of its data")
    items = tuple(_items(data))
    fault = next((item.fault for item in items if item.fault), "")
    if fault and not any(item.text or item.number is not None for item in items):
        raise TelegramError("syntax", "DLMS", fault)
    texts = {item.code: item.text for item in items}
    return Telegram(items, _first(texts, SERIAL_NUMBERS), _first(texts, IDENTIFICATIONS))


def _date_time_end(apdu: bytes) -> int:
    """The standard has length and content; Kaifa puts the tag of an octet string before them."""
    at = 5
    if apdu[at : at + 2] == bytes((OCTETS, DATE_TIME_BYTES)):
        at += 1
    if at >= len(apdu):
        raise TelegramError("truncated", "DLMS", "it ends before its date and time")
    if apdu[at] not in {0, DATE_TIME_BYTES}:
        raise TelegramError("syntax", "DLMS", f"date and time of {apdu[at]} bytes")
    return at + 1 + apdu[at]


class _Reader:
    """A-XDR from front to back."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at
        self.elements = 0

    def read(self, depth: int) -> Data:
        (tag,) = self._take(1)
        self.elements += 1
        if depth > DEPTH_MAX or self.elements > ELEMENTS_MAX:
            raise TelegramError("too_long", "DLMS", f"more than {ELEMENTS_MAX} elements, or {DEPTH_MAX} levels")
        if tag in {ARRAY, STRUCTURE}:
            return [self.read(depth + 1) for _ in range(self._length())]
        if tag in {OCTETS, TEXT, UTF8}:
            content = self._take(self._length())
            return content if tag == OCTETS else content.decode("latin-1")
        if tag in FIXED:
            form = FIXED[tag]
            value: int | float = struct.unpack(form, self._take(struct.calcsize(form)))[0]
            return value
        if tag == NULL:
            return None
        raise TelegramError("syntax", "DLMS", f"data of the unknown type {tag}")

    def _length(self) -> int:
        (first,) = self._take(1)
        if first < 0x80:  # noqa: PLR2004 - A-XDR: the short form
            return first
        if first not in LONG_FORM:
            raise TelegramError("length", "DLMS", f"length {first:#04x}")
        return int.from_bytes(self._take(LONG_FORM[first]), "big")

    def _take(self, count: int) -> bytes:
        taken = self.data[self.at : self.at + count]
        if len(taken) < count:
            raise TelegramError("truncated", "DLMS", f"{count} bytes at {self.at}, of which {len(taken)} are there")
        self.at += count
        return taken


def _items(data: Data) -> Iterator[Item]:
    if not isinstance(data, list) or not data:
        raise TelegramError("unsupported", "DLMS", "no list of values")
    if all(isinstance(entry, list) for entry in data):
        for entry in data:
            try:
                yield _aidon(entry)
            except TelegramError as error:
                yield Item("", None, fault=error.cause)
    elif any(isinstance(entry, bytes) and len(entry) == OBIS_BYTES for entry in data):
        yield from _by_turns(data)
    elif len(data) in KAIFA_LISTS:
        for code, value in zip(KAIFA_LISTS[len(data)], data, strict=True):
            yield _item(code, value)
    else:
        raise TelegramError("unsupported", "DLMS", f"a list of {len(data)} values without codes")


def _aidon(entry: Data) -> Item:
    if not isinstance(entry, list) or len(entry) not in {2, 3}:
        raise TelegramError("syntax", "DLMS", "an element that is not of code, value and unit")
    code, value, *rest = entry
    if not isinstance(code, bytes) or len(code) != OBIS_BYTES:
        raise TelegramError("syntax", "DLMS", "an element without an OBIS code")
    if not rest:
        return _item(obis(code), value)
    match rest[0]:
        case [int(exponent), int(unit)]:
            return _item(obis(code), value, exponent, UNITS.get(unit, ""))
    raise TelegramError("syntax", "DLMS", f"{obis(code)} has an exponent and unit that are none")


def _by_turns(data: list[Data]) -> Iterator[Item]:
    """A text alone is the version of the list; a code is followed by its value; nothing may stand between."""
    entries = iter(data)
    for entry in entries:
        if isinstance(entry, bytes) and len(entry) == OBIS_BYTES:
            code = obis(entry)
            value = next(entries, None)
            if isinstance(value, list):
                yield Item(code, None, fault=f"{code} has a list for a value")
            else:
                yield _item(code, value)
        elif isinstance(entry, str):
            yield _item("1-1:0.2.129", entry)
        elif entry is not None:
            yield Item("", None, fault="a value without a code")


def _item(code: str, value: Data, exponent: int = 0, unit: str = "") -> Item:
    if isinstance(value, bytes):
        text = value.decode("latin-1")
        return Item(code, None, text=text if text.isascii() and text.isprintable() else value.hex())
    if isinstance(value, str):
        return Item(code, None, text=value)
    if isinstance(value, float):
        if value - value != 0:  # infinite, or not a number
            return Item(code, None)
        return Item(code, Fraction(value) * power_of_ten(exponent), unit)
    if isinstance(value, int):
        step = power_of_ten(exponent)
        return Item(code, value * step, unit, str(value), step)
    if value is None:
        return Item(code, None)
    raise TelegramError("syntax", "DLMS", f"{code} has a list for a value")


def _first(texts: dict[str, str], codes: tuple[str, ...]) -> str:
    return next((texts[code] for code in codes if texts.get(code)), "")

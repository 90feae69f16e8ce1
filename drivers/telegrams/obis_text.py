"""Telegrams of text lines: DSMR P1 and its relatives, and the readouts of IEC 62056-21 in modes C and D.

P1: `/ISk5..`, an empty line, lines such as `1-0:1.8.1(000004.426*kWh)`, `!6EEE`: CRC-16/ARC since version 4.
Mode D: the same with `1-0:1.8.0*255(00052185.7825309*kWh)` and no check sum at all.
Mode C: `/LGZ4..`, then STX, lines such as `1.8.0(061561.289*kWh)`, `!`, ETX and the exclusive or of it all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from operator import xor

from drivers.telegrams.crc import crc_arc
from drivers.telegrams.telegram import Found, Item, StreamFramer, Telegram, TelegramError, decimal, shown

STX, ETX, START, STOP = 0x02, 0x03, b"/", b"!"
LF_STX = b"\n\x02"
TELEGRAM_BYTES_MAX = 16_384
ENDING_BYTES_MAX = 32
CIPHERED = b"\xdb\x08"  # general-glo-ciphering with a system title of 8 bytes: P1 in Luxembourg and Austria
CIPHERED_HEADER_BYTES = 13
LENGTH_BYTES = {0x81: 1, 0x82: 2}
CRC_DIGITS = 4
LINES_MAX = 400
WITH_CRC = ("1-3:0.2.8", "0-0:96.1.4")  # the versions of P1 that say theirs (4 and later) have a check sum
SERIAL_NUMBERS = ("0-0:96.1.1", "C.1.0", "0-0:96.1.255", "1-0:96.1.0", "0-0:96.1.0", "1-0:0.0.0")
MEDIA = {3: "7-0:3.0.0", 4: "6-0:1.0.0", 7: "8-0:1.0.0"}  # kinds of devices on P1's channels (EN 13757-3)
CHANNEL_VALUES = (":24.2.1", ":24.2.3", ":24.3.0")

_IDENTIFICATION = re.compile(r"/([A-Za-z]{2}[A-Za-z0-9])(.)([ -.0-~\x02]{0,40})")
_SETS = re.compile(r"([^()]{1,30})((?:\([ -'*-~]*\))+)")
_CODE = re.compile(r"((?:\d{1,3}-\d{1,3}:)?[0-9A-Z]{1,4}(?:\.[0-9A-Z]{1,3}){0,3})(?:[*&](\d{1,3}))?")
_NUMBER = re.compile(r"([+-]?)(\d{1,15}(?:\.\d{1,12})?)(?:\*([!-)+-~]{1,8}))?")
UNITS: dict[str, tuple[str, int | Fraction]] = {
    "Wh": ("Wh", 1),
    "kWh": ("Wh", 1_000),
    "MWh": ("Wh", 1_000_000),
    "varh": ("varh", 1),
    "kvarh": ("varh", 1_000),
    "Mvarh": ("varh", 1_000_000),
    "VAh": ("VAh", 1),
    "kVAh": ("VAh", 1_000),
    "W": ("W", 1),
    "kW": ("W", 1_000),
    "MW": ("W", 1_000_000),
    "var": ("var", 1),
    "kvar": ("var", 1_000),
    "VA": ("VA", 1),
    "kVA": ("VA", 1_000),
    "V": ("V", 1),
    "kV": ("V", 1_000),
    "A": ("A", 1),
    "Hz": ("Hz", 1),
    "m3": ("m3", 1),
    "GJ": ("Wh", Fraction(10**9, 3600)),
}
_UNITS_LOWER = {name.lower(): unit for name, unit in UNITS.items() if name not in {"MWh", "MW", "Mvarh"}}


class TextFramer(StreamFramer):
    """A telegram begins with `/`, which occurs nowhere else, and ends with the line of `!`, or with ETX and BCC."""

    protocol = "text telegram"

    def _next(self, buffer: bytes) -> tuple[int, Found | None] | None:
        start, ciphered = buffer.find(START), buffer.find(CIPHERED)
        if ciphered >= 0 and not 0 <= start < ciphered:
            return (ciphered, None) if ciphered else self._ciphered(buffer)
        if start < 0:
            keep = 1 if buffer.endswith(CIPHERED[:1]) else 0
            return (len(buffer) - keep, None) if len(buffer) > keep else None
        if start:
            return start, None
        return self._telegram(buffer)

    def _telegram(self, buffer: bytes) -> tuple[int, Found | None] | None:
        """What is known first counts, so that it is the same whatever the pieces in which the bytes came."""
        again = buffer.find(START, 1, TELEGRAM_BYTES_MAX)
        end, stop = _end_of(buffer[:TELEGRAM_BYTES_MAX])
        if end and not 0 < again < end - 1:  # the last byte, the BCC of mode C, may look like a beginning
            return end, buffer[:end]
        known = {
            again + 1: (again, TelegramError("truncated", self.protocol, f"another begins after {again} bytes")),
            stop + ENDING_BYTES_MAX: (stop, TelegramError("too_long", self.protocol, "no end of its last line")),
            TELEGRAM_BYTES_MAX: (
                TELEGRAM_BYTES_MAX,
                TelegramError("too_long", self.protocol, f"no end within {TELEGRAM_BYTES_MAX} bytes"),
            ),
        }
        first = min(at for at, (size, _) in known.items() if size > 0)
        return known[first] if first <= len(buffer) else None

    def _ciphered(self, buffer: bytes) -> tuple[int, Found | None] | None:
        if len(buffer) < CIPHERED_HEADER_BYTES:
            return None
        first = buffer[10]
        more = LENGTH_BYTES.get(first, 0)
        if first > 0x7F and not more:  # noqa: PLR2004 - the short form of a length ends there
            return len(CIPHERED), None
        size = 11 + more + (int.from_bytes(buffer[11 : 11 + more], "big") if more else first)
        if size > TELEGRAM_BYTES_MAX:
            return len(CIPHERED), None
        if len(buffer) < size:
            self.missing = size - len(buffer)
            return None
        self.missing = 0
        return size, TelegramError("encrypted", "DSMR P1", "encrypted: needs the key of the customer's port")


def _end_of(buffer: bytes) -> tuple[int, int]:
    """Where the telegram at 0 ends, and where its end line began; 0: not yet."""
    line = buffer.find(b"\n")
    if line < 0 or len(buffer) <= line + 1:
        return 0, 0
    if buffer[line + 1] == STX:
        etx = buffer.find(bytes([ETX]), line)
        return (etx + 2 if 0 < etx < len(buffer) - 1 else 0), 0
    stop = buffer.find(STOP, line)
    if stop < 0:
        return 0, 0
    return buffer.find(b"\n", stop, stop + ENDING_BYTES_MAX) + 1, stop


def decode_p1(frame: bytes) -> Telegram:
    """A P1 telegram from `/` up to the end of its `!` line; the check sum must be there if the version has one."""
    body, stop, ending = frame.rpartition(STOP)
    if not stop:
        raise TelegramError("truncated", "DSMR P1", f"no end line in {shown(frame)}")
    claimed = ending.strip()
    if claimed:
        computed = f"{crc_arc(body + stop):04X}"
        if len(claimed) != CRC_DIGITS or claimed.upper() != computed.encode():
            raise TelegramError("checksum", "DSMR P1", f"CRC is {shown_text(claimed)}, computed {computed}")
    telegram = _decode(body, "DSMR P1")
    if not claimed and any(item.code in WITH_CRC for item in telegram.items):
        raise TelegramError("checksum", "DSMR P1", "the CRC is missing, which this version of P1 has")
    return telegram


def decode_iec62056(frame: bytes) -> Telegram:
    """A readout of mode C (its BCC is checked) or a telegram of mode D, which has nothing to check but its form."""
    head, mark, block = frame.partition(LF_STX)
    if not mark:
        body, stop, ending = frame.rpartition(STOP)
        if not stop or ending.strip():
            raise TelegramError("truncated", "IEC 62056-21", f"no end line in {shown(frame)}")
        return _decode(body, "IEC 62056-21")
    if len(block) < 2 or block[-2] != ETX:  # noqa: PLR2004 - ETX and BCC
        raise TelegramError("truncated", "IEC 62056-21", "no ETX and BCC at its end")
    computed = reduce(xor, block[:-1])
    if computed != block[-1]:
        raise TelegramError("checksum", "IEC 62056-21", f"BCC is {block[-1]:#04x}, computed {computed:#04x}")
    body, stop, ending = block[:-2].rpartition(STOP)
    if not stop or ending.strip():
        raise TelegramError("truncated", "IEC 62056-21", "no `!` at its end")
    return _decode(head + b"\r\n" + body, "IEC 62056-21")


def _decode(body: bytes, protocol: str) -> Telegram:
    first, *lines = [line.strip("\r") for line in body.decode("ascii", "replace").split("\n")]
    known = _IDENTIFICATION.fullmatch(first)
    if known is None:
        raise TelegramError("syntax", protocol, f"identification {first[:40]!r}")
    if len(lines) > LINES_MAX:
        raise TelegramError("too_long", protocol, f"{len(lines)} lines")
    items = tuple(item for line in _joined(lines, protocol) for item in _items(line, protocol))
    if not items:
        raise TelegramError("truncated", protocol, "it has no values")
    return Telegram(items + tuple(_other_media(items)), _serial_number(items), first[1:])


def _other_media(items: tuple[Item, ...]) -> Iterator[Item]:
    """Gas, water and heat on P1's M-Bus channels once more, under their medium's code: `0-1:24.1.0(003)` is gas."""
    kinds = {item.code[:3]: item.number for item in items if item.code.endswith(":24.1.0")}
    for item in items:
        medium = MEDIA.get(int(kinds.get(item.code[:3]) or 0))
        if medium is not None and item.code[3:] in CHANNEL_VALUES and item.number is not None:
            yield replace(item, code=medium)


def _joined(lines: list[str], protocol: str) -> list[str]:
    """Values that stand on a line of their own (gas in versions 2 and 3) belong to the line before."""
    whole: list[str] = []
    for line in lines:
        if line.startswith("(") and whole:
            whole[-1] += line
        elif line.startswith("("):
            raise TelegramError("syntax", protocol, f"a value without a code: {line[:40]!r}")
        elif line:
            whole.append(line)
    return whole


def _items(line: str, protocol: str) -> Iterator[Item]:
    """Mostly one; readouts of some meters have several on a line."""
    sets = _SETS.findall(line)
    if not sets or "".join(code + values for code, values in sets) != line:
        raise TelegramError("syntax", protocol, f"line {line[:60]!r}")
    for code, values in sets:
        known = _CODE.fullmatch(code)
        if known is None:
            raise TelegramError("syntax", protocol, f"code {code!r}")
        yield _item(_code(known[1], known[2]), values[1:-1].split(")("), protocol)


def _item(code: str, values: list[str], protocol: str) -> Item:
    """The value that has a unit, else the last one: times stand before it in P1, and behind it in readouts."""
    last = next((value for value in reversed(values) if "*" in value), values[-1])
    number = _NUMBER.fullmatch(last)
    if number is None:
        if "*" in last:  # it has a unit
            raise TelegramError("syntax", protocol, f"number {last[:40]!r} of {code}")
        return Item(code, None, text=last.strip())
    value, step = decimal(number[2])
    unit: str = ""
    factor: int | Fraction = 1
    if number[3]:
        unit, factor = UNITS.get(number[3]) or _UNITS_LOWER.get(number[3].lower(), (number[3], 1))
    return Item(code, (-value if number[1] == "-" else value) * factor, unit, last, step * factor)


def _code(code: str, group_f: str | None) -> str:
    """`1.8.0` and `32.7` are short for `1-0:1.8.0` and `1-0:32.7.0`; letters are the maker's own."""
    short = ":" not in code
    if short and "." in code and code.replace(".", "").isdigit():
        code = "1-0:" + (code if code.count(".") > 1 else f"{code}.0")
    return code if group_f in {None, "255"} else f"{code}*{group_f}"


def _serial_number(items: tuple[Item, ...]) -> str:
    texts = {item.code: item.text for item in items}
    return next((_plain(texts[code]) for code in SERIAL_NUMBERS if texts.get(code)), "")


def _plain(text: str) -> str:
    """P1 sends a serial number as the hexadecimal digits of its characters."""
    text = text.strip()
    try:
        plain = bytes.fromhex(text).decode("ascii")
    except ValueError:
        return text
    return plain if plain.isprintable() and len(text) >= 16 else text  # noqa: PLR2004 - short ones are just numbers


def shown_text(data: bytes) -> str:
    """Bytes that should be text, for messages."""
    return repr(data[:16].decode("ascii", "replace"))

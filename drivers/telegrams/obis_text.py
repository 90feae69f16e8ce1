"""What telegrams of text lines say: DSMR P1 and its relatives, and the readouts of IEC 62056-21 in modes C and D.

P1: `/ISk5..`, an empty line, lines such as `1-0:1.8.1(000004.426*kWh)`, `!6EEE`: CRC-16/ARC since version 4.
Mode D: the same with `1-0:1.8.0*255(00052185.7825309*kWh)` and no check sum at all.
Mode C: `/LGZ4..`, then STX, lines such as `1.8.0(061561.289*kWh)`, `!`, ETX and the exclusive or of it all.

Where the check sum is good, a line that cannot be read is an item with a fault, and costs nothing else. Where there is
none, a line that has lost its form is all that shows damage, and the telegram is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import reduce
from operator import xor

from drivers.telegrams.crc import crc_arc
from drivers.telegrams.telegram import Item, Telegram, TelegramError, decimal, shown
from drivers.telegrams.text_framer import ETX, LF_STX, STOP, crc_number

LINES_MAX = 400
WITH_CRC = ("1-3:0.2.8", "0-0:96.1.4")  # the versions of P1 that say theirs (4 and later) have a check sum
SERIAL_NUMBERS = ("0-0:96.1.1", "C.1.0", "0-0:96.1.255", "1-0:96.1.0", "0-0:96.1.0", "1-0:0.0.0")
MEDIA = {3: "7-0:3.0.0", 4: "6-0:1.0.0", 7: "8-0:1.0.0"}  # kinds of devices on P1's channels (EN 13757-3)
NAMES = {3: "gas", 4: "heat", 7: "water"}
CHANNEL_VALUES = (":24.2.1", ":24.2.3", ":24.3.0")
CLOCK = "0-0:1.0.0"
OWN_UNIT = (":24.2.1", ":24.2.3")  # each value with its unit; one without is a placeholder
CENTURY, FIRST_YEAR_NOT_THERE = 2000, 70  # P1 is younger than 1970, with which clocks begin
ALIVE = timedelta(hours=12)  # meters that are read by turns differ by some minutes, or an hour


Choices = tuple[tuple[str, str], ...]

_IDENTIFICATION = re.compile(r"/([A-Za-z]{2}[A-Za-z0-9])(.)([ -~\x02]{0,40})")
_SETS = re.compile(r"([^()]{1,30})((?:\([ -'*-~]*\))+)")
_CODE = re.compile(r"((?:\d{1,3}-\d{1,3}:)?[0-9A-Z]{1,4}(?:\.[0-9A-Z]{1,3}){0,3})(?:[*&](\d{1,3}))?")
_CODE_AT_BEGIN = re.compile(_CODE.pattern + r"\(")
_TIME = re.compile(r"(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})[SW]?")
_NUMBER = re.compile(r" *([+-]?)(\d{1,15}(?:[.,]\d{1,12})?) *(?:\* *([!-)+-~]{1,8}) *)?")
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


@dataclass(frozen=True, slots=True)
class _Source:
    """A channel's value. `time` is that of the value, where it has one that can be."""

    channel: str
    item: Item
    has_serial_number: bool
    time: datetime | None


def decode_p1(frame: bytes) -> Telegram:
    """A P1 telegram from `/` up to the end of its `!` line; the check sum must be there if the version has one."""
    body, stop, ending = frame.rpartition(STOP)
    if not stop:
        raise TelegramError("truncated", "DSMR P1", f"no end line in {shown(frame)}")
    claimed = ending.strip()
    if claimed:
        computed = crc_arc(body + stop)
        if crc_number(claimed) != computed:
            raise TelegramError("checksum", "DSMR P1", f"CRC is {shown_text(claimed)}, computed {computed:04X}")
    telegram = _decode(body, "DSMR P1", checked=bool(claimed))
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
        return _decode(body, "IEC 62056-21", checked=False)
    if len(block) < 2 or block[-2] != ETX:  # noqa: PLR2004 - ETX and BCC
        raise TelegramError("truncated", "IEC 62056-21", "no ETX and BCC at its end")
    computed = reduce(xor, block[:-1])
    if computed != block[-1]:
        raise TelegramError("checksum", "IEC 62056-21", f"BCC is {block[-1]:#04x}, computed {computed:#04x}")
    body, stop, ending = block[:-2].rpartition(STOP)
    if not stop or ending.strip():
        raise TelegramError("truncated", "IEC 62056-21", "no `!` at its end")
    return _decode(head + b"\r\n" + body, "IEC 62056-21", checked=True)


def _decode(body: bytes, protocol: str, *, checked: bool) -> Telegram:
    first, *lines = [line.strip("\r") for line in body.decode("ascii", "replace").split("\n")]
    if _IDENTIFICATION.fullmatch(first) is None and not checked:
        raise TelegramError("syntax", protocol, f"identification {first[:40]!r}")
    if len(lines) > LINES_MAX:
        raise TelegramError("too_long", protocol, f"{len(lines)} lines")
    items = tuple(item for line in _joined(lines) for item in _items(line, protocol, checked=checked))
    if not any(item.code and not item.fault for item in items):
        fault = next((item.fault for item in items if item.fault), "")
        raise TelegramError("syntax" if fault else "truncated", protocol, fault or "it has no values")
    items, media, sources = channel_values(items)
    identification = "".join(letter for letter in first[1:] if letter.isprintable() and letter.isascii())
    return Telegram(items + media, _serial_number(items), identification, sources=sources)


def _joined(lines: list[str]) -> list[str]:
    """Values that stand on a line of their own (gas in versions 2 and 3) belong to the line before."""
    whole: list[str] = []
    for line in lines:
        if line.startswith("(") and whole:
            whole[-1] += line
        elif line:
            whole.append(line)
    return whole


def _items(line: str, protocol: str, *, checked: bool) -> Iterator[Item]:
    """Mostly one; readouts of some meters have several on a line. Damage is an error unless the check sum is good."""
    try:
        yield from list(_sets(line, protocol, checked=checked))
    except TelegramError as error:
        if not checked:
            raise
        known = _CODE_AT_BEGIN.match(line)
        code = _code(known[1], known[2]) if known is not None else ""
        yield Item(code, None, text=_printable(line), fault=error.cause)


def _sets(line: str, protocol: str, *, checked: bool) -> Iterator[Item]:
    sets = _SETS.findall(line)
    if not sets or "".join(code + values for code, values in sets) != line.rstrip():
        raise TelegramError("syntax", protocol, f"line {_printable(line)!r}")
    for code, values in sets:
        known = _CODE.fullmatch(code.strip())
        if known is None:
            raise TelegramError("syntax", protocol, f"code {code!r}")
        yield _item(_code(known[1], known[2]), values[1:-1].split(")("), protocol, checked=checked)


def _item(code: str, values: list[str], protocol: str, *, checked: bool) -> Item:
    """The value that has a unit, else the last one: times stand before it in P1, and behind it in readouts."""
    last = next((value for value in reversed(values) if "*" in value), values[-1])
    number = _NUMBER.fullmatch(last)
    if number is None:
        is_number = "*" in last and any(letter.isdigit() for letter in last.partition("*")[0])
        fault = f"number {last[:40]!r} of {code}" if is_number else ""
        if fault and not checked and _unit(last.rpartition("*")[2].strip()) is not None:
            raise TelegramError("syntax", protocol, fault)  # two lines that have become one look so
        return Item(code, None, text=last.strip(), fault=fault)
    time = next((value for value in values[: values.index(last)] if is_time(value)), "")
    if time and time_of(time) is None:
        return Item(code, None, text=last, fault=f"its time {time!r} is impossible")
    value, step = decimal(number[2].replace(",", "."))
    unit, factor = (_unit(number[3]) or (number[3], 1)) if number[3] else ("", 1)
    return Item(code, (-value if number[1] == "-" else value) * factor, unit, last, step * factor, time)


def _unit(name: str) -> tuple[str, int | Fraction] | None:
    return UNITS.get(name) or _UNITS_LOWER.get(name.lower())


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


def _printable(line: str) -> str:
    """The beginning of a line, for messages."""
    return "".join(letter if letter.isprintable() and letter.isascii() else "?" for letter in line[:60])


def shown_text(data: bytes) -> str:
    """Bytes that should be text, for messages."""
    return repr(data[:16].decode("ascii", "replace"))


# Gas, water and heat on P1's M-Bus channels. A replaced meter keeps its channel: its last value stays in the telegram,
# without a serial number or with an old time.


def is_time(text: str) -> bool:
    """Whether it has the form of a time; `632525252525W` has, and stands for "never"."""
    return _TIME.fullmatch(text) is not None


def time_of(text: str) -> datetime | None:
    """`260115115505W` as a time; the season is not looked at."""
    known = _TIME.fullmatch(text)
    if known is None:
        return None
    year, month, day, hour, minute, second = (int(digits) for digits in known.groups())
    try:
        return (
            datetime(CENTURY + year, month, day, hour, minute, second, tzinfo=UTC)
            if year < FIRST_YEAR_NOT_THERE
            else None
        )
    except ValueError:
        return None


def channel_values(items: Sequence[Item]) -> tuple[tuple[Item, ...], tuple[Item, ...], Choices]:
    """The items without placeholders, the values of the channels under their medium's code, and choices by that code.

    `0-1:24.1.0(003)` is gas. Of several channels of a kind the one counts that is alive: see `_alive`.
    """
    items = tuple(_without_placeholder(item) for item in items)
    kinds = {item.code[:-7]: item.number for item in items if item.code.endswith(":24.1.0")}
    now = next((time_of(item.text) for item in items if item.code == CLOCK), None)
    media: list[Item] = []
    choices: list[tuple[str, str]] = []
    for kind, code in MEDIA.items():
        channels = [channel for channel, number in kinds.items() if number == kind]
        sources = [source for channel in channels for source in _sources(channel, items)]
        good = [source for source in sources if source.item.number is not None]
        taken = _alive(good, now) if good else next(iter(sources), None)
        if taken is not None:
            media.append(replace(taken.item, code=code))
        if len(channels) > 1:
            choices.append((code, _choice(NAMES[kind], channels, taken)))
    return items, tuple(media), tuple(choices)


def _without_placeholder(item: Item) -> Item:
    if item.number is None or item.unit or not item.code.endswith(OWN_UNIT):
        return item
    return replace(item, number=None, fault=f"{item.text!r} has no unit")


def _sources(channel: str, items: Sequence[Item]) -> list[_Source]:
    own = [item for item in items if item.code.startswith(f"{channel}:")]
    has_serial_number = any(item.text.strip("0 ") for item in own if item.code[len(channel) :].startswith(":96.1."))
    values = [item for item in own if item.code.endswith(CHANNEL_VALUES)]
    return [_Source(channel, item, has_serial_number, time_of(item.time)) for item in values]


def _alive(sources: Sequence[_Source], now: datetime | None) -> _Source:
    """With a serial number, and a time near the newest; where nothing tells them apart, the first.

    The newest time counts for all that are near it, so that two meters that work never change places.
    """
    named = [source for source in sources if source.has_serial_number] or list(sources)
    times = [source.time for source in named if source.time is not None]
    newest = max((time for time in times if now is None or time <= now + ALIVE), default=max(times, default=None))
    if newest is None:
        return named[0]
    return next(source for source in named if source.time is not None and abs(newest - source.time) <= ALIVE)


def _choice(name: str, channels: Sequence[str], taken: _Source | None) -> str:
    there = f"there are {len(channels)} {name} meters, on channels {' and '.join(channels)}"
    if taken is None or taken.item.number is None:
        return f"{there}: none of them has a value"
    told = "a serial number and the newest time" if taken.has_serial_number and taken.time else "nothing to tell it by"
    return f"{there}: the value is that of {taken.channel}, the first with {told}"

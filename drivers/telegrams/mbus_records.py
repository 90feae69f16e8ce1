"""Wired M-Bus, the application layer (EN 13757-3): the records of an answer as items.

A record's name is what it measures and what distinguishes it: `energy`, `energy.t1` (tariff), `energy.u2` (subunit),
`energy.s1` (storage), `voltage.min`, `power.ff01` (the maker's own extension, here EMU's phase 1), `energy.backward`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from drivers.telegrams.mbus_units import Meaning, meaning_of, told_apart
from drivers.telegrams.telegram import Item, Telegram, TelegramError

RESPONSE, RESPONSE_SHORT, RESPONSE_BARE = 0x72, 0x7A, 0x78
BIG_ENDIAN, FIXED_DATA = (0x76, 0x77), 0x73
APPLICATION_ERROR = 0x70
HEADER_BYTES = {RESPONSE: 13, RESPONSE_SHORT: 5, RESPONSE_BARE: 1}
ERRORS = {
    0: "unspecified",
    1: "it does not know this kind of request",
    2: "its answer would be too long",
    3: "too many records",
    4: "premature end of a record",
    5: "too many extensions (DIFE)",
    6: "too many extensions (VIFE)",
    8: "the application is busy",
    9: "too many readouts",
}
FUNCTIONS = ("", ".max", ".min", ".error")
FILLER, MAKER_DATA, MORE_RECORDS = 0x2F, 0x0F, 0x1F
EXTENSIONS_MAX = 10
SHOWN_BYTES = 16
DIGITS = {0x9: 1, 0xA: 2, 0xB: 3, 0xC: 4, 0xE: 6}
INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 6: 6, 7: 8}
REAL, VARIABLE = 0x5, 0xD
TEXT_LAST, POSITIVE, NEGATIVE_DIGITS, BINARY, LONG_BINARY = 0xBF, 0xC0, 0xD0, 0xE0, 0xF0  # first of a value's length
VARIABLE_LENGTHS: Mapping[
    int, int
] = {  # bytes by the length byte (EN 13757-3, table of LVAR); what is not here is reserved
    **{length: length for length in range(TEXT_LAST + 1)},
    **{first + count: count for first in (POSITIVE, NEGATIVE_DIGITS) for count in range(10)},
    **{BINARY + count: count for count in range(16)},
    **{length: 4 * (length - 0xEC) for length in range(LONG_BINARY, 0xF5)},
    0xF5: 48,
    0xF6: 64,
}
NUMBER_BYTES_MAX = 8
NEGATIVE = 0xF
MODE_MASK = 0x1F  # of the configuration word's high byte: how the records are encrypted
MODES_WITH_BLOCKS, BLOCK_BYTES = frozenset({4, 5, 7}), 16  # the low byte's high half counts the encrypted blocks
PLAIN_RECORDS_MIN = 3
MODES_WITH_KEY = frozenset({2, 3, 4, 5, 7, 8, 9, 10, 13})  # EN 13757-7; the others are reserved, or the maker's own


@dataclass(frozen=True, slots=True)
class _Information:
    """A record's DIB and VIB."""

    coding: int
    tail: str  # of its name: function, storage, tariff, subunit
    meaning: Meaning


def decode_mbus(data: bytes) -> Telegram:
    """An answer to REQ_UD2, from its CI field on (`LongFrame.data`), as if it were the only one."""
    return whole_answer([decode_part(data)])


def whole_answer(parts: Sequence[Telegram]) -> Telegram:
    """All that a meter sent in one or more telegrams, records of one name told apart."""
    items = told_apart([item for part in parts for item in part.items])
    return replace(parts[0], items=tuple(items), more=parts[-1].more)


def decode_part(data: bytes) -> Telegram:
    """One telegram of an answer; records may have the same name."""
    information = data[0]
    if information == APPLICATION_ERROR:
        code = data[1] if len(data) > 1 else 0
        cause = f"the meter reports error {code} ({ERRORS.get(code, 'unknown')})"
        raise TelegramError("application_error", "M-Bus", cause)
    if information not in HEADER_BYTES:
        known = {FIXED_DATA: "the old fixed data structure", **dict.fromkeys(BIG_ENDIAN, "most significant byte first")}
        what = known.get(information, "no answer with values")
        raise TelegramError("unsupported", "M-Bus", f"CI field {information:#04x}: {what}")
    header = data[: HEADER_BYTES[information]]
    if len(header) < HEADER_BYTES[information]:
        cause = f"a header of {len(header)} bytes instead of {HEADER_BYTES[information]}"
        raise TelegramError("truncated", "M-Bus", cause)
    items, more = _plain(data, header, 0 if information == RESPONSE_BARE else header[-1] & MODE_MASK)
    identity = (_serial_number(header), _identification(header)) if information == RESPONSE else ("", "")
    return Telegram(tuple(items), *identity, more=more)


def _plain(data: bytes, header: bytes, mode: int) -> tuple[list[Item], bool]:
    """The records, unless they are encrypted.

    Older meters fill the configuration word with what they like (EN 13757-3 had it as a signature), so what decides is
    whether the records can be read; of a mode that needs a key, all of them must mean something.
    """
    try:
        items, more = _records(data, len(header))
    except TelegramError as error:
        if mode in MODES_WITH_KEY:
            raise _encrypted(mode) from error
        raise
    if mode in MODES_WITH_KEY and not _are_plain(items, mode, header[-2] >> 4, len(data) - len(header)):
        raise _encrypted(mode)
    if mode and items[-1:] and items[-1].fault and not items[-1].code:
        word = int.from_bytes(header[-2:], "little")
        cause = f"{items[-1].fault}; the configuration word {word:04X} names no known encryption"
        raise TelegramError("syntax", "M-Bus", cause)
    return items, more


def _encrypted(mode: int) -> TelegramError:
    return TelegramError("encrypted", "M-Bus", f"encrypted (mode {mode}): needs the key")


def _are_plain(items: Sequence[Item], mode: int, blocks: int, size: int) -> bool:
    """Whether a word that names an encryption means none: chance makes such records of one ciphertext in 30,000."""
    numbers = [item for item in items if item.number is not None]
    means_something = all(item.unit or not item.code.startswith(("vif", "maker", "text")) for item in items)
    has_blocks = mode in MODES_WITH_BLOCKS and 0 < blocks * BLOCK_BYTES <= size
    is_whole = all(item.number is not None or item.code.startswith("date") for item in items)
    return is_whole and means_something and len(numbers) >= PLAIN_RECORDS_MIN and not has_blocks


def _serial_number(header: bytes) -> str:
    return header[4:0:-1].hex().upper()


def _identification(header: bytes) -> str:
    """Maker's three letters, version and medium: `EMU 16 medium 2`."""
    word = int.from_bytes(header[5:7], "little")
    maker = "".join(chr((word >> shift & 0x1F) + 64) for shift in (10, 5, 0))
    return f"{maker} {header[7]} medium {header[8]}"


def _records(data: bytes, at: int) -> tuple[list[Item], bool]:
    """The items, and whether the meter has more. Where the length of a record is not known, the last is a fault."""
    items: list[Item] = []
    while at < len(data):
        if data[at] == FILLER:
            at += 1
        elif data[at] in {MAKER_DATA, MORE_RECORDS}:  # the rest is the maker's own
            return items, data[at] == MORE_RECORDS
        else:
            try:
                item, at = _record(data, at)
            except TelegramError as error:
                if not items:
                    raise
                fault = f"byte {at} of {len(data)}: {error.cause}"
                return [*items, Item("", None, text=data[at : at + SHOWN_BYTES].hex(), fault=fault)], False
            items.append(item)
    return items, False


def _record(data: bytes, at: int) -> tuple[Item, int]:
    """The record at `at`, and where it ends."""
    if data[at] & 0x0F == MAKER_DATA:
        raise TelegramError("unsupported", "M-Bus", f"special function {data[at]:#04x}")
    record, at = _information(data, at)
    size, at = _size(record, data, at)
    if at + size > len(data):
        cause = f"record {record.meaning.name} of {size} bytes is cut after {len(data) - at}"
        raise TelegramError("truncated", "M-Bus", cause)
    return _item(record, data, at, size), at + size


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise TelegramError("truncated", "M-Bus", "it ends within the head of a record")
    return data[at]


def _information(data: bytes, at: int) -> tuple[_Information, int]:
    dif = data[at]
    storage, tariff, subunit = dif >> 6 & 1, 0, 0
    extensions = 0
    more = dif & 0x80
    while more:
        at += 1
        dife = _byte(data, at)
        if extensions >= EXTENSIONS_MAX:
            raise TelegramError("syntax", "M-Bus", f"more than {EXTENSIONS_MAX} extensions (DIFE)")
        storage |= (dife & 0x0F) << 1 + 4 * extensions
        tariff |= (dife >> 4 & 3) << 2 * extensions
        subunit |= (dife >> 6 & 1) << extensions
        extensions += 1
        more = dife & 0x80
    tail = FUNCTIONS[dif >> 4 & 3]
    tail += "".join(f".{letter}{n}" for letter, n in (("s", storage), ("t", tariff), ("u", subunit)) if n)
    vib, text, at = _value_information(data, at + 1)
    return _Information(dif & 0x0F, tail, meaning_of(vib, text)), at


def _value_information(data: bytes, at: int) -> tuple[bytes, str, int]:
    """VIF and VIFEs, and the unit that stands there in plain text."""
    begin, text = at, ""
    vib = bytes((_byte(data, at),))
    at += 1
    if vib[0] & 0x7F == 0x7C:  # noqa: PLR2004 - the unit follows as text, its last character first
        length = _byte(data, at)
        text = data[at + 1 : at + 1 + length][::-1].decode("latin-1")
        at += 1 + length
    while vib[-1] & 0x80:
        if len(vib) > EXTENSIONS_MAX:
            raise TelegramError("syntax", "M-Bus", f"more than {EXTENSIONS_MAX} extensions (VIFE) at {begin}")
        vib += bytes((_byte(data, at),))
        at += 1
    return vib, text, at


def _size(record: _Information, data: bytes, at: int) -> tuple[int, int]:
    """How many bytes the value has, and where it begins."""
    if record.coding in INTEGERS:
        return INTEGERS[record.coding], at
    if record.coding in DIGITS:
        return DIGITS[record.coding], at
    if record.coding == REAL:
        return 4, at
    if record.coding == VARIABLE:
        length = _byte(data, at)
        if length not in VARIABLE_LENGTHS:
            raise TelegramError("syntax", "M-Bus", f"a value of variable length {length:#04x}")
        return VARIABLE_LENGTHS[length], at + 1
    return 0, at  # no data, or a selection for readout


def _item(record: _Information, data: bytes, at: int, size: int) -> Item:
    meaning = record.meaning
    name = f"{meaning.name}{record.tail}{meaning.extension}"
    content = data[at : at + size]
    length = data[at - 1] if record.coding == VARIABLE else 0
    if record.coding == VARIABLE and length <= TEXT_LAST:  # the last character first
        text = content[::-1].decode("latin-1")
        return Item(name, None, text=text if text.isprintable() else content[::-1].hex())
    if meaning.is_date or meaning.failed or not size:
        fault = f"the meter says that {name} is in error" if meaning.failed else ""
        return Item(name, None, text=content[::-1].hex(), fault=fault)
    number = _number(record.coding, content) if record.coding != VARIABLE else _variable_number(length, content)
    if number is None:
        return Item(name, None, text=content[::-1].hex())
    step = None if record.coding == REAL else meaning.factor
    return Item(name, number * meaning.factor + meaning.offset, meaning.unit, content[::-1].hex(), step)


def _variable_number(length: int, content: bytes) -> int | None:
    """None where there are too many bytes for a value of a meter, or digits beyond 9."""
    if length >= BINARY:
        return int.from_bytes(content, "little", signed=True) if len(content) <= NUMBER_BYTES_MAX else None
    digits = content[::-1].hex()
    return int(digits) * (-1 if length >= NEGATIVE_DIGITS else 1) if digits.isdecimal() else None


def _number(coding: int, content: bytes) -> Fraction | int | None:
    """None: the meter's way to say that there is no value (digits beyond 9, not a number)."""
    if coding == REAL:
        real = float(struct.unpack("<f", content)[0])
        return Fraction(real) if real - real == 0 else None
    if coding in INTEGERS:
        return int.from_bytes(content, "little", signed=True)
    digits = content[::-1].hex()
    sign = 1
    if int(digits[0], 16) == NEGATIVE:
        sign, digits = -1, digits[1:]
    return sign * int(digits) if digits.isdecimal() else None

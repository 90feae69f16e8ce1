"""A register table in CSV -> registers, with everything that is wrong with it. Pure.

Columns by their names in the first line, in any order: docs/tutorial-own-meter.md describes them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Literal, Protocol, TypeVar

from drivers.profile.model import ADDRESS_MAX, DATA_TYPES, WORDS, DataType, Register, WordOrder
from drivers.profile.review import usual_step
from drivers.profile.schema import did_you_mean
from drivers.word_orders import EXPECTED as ORDER_EXPECTED
from drivers.word_orders import WordOrderError, agreed_order
from wire.errors import WireError
from wire.measurand import BY_NAME, Measurand
from wire.resolution import Resolution

T = TypeVar("T")
Addresses = Literal["wire", "one", "modicon"]

REQUIRED = ("measurand", "address", "type")
COLUMNS = (*REQUIRED, "function", "word_order", "byte_order", "scale", "unit", "resolution", "not_available")
OTHER_NAMES = {
    "name": "measurand", "register": "address", "data_type": "type", "datatype": "type", "function_code": "function",
    "fc": "function", "order": "word_order", "endianness": "byte_order", "endian": "byte_order",
    "scale_factor": "scale", "factor": "scale",
}  # fmt: skip
OTHER_TYPES: dict[str, DataType] = {
    "float": "float32", "real": "float32", "double": "float64", "u16": "uint16", "s16": "int16", "i16": "int16",
    "u32": "uint32", "s32": "int32", "i32": "int32", "u64": "uint64", "s64": "int64", "i64": "int64",
}  # fmt: skip
TYPES: dict[str, DataType] = {**{kind: kind for kind in DATA_TYPES}, **OTHER_TYPES}
_SPACED = [re.sub(r"(?<=\D)(?=\d)", r"[\\s_-]*", kind) for kind in sorted(TYPES, key=len, reverse=True)]
TYPE_AND_ORDER = re.compile(rf"({'|'.join(_SPACED)})(?![\s_-]*\d)[^0-9a-z]*(.*?)[^0-9a-z]*", re.IGNORECASE)
PREFIXES = {"m": Fraction(1, 1000), "c": Fraction(1, 100), "d": Fraction(1, 10), "k": Fraction(1000)}
PREFIXES |= {"M": PREFIXES["k"] ** 2, "G": PREFIXES["k"] ** 3}
JOULE_WH = Fraction(1, 3600)
EXPONENT_MAX = 12  # of a scale: nobody counts in smaller or larger powers of ten
MODICON = {"3": 4, "4": 3}  # the first digit of 30001 and 40001
MODICON_DIGITS = (5, 6)


class Lines(Protocol):
    """A `csv.reader`."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...
    def __next__(self) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class CellMistake:
    """One cell, or a whole line, that cannot be used."""

    row: int  # from 1, the line with the names of the columns
    column: str
    problem: str
    expected: str

    def __str__(self) -> str:
        where = f"{self.column}: " if self.column else ""
        return f"{where}{self.problem}; expected {self.expected}"


@dataclass(slots=True)
class TableRead:
    """What a table says: registers in its order, what is wrong, and which columns mean nothing here."""

    registers: list[Register] = field(default_factory=list)
    mistakes: list[CellMistake] = field(default_factory=list)
    ignored: tuple[str, ...] = ()
    doubts: dict[str, int] = field(default_factory=dict)  # what may mean something else -> the first line that says it


def read_csv(text: str, addresses: Addresses = "wire", function: int | None = None) -> TableRead:
    """The registers of `text`. `function` is for lines that do not say one; `addresses` says how they are counted."""
    found = TableRead()
    first = text.lstrip("\ufeff").splitlines()[:1]
    delimiter = max(",;\t", key=(first or [""])[0].count)
    lines = csv.reader(io.StringIO(text.lstrip("\ufeff")), delimiter=delimiter)
    try:
        _read_lines(lines, delimiter, addresses, function, found)
    except csv.Error as error:
        found.mistakes.append(CellMistake(lines.line_num, "", f"no CSV: {error}", "lines of cells"))
    return found


def _read_lines(lines: Lines, delimiter: str, addresses: Addresses, function: int | None, found: TableRead) -> None:
    header = [_column(name) for name in next(lines, [])]
    found.ignored = tuple(name for name in header if name and name not in COLUMNS)
    for name in REQUIRED:
        if name not in header:
            guess = did_you_mean(name, header)
            found.mistakes.append(CellMistake(1, name, f"there is no such column{guess}", f"{', '.join(REQUIRED)}"))
    if found.mistakes:
        return
    seen: dict[str, int] = {}
    for cells in lines:
        values = {name: cell.strip() for name, cell in zip(header, cells, strict=False)}
        if any(values.values()) and not values.get("measurand", "").startswith("#"):
            row = _Row(lines.line_num, values, found, comma=delimiter != ",")
            register = row.register(addresses, function)
            if register is not None:
                _keep(register, lines.line_num, seen, found)
    if not found.registers and not found.mistakes:
        found.mistakes.append(CellMistake(2, "", "there is no register", "a line for each measurand"))


def _column(name: str) -> str:
    plain = re.sub(r"[\s-]+", "_", name.strip().lower())
    return OTHER_NAMES.get(plain, plain)


def _keep(register: Register, row: int, seen: dict[str, int], found: TableRead) -> None:
    name = register.measurand
    if name in seen:
        problem = f"{name!r} is in line {seen[name]}, too"
        found.mistakes.append(CellMistake(row, "measurand", problem, "each measurand once"))
        return
    seen[name] = row
    found.registers.append(register)


class _Row:
    """One line of the table; what cannot be used is noted and None."""

    def __init__(self, row: int, values: Mapping[str, str], found: TableRead, *, comma: bool) -> None:
        self._row = row
        self._values = values
        self._comma = comma
        self._mistakes = found.mistakes
        self._doubts = found.doubts

    def register(self, addresses: Addresses, function: int | None) -> Register | None:
        before = len(self._mistakes)
        name = self._cell("measurand", _measurand, "a name of docs/measurands.md")
        kind = self._cell("type", _data_type, f"one of {', '.join(DATA_TYPES)}, with or without an order such as CDAB")
        place = self._place(addresses, function)
        order = None if kind is None else self._order(kind)
        scale = self._cell("scale", self._number, "a number that is not 0, such as 0.1")
        if name is None or kind is None or place is None or order is None or scale is None:
            return None
        unit = self._cell("unit", lambda text: _unit_factor(text, BY_NAME[name]), _units_expected(BY_NAME[name]))
        step = self._cell("resolution", self._step, "a step such as 0.1, or nothing")
        codes = self._cell("not_available", lambda text: _codes(text, kind), "raw codes such as 0xFFFF, or nothing")
        if len(self._mistakes) > before or unit is None or codes is None:
            return None
        function_code, address = place
        if address + WORDS[kind] - 1 > ADDRESS_MAX:
            self._note("address", "the value ends beyond 65535", "room for all its registers")
            return None
        plain = Register(name, function_code, address, kind, Resolution(1, 0), scale * unit, order, codes)
        return replace(plain, resolution=step or self._usual(plain))

    def _order(self, kind: DataType) -> WordOrder | None:
        texts = {"type": split_type(self._values["type"])[1]}
        texts |= {column: self._values.get(column, "") for column in ("word_order", "byte_order")}
        try:
            said = agreed_order(texts, kind)
        except WordOrderError as error:
            self._note(error.column, error.problem, ORDER_EXPECTED)
            return None
        if said.doubt:
            self._doubts.setdefault(said.doubt, self._row)
        return said.order

    def _place(self, addresses: Addresses, function: int | None) -> tuple[int, int] | None:
        expected = {
            "wire": "0 to 65535, also as 0x5B00; manuals that count otherwise: --addresses one, or modicon",
            "one": "1 to 65536",
            "modicon": "30001 or 40001 and following, of five or six digits",
        }[addresses]
        raw = self._cell("address", _address, expected)
        if raw is None:
            return None
        text = self._values["address"]
        if addresses == "modicon":
            if len(text) not in MODICON_DIGITS or text[0] not in MODICON or int(text[1:]) == 0:
                self._note("address", f"{text!r} is no address of that kind", expected)
                return None
            return MODICON[text[0]], int(text[1:]) - 1
        address = raw - (addresses == "one")
        if not 0 <= address <= ADDRESS_MAX:
            self._note("address", f"{text!r} is out of range", expected)
            return None
        code = function if not self._values.get("function") else self._cell("function", _function, "3 or 4")
        if code is None:
            if not self._values.get("function"):
                modicon = len(text) in MODICON_DIGITS and text[0] in MODICON
                hint = "; if 30001 is the first register of the manual: --addresses modicon" if modicon else ""
                self._note("function", "missing", f"3 (holding registers) or 4 (input registers), or --function{hint}")
            return None
        return code, address

    def _cell(self, column: str, read: Callable[[str], T], expected: str) -> T | None:
        text = self._values.get(column, "")
        try:
            return read(text)
        except (KeyError, ValueError, InvalidOperation, WireError) as error:
            hint = error.args[0] if isinstance(error, _HintError) else ""
            self._note(column, f"{text!r} does not fit{hint}" if text else "missing", expected)
            return None

    def _number(self, text: str) -> Fraction:
        return Fraction(self._decimal(text or "1"))

    def _step(self, text: str) -> Resolution | None:
        return Resolution.parse(self._decimal(text)) if text else None

    def _decimal(self, text: str) -> Decimal:
        number = Decimal(text.replace(",", ".") if self._comma else text)
        if not number or not number.is_finite() or abs(number.adjusted()) > EXPONENT_MAX:
            raise ValueError(text)
        return number

    def _usual(self, register: Register) -> Resolution:
        """The step where the table says none: the meter's own where that is one, else one unit."""
        try:
            return Resolution.parse(float(usual_step(register)))
        except WireError:
            self._note("resolution", f"{float(register.scale):g} makes no round step", "a step such as 0.1")
            return Resolution(1, 0)

    def _note(self, column: str, problem: str, expected: str) -> None:
        self._mistakes.append(CellMistake(self._row, column, problem, expected))


class _HintError(ValueError):
    """Its text is added to the message."""


def _measurand(text: str) -> str:
    if text not in BY_NAME:
        raise _HintError(did_you_mean(text, list(BY_NAME)))
    return text


def _data_type(text: str) -> DataType:
    plain, _ = split_type(text)
    if plain not in TYPES:
        raise _HintError(did_you_mean(plain, list(DATA_TYPES)))
    return TYPES[plain]


def split_type(text: str) -> tuple[str, str]:
    """`UINT32 (LE)` as `uint32` and `LE`; all of it and nothing where no type is in front."""
    match = TYPE_AND_ORDER.fullmatch(text)
    kind, order = match.groups() if match else (text, "")
    return re.sub(r"[\s_-]", "", kind.lower()), order


def _address(text: str) -> int:
    return int(text[:-1], 16) if re.fullmatch(r"[0-9A-Fa-f]+[hH]", text) else int(text, 0)


def _function(text: str) -> int:
    if text not in {"3", "4", "03", "04"}:
        raise ValueError(text)
    return int(text)


def _unit_factor(text: str, measurand: Measurand) -> Fraction:
    """What makes a value in `text` one in the vocabulary's unit."""
    unit = measurand.unit
    if not text:
        return Fraction(1)
    if unit == "1" and text == "%":
        return Fraction(1, 100)
    if unit == "Wh" and text[-1] in "jJ":
        return JOULE_WH * _prefix(text[:-1])
    if text.lower().endswith(unit.lower()):
        return _prefix(text[: -len(unit)])
    raise ValueError(text)


def _prefix(text: str) -> Fraction:
    return PREFIXES[text] if text else Fraction(1)


def _units_expected(measurand: Measurand) -> str:
    joules = ", MJ or GJ" if measurand.unit == "Wh" else ""
    return f"{measurand.unit}, or k in front{joules}"


def _codes(text: str, kind: DataType) -> tuple[int, ...]:
    bits = 16 * WORDS[kind]
    codes = [int(part, 0) for part in text.replace(";", " ").replace(",", " ").split()]
    if not all(-1 << (bits - 1) <= code < 1 << bits for code in codes):
        raise ValueError(text)
    return tuple(code % (1 << bits) for code in codes)

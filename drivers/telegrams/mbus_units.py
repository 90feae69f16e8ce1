"""Wired M-Bus: what the value information of a record means (EN 13757-3, tables of VIF and VIFE).

Also which of several records that it cannot tell apart is which phase.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from drivers.telegrams.telegram import Item, power_of_ten

EXTENDED_FB, EXTENDED_FD, PLAIN_TEXT, MAKER = 0x7B, 0x7D, 0x7C, 0x7F
FORWARD, BACKWARD = 0x3B, 0x3C
MAKER_FOLLOWS = 0x7F
MORE = 0x80
OWN_BYTES = 2  # the mark of the maker's own, and what it distinguishes
ERRORS_LAST = 0x1F
JOULE_TO_WH = Fraction(1, 3600)


@dataclass(frozen=True, slots=True)
class Meaning:
    """`number * factor + offset` is the value in `unit`; `failed`: an extension says that the record has none."""

    name: str
    unit: str = ""
    factor: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)
    extension: str = ""
    is_date: bool = False
    failed: bool = False


# First code, how many codes, name, unit, exponent of the first code, factor beside the power of ten.
_Row = tuple[int, int, str, str, int, Fraction | int]
TIMES = ((0x20, "on_time"), (0x24, "operating_time"), (0x70, "averaging_time"), (0x74, "actuality_time"))
_PRIMARY: tuple[_Row, ...] = (
    (0x00, 8, "energy", "Wh", -3, 1),
    (0x08, 8, "energy", "Wh", 0, JOULE_TO_WH),
    (0x10, 8, "volume", "m3", -6, 1),
    (0x18, 8, "mass", "kg", -3, 1),
    *((first + 0, 1, name, "s", 0, 1) for first, name in TIMES),
    *((first + 1, 1, name, "s", 0, 60) for first, name in TIMES),
    *((first + 2, 1, name, "s", 0, 3600) for first, name in TIMES),
    *((first + 3, 1, name, "s", 0, 86_400) for first, name in TIMES),
    (0x28, 8, "power", "W", -3, 1),
    (0x30, 8, "power", "W", 0, JOULE_TO_WH),
    (0x38, 8, "flow", "m3/h", -6, 1),
    (0x40, 8, "flow", "m3/h", -7, 60),
    (0x48, 8, "flow", "m3/h", -9, 3600),
    (0x50, 8, "mass_flow", "kg/h", -3, 1),
    (0x58, 4, "flow_temperature", "degC", -3, 1),
    (0x5C, 4, "return_temperature", "degC", -3, 1),
    (0x60, 4, "temperature_difference", "K", -3, 1),
    (0x64, 4, "external_temperature", "degC", -3, 1),
    (0x68, 4, "pressure", "bar", -3, 1),
    (0x6E, 1, "heat_cost_units", "", 0, 1),
    (0x78, 1, "fabrication_number", "", 0, 1),
    (0x79, 1, "identification", "", 0, 1),
    (0x7A, 1, "bus_address", "", 0, 1),
)
_FB: tuple[_Row, ...] = (
    (0x00, 2, "energy", "Wh", 5, 1),
    (0x02, 2, "energy_reactive", "varh", 3, 1),
    (0x04, 2, "energy_apparent", "VAh", 3, 1),
    (0x08, 2, "energy", "Wh", 8, JOULE_TO_WH),
    (0x10, 2, "volume", "m3", 2, 1),
    (0x14, 4, "power_reactive", "var", 0, 1),
    (0x28, 2, "power", "W", 5, 1),
    (0x2C, 4, "frequency", "Hz", -3, 1),
    (0x30, 2, "power", "W", 8, JOULE_TO_WH),
    (0x34, 4, "power_apparent", "VA", 0, 1),
)
_FD: tuple[_Row, ...] = (
    (0x08, 1, "access_number", "", 0, 1),
    (0x09, 1, "medium", "", 0, 1),
    (0x0A, 1, "maker", "", 0, 1),
    (0x0B, 1, "parameter_set", "", 0, 1),
    (0x0C, 1, "model_version", "", 0, 1),
    (0x0D, 1, "hardware_version", "", 0, 1),
    (0x0E, 1, "firmware_version", "", 0, 1),
    (0x0F, 1, "software_version", "", 0, 1),
    (0x17, 1, "error_flags", "", 0, 1),
    (0x40, 16, "voltage", "V", -9, 1),
    (0x50, 16, "current", "A", -12, 1),
    (0x60, 1, "reset_counter", "", 0, 1),
    (0x61, 1, "cumulation_counter", "", 0, 1),
)
_DATES = {0x6C: "date", 0x6D: "date_time"}


def meaning_of(vib: bytes, text: str) -> Meaning:
    """What VIF and VIFEs say; `text` is the unit in plain text that belongs to VIF 7C."""
    code, extensions = vib[0] & 0x7F, vib[1:]
    if code == MAKER:
        return Meaning("maker", extension=_dotted(extensions))
    if code == PLAIN_TEXT:
        return _extended(Meaning(text if text.isprintable() and text else "text"), extensions)
    if code in _DATES:
        return Meaning(_DATES[code], extension=_dotted(extensions), is_date=True)
    table, prefix = _PRIMARY, "vif"
    if code in {EXTENDED_FB, EXTENDED_FD} and extensions:
        table, prefix = (_FB, "vif_fb") if code == EXTENDED_FB else (_FD, "vif_fd")
        code, extensions = extensions[0] & 0x7F, extensions[1:]
    for first, count, name, unit, exponent, factor in table:
        if first <= code < first + count:
            return _extended(Meaning(name, unit, power_of_ten(exponent + code - first) * factor), extensions)
    return _extended(Meaning(f"{prefix}_{code:02x}"), extensions)


def _extended(meaning: Meaning, extensions: bytes) -> Meaning:
    """`meaning` with its VIFEs: corrections are applied, what distinguishes records becomes part of the name."""
    name, factor, offset, failed = meaning.name, meaning.factor, meaning.offset, False
    for at, byte in enumerate(extensions):
        code = byte & 0x7F
        if code == MAKER_FOLLOWS:
            own, status = _without_status(extensions[at:])
            failed = failed or status > 0
            return Meaning(name, meaning.unit, factor, offset, _dotted(own), failed=failed)
        if code in {FORWARD, BACKWARD}:
            name += ".forward" if code == FORWARD else ".backward"
        elif 0x70 <= code <= 0x77:  # noqa: PLR2004 - the table's own numbers
            factor *= power_of_ten(code - 0x76)
        elif 0x78 <= code <= 0x7B:  # noqa: PLR2004
            offset += power_of_ten(code - 0x7B)
        elif code == 0x7D:  # noqa: PLR2004
            factor *= 1000
        elif 0 < code <= ERRORS_LAST:
            failed = True
        elif code:
            name += f".x{code:02x}"
    return Meaning(name, meaning.unit, factor, offset, failed=failed)


def _without_status(extensions: bytes) -> tuple[bytes, int]:
    """ABB ends its own extension with a status: `ff 81 00` is EMU's `ff 01`, and no error."""
    own, last = extensions[:-1], extensions[-1]
    if len(own) == OWN_BYTES and own[1] & MORE and last <= ERRORS_LAST:
        return bytes((own[0], own[1] & ~MORE)), last
    return extensions, 0


def _dotted(extensions: bytes) -> str:
    return f".{extensions.hex()}" if extensions else ""


# Records that have the same name

PHASES = ("l1", "l2", "l3")
BETWEEN_PHASES = ("l1_l2", "l2_l3", "l3_l1")
OFF_MAX = Fraction(1, 10)  # the load may change while a meter measures one after another
BY_PHASE = ("voltage", "current", "power", "power_reactive", "power_apparent")


def told_apart(items: Sequence[Item]) -> list[Item]:
    """The items, those of one name numbered in their order: `voltage.n1`, `voltage.n2` ...

    Those that agree are one. Voltages, currents and powers are never one, but phases in their order: see `_phases`.
    """
    same: dict[str, list[Item]] = {}
    for item in items:
        same.setdefault(item.code, []).append(item)
    told: list[Item] = []
    for name, group in same.items():
        if len(group) == 1 or not name or (name not in BY_PHASE and _agree(group)):
            told += group if not name else [_finest(group)]
        else:
            told += [replace(item, code=f"{name}.n{at}") for at, item in enumerate(group, 1)]
            told += _phases(name, group)
    return told + list(_subunit_phases({item.code: item for item in told}))


def _agree(group: Sequence[Item]) -> bool:
    """Whether they say the same but for rounding: some meters send one energy in kWh and once more in GJ."""
    numbers = [item.number for item in group if item.number is not None]
    steps = [item.step or Fraction(0) for item in group]
    return not numbers or (len(numbers) == len(group) and max(numbers) - min(numbers) <= max(steps))


def _finest(group: Sequence[Item]) -> Item:
    return min(group, key=lambda item: item.step or Fraction(0))


def _phases(name: str, group: Sequence[Item]) -> list[Item]:
    """Three are the phases; a fourth is their sum, behind them or before; six voltages go on between the phases."""
    if name == "voltage":
        tails = (PHASES + BETWEEN_PHASES)[: len(group)]
        return _named(name, group, tails) if len(group) in {len(PHASES), len(PHASES + BETWEEN_PHASES)} else []
    if len(group) == len(PHASES):
        return _named(name, group, PHASES)
    if len(group) != len(PHASES) + 1:
        return []
    if _off(group[0], group[1:]) < _off(group[-1], group[:-1]):
        return _named(name, group, ("total", *PHASES)) if _off(group[0], group[1:]) <= OFF_MAX else []
    is_total = _off(group[-1], group[:-1]) <= OFF_MAX
    if not is_total and name != "current":
        return []
    return _named(name, group, (*PHASES, "total" if is_total else "n"))


def _named(name: str, group: Sequence[Item], tails: Sequence[str]) -> list[Item]:
    return [replace(item, code=f"{name}.{tail}") for item, tail in zip(group, tails, strict=True)]


def _off(total: Item, parts: Sequence[Item]) -> Fraction:
    """By what share of them `total` is not the sum of `parts`, beyond rounding."""
    numbers = [item.number or Fraction(0) for item in parts]
    rounding = max((item.step or Fraction(0) for item in (total, *parts)), default=Fraction(0)) * (len(parts) + 1)
    off = abs((total.number or Fraction(0)) - sum(numbers)) - rounding
    return max(off, Fraction(0)) / max(sum(map(abs, numbers)), rounding, Fraction(1, 10**6))


def _subunit_phases(items: dict[str, Item]) -> Iterator[Item]:
    """Some makers have the phases in subunits 1 to 3. Where the voltages are not there, 2 may be reactive power."""
    if not all(f"voltage.u{at}" in items for at in (1, 2, 3)):
        return
    for name in BY_PHASE:
        for at, phase in enumerate(PHASES, 1):
            item = items.get(f"{name}.u{at}")
            if item is not None and f"{name}.{phase}" not in items:
                yield replace(item, code=f"{name}.{phase}")

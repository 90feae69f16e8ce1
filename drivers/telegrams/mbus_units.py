"""Wired M-Bus: what the value information of a record means (EN 13757-3, tables of VIF and VIFE)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from drivers.telegrams.telegram import power_of_ten

EXTENDED_FB, EXTENDED_FD, PLAIN_TEXT, MAKER = 0x7B, 0x7D, 0x7C, 0x7F
FORWARD, BACKWARD = 0x3B, 0x3C
MAKER_FOLLOWS = 0x7F
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
_PRIMARY: tuple[_Row, ...] = (
    (0x00, 8, "energy", "Wh", -3, 1),
    (0x08, 8, "energy", "Wh", 0, JOULE_TO_WH),
    (0x10, 8, "volume", "m3", -6, 1),
    (0x18, 8, "mass", "kg", -3, 1),
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
            return Meaning(name, meaning.unit, factor, offset, _dotted(extensions[at:]), failed=failed)
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


def _dotted(extensions: bytes) -> str:
    return f".{extensions.hex()}" if extensions else ""

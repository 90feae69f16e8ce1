"""`[fields]` of a profile: which values of a telegram are which measurands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from drivers.profile.model import Field, ProfileMistake, Protocol
from drivers.profile.schema import FieldTable, exact_scale
from wire.errors import WireError
from wire.measurand import BY_NAME
from wire.resolution import Resolution

OBIS = re.compile(r"(\d{1,3}-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3}|[A-Z0-9]{1,3}\.[A-Z0-9]{1,3}(\.\d{1,3})?)(\*\d{1,3})?")
RECORD = re.compile(r"[a-z][a-z_]*(\.[a-z0-9_]+)*")
EXPECTED_OBIS = "codes such as 1-0:1.8.0, with ` + ` or ` - ` between them"
EXPECTED_RECORD = "names of records such as energy.t1, with ` + ` or ` - ` between them"
_OPERATOR = re.compile(r" ([+-]) ")


def fields_of(
    table: Mapping[str, FieldTable] | None, protocol: Protocol, mistakes: list[ProfileMistake]
) -> tuple[Field, ...]:
    """The fields that `table` says; what is wrong with them goes to `mistakes`."""
    if protocol == "modbus":
        if table is not None:
            mistakes.append(ProfileMistake("fields", "a Modbus meter has none", "[registers], or another protocol"))
        return ()
    if table is None:
        if not any(mistake.path.startswith("fields") for mistake in mistakes):
            mistakes.append(ProfileMistake("fields", "missing", "a table of at least one measurand"))
        return ()
    found = (_field(name, entry, protocol, mistakes) for name, entry in table.items())
    return tuple(field for field in found if field is not None)


def _field(name: str, entry: FieldTable, protocol: Protocol, mistakes: list[ProfileMistake]) -> Field | None:
    path = f"fields.{name}"
    before = len(mistakes)
    texts = [entry.code] if isinstance(entry.code, str) else entry.code
    sums = tuple(_sum(text, path, protocol, mistakes) for text in texts)
    scale = exact_scale(entry.scale, path, mistakes)
    if entry.rollover is not None and BY_NAME[name].kind != "counter":
        mistakes.append(ProfileMistake(f"{path}.rollover", f"{name} is no counter", "no rollover, or a counter"))
    try:
        resolution = Resolution.parse(entry.resolution)
    except WireError as error:
        mistakes.append(ProfileMistake(f"{path}.resolution", str(error), "a step such as 0.1"))
        return None
    if len(mistakes) > before or scale is None:
        return None
    rollover = None if entry.rollover is None else Fraction(Decimal(str(entry.rollover)))
    return Field(name, sums, resolution, scale, rollover)


def _sum(text: str, path: str, protocol: Protocol, mistakes: list[ProfileMistake]) -> tuple[tuple[int, str], ...]:
    """`a + b - c` as signs and codes."""
    first, *rest = _OPERATOR.split(text)
    signs = [1, *(1 if sign == "+" else -1 for sign in rest[::2])]
    codes = [first, *rest[1::2]]
    form, expected = (RECORD, EXPECTED_RECORD) if protocol == "mbus" else (OBIS, EXPECTED_OBIS)
    mistakes += [
        ProfileMistake(f"{path}.code", f"{code!r} is none", expected) for code in codes if not form.fullmatch(code)
    ]
    return tuple(zip(signs, codes, strict=True))

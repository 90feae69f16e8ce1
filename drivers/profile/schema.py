"""The file format of a profile: msgspec structs, which make the JSON schema too, and the check for mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from drivers.near_names import near_name
from drivers.profile.model import (
    REGISTERS_MAX,
    CtAppliedBy,
    DataType,
    Encoding,
    Parity,
    ProfileMistake,
    Protocol,
    TextType,
    WordOrder,
)
from wire.measurand import BY_NAME, VOCABULARY

S = TypeVar("S", bound=msgspec.Struct)

RegisterAddress = Annotated[int, Meta(ge=0, le=0xFFFF, description="an address of 0..65535, 0-based as on the wire")]
FunctionCode = Annotated[Literal[3, 4], Meta(description="3 (holding registers) or 4 (input registers)")]
Type = Annotated[DataType, Meta(description="one of uint16, int16, uint32, int32, uint64, int64, float32, float64")]
Order = Annotated[WordOrder, Meta(description='"big" (most significant word first) or "little"')]
Scale = Annotated[
    float | Annotated[str, Meta(pattern=r"^-?[0-9]{1,30}/[0-9]{1,30}$")],
    Meta(description='a number, or a fraction such as "2500/9"; raw * scale is the value in the vocabulary\'s unit'),
]
Codes = Annotated[list[int], Meta(description="a list of raw codes, such as [0xFFFF] or [-32768]")]
ResolutionStep = Annotated[
    float, Meta(gt=0, description="a number above 0: the step in which the value is kept, such as 0.1")
]
RegistersMax = Annotated[int, Meta(ge=1, le=REGISTERS_MAX, description="registers of one request, 1..125")]
Count = Annotated[int, Meta(ge=1, le=REGISTERS_MAX, description="registers, 1..125")]
Range = Annotated[list[float], Meta(min_length=2, max_length=2, description="[lowest, highest], such as [80, 300]")]
Rollover = Annotated[
    float, Meta(gt=0, le=1e18, description="a number above 0, up to 1e18: the value at which the counter is 0 again")
]
Flag = Annotated[bool, Meta(description="true or false")]
Text = Annotated[str, Meta(min_length=1, description="a text that is not empty")]
Texts = Annotated[list[Text], Meta(min_length=1, description="a list of at least one text")]
Span = Annotated[list[RegisterAddress], Meta(min_length=2, max_length=2)]
Spans = Annotated[list[Span], Meta(description="a list of [first, last] address ranges, both inclusive")]


class RegisterTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[registers]`: one entry for each measurand; what it does not say is in `[defaults]`."""

    address: RegisterAddress
    resolution: ResolutionStep
    function: FunctionCode | None = None
    type: Type | None = None
    word_order: Order | None = None
    scale: Scale | None = None
    not_available: Codes | None = None
    rollover: Rollover | None = None
    scale_register: RegisterAddress | None = None
    encoding: Annotated[Encoding, Meta(description="one of plain, four_quadrant, percent_or_one")] = "plain"


class FieldTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[fields]`: one entry for each measurand of a meter with telegrams instead of registers."""

    code: Annotated[
        str | Annotated[list[Text], Meta(min_length=1)],
        Meta(description="a code such as 1-0:1.8.0, a sum of codes, or a list of them: the first that is there counts"),
    ]
    resolution: ResolutionStep
    scale: Scale = 1
    rollover: Rollover | None = None


class DefaultsTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[defaults]`: for registers that do not say it themselves."""

    function: FunctionCode = 4
    type: Type = "float32"
    word_order: Order = "big"
    scale: Scale = 1
    not_available: Codes = []


class FallbackTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[limits.fallback]`: tighter limits, for units of the model that refuse what most of them take."""

    registers_max: RegistersMax | None = None
    gaps: Flag | None = None


class LimitsTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[limits]`: what one request may ask."""

    registers_max: RegistersMax = REGISTERS_MAX
    even: Flag = False
    gaps: Flag = True
    forbidden: Spans = []
    fallback: FallbackTable = FallbackTable()


class SerialTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[serial]`: the line as the meter leaves the factory."""

    baudrate: Annotated[int, Meta(ge=300, le=1_000_000, description="bits per second, 300..1000000")] = 9600
    parity: Annotated[Parity, Meta(description='"N", "E" or "O"')] = "N"
    stopbits: Annotated[Literal[1, 2], Meta(description="1 or 2")] = 1
    unit: Annotated[int, Meta(ge=1, le=247, description="a Modbus unit of 1..247")] = 1
    databits: Annotated[Literal[7, 8], Meta(description="7 or 8")] = 8


class TimingTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[timing]`: how fast the meter is, without the time on the wire."""

    answer_typical_ms: Annotated[int, Meta(ge=0, le=10_000, description="milliseconds, 0..10000")] = 40
    answer_timeout_ms: Annotated[int, Meta(ge=20, le=10_000, description="milliseconds, 20..10000")] = 1000
    quiet_ms: Annotated[int, Meta(ge=0, le=10_000, description="milliseconds, 0..10000")] = 0
    telegram_interval_ms: Annotated[int, Meta(ge=100, le=3_600_000, description="milliseconds, 100..3600000")] = 10_000


class RatingTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[rating]`: what the meter can measure at all; voltages are between phase and neutral."""

    current_max_a: Annotated[float, Meta(gt=0, description="amperes, a number above 0")] | None = None
    voltage_range_v: Range = msgspec.field(default_factory=lambda: [80, 300])
    frequency_range_hz: Range = msgspec.field(default_factory=lambda: [45, 65])


class SerialNumberTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[identity.serial_number]`: where the number on the meter's face lies."""

    function: FunctionCode
    address: RegisterAddress
    type: Annotated[TextType, Meta(description="one of ascii, uint16, uint32, uint64")]
    count: Count | None = None
    word_order: Order = "big"


class MarkTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of `identity.marks`: registers that say the model."""

    function: FunctionCode
    address: RegisterAddress
    count: Count = 1
    any_of: Annotated[list[int], Meta(description="a list of numbers, such as [1648, 1649]")] = []
    ascii: Annotated[str, Meta(description="the text that the registers begin with")] = ""


class DeviceIdTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[identity.device_id]`: the texts of function 43/14, of which the beginning is compared."""

    vendor: Text
    products: Annotated[list[Text], Meta(description="a list of texts")] = []


class IdentityTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[identity]`: how the meter says who it is."""

    serial_number: Annotated[SerialNumberTable | None, Meta(description="a table")] = None
    marks: Annotated[
        list[MarkTable], Meta(description="a list of tables of function, address and any_of or ascii")
    ] = []
    device_id: Annotated[DeviceIdTable | None, Meta(description="a table")] = None


class SunSpecTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[sunspec]`: the map is searched by SunSpec's rule, and addresses count from the header of the model."""

    models: Annotated[
        list[Annotated[int, Meta(ge=1, le=0xFFFE)]],
        Meta(min_length=1, description="a list of model ids, such as [203]"),
    ]
    bases: Annotated[list[RegisterAddress], Meta(min_length=1, description="a list of addresses of 0..65535")] = (
        msgspec.field(default_factory=lambda: [40000, 50000, 0])
    )


class ProfileTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A meter profile of wattpost (docs/profiles.md)."""

    model: Annotated[str, Meta(pattern="^[a-z0-9]+(-[a-z0-9]+)*$", description="small letters, digits and dashes")]
    vendor: Text
    description: Text
    sources: Texts
    registers: (
        Annotated[dict[str, RegisterTable], Meta(min_length=1, description="a table of at least one measurand")] | None
    ) = None
    protocol: Annotated[Protocol, Meta(description="one of modbus, dsmr-p1, sml, iec62056-21, dlms-hdlc, mbus")] = (
        "modbus"
    )
    ct: Annotated[
        CtAppliedBy,
        Meta(description='"none" (directly connected), "meter" (it multiplies by the CT ratio itself) or "box"'),
    ] = "none"
    vt: Annotated[CtAppliedBy, Meta(description='"none" (no voltage transformer), "meter" or "box"')] = "none"
    caveats: Annotated[list[Text], Meta(description="a list of texts")] = []
    default: Annotated[list[str] | None, Meta(description="a list of measurands of [registers]")] = None
    defaults: DefaultsTable = DefaultsTable()
    limits: LimitsTable = LimitsTable()
    serial: SerialTable = SerialTable()
    timing: TimingTable = TimingTable()
    rating: RatingTable = RatingTable()
    identity: IdentityTable = IdentityTable()
    sunspec: Annotated[SunSpecTable | None, Meta(description="a table")] = None
    fields: (
        Annotated[dict[str, FieldTable], Meta(min_length=1, description="a table of at least one measurand")] | None
    ) = None
    push: Flag = False


def exact_scale(scale: float | str, path: str, mistakes: list[ProfileMistake]) -> Fraction | None:
    """`scale` without rounding; one that leaves nothing of a value is appended to `mistakes`."""
    if isinstance(scale, str):
        numerator, denominator = map(int, scale.split("/"))
        exact = Fraction(numerator, denominator) if denominator else None
    else:
        decimal = Decimal(str(scale))
        exact = Fraction(decimal) if decimal.is_finite() else None
    if not exact:
        mistakes.append(ProfileMistake(f"{path}.scale", f"{scale} leaves nothing of a value", "a number that is not 0"))
        return None
    return exact


def did_you_mean(word: str, known: list[str]) -> str:
    """`", did you mean 'x'?"`, or nothing where no known word is near."""
    near = near_name(word, known)
    return "" if near is None else f", did you mean {near!r}?"


def read_table(kind: type[S], table: object, path: str, mistakes: list[ProfileMistake]) -> S | None:
    """`table` as `kind`; what is wrong is appended to `mistakes`; None where a required key is missing."""
    if not isinstance(table, Mapping):
        mistakes.append(ProfileMistake(path or "file", f"{table!r} is not a table", "a table"))
        return None
    known = _fields(kind)
    for name in table:
        if name not in known:
            guess = did_you_mean(name, list(known))
            mistakes.append(ProfileMistake(_join(path, name), f"unknown key{guess}", f"one of {', '.join(known)}"))
    values: dict[str, Any] = {}
    for name, field in known.items():
        if name in table:
            before = len(mistakes)
            value = _read_value(field.type, table[name], _join(path, name), mistakes)
            if len(mistakes) == before:
                values[name] = value
        elif field.required:
            mistakes.append(ProfileMistake(_join(path, name), "missing", _expected(field.type)))
    missing = any(field.required and name not in values for name, field in known.items())
    return None if missing else kind(**values)


@cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """Of a table, by name: msgspec evaluates all annotations anew each time that it is asked."""
    return {field.name: field for field in msgspec.structs.fields(kind)}


def _read_value(kind: Any, value: object, path: str, mistakes: list[ProfileMistake]) -> Any:
    structs = _structs(kind)
    if structs is not None:
        return read_table(structs, value, path, mistakes)
    if path in {"registers", "fields"} and isinstance(value, Mapping) and value:
        return _read_measurands(FieldTable if path == "fields" else RegisterTable, path, value, mistakes)
    if path == "identity.marks" and isinstance(value, list):
        return [read_table(MarkTable, entry, f"{path}[{index}]", mistakes) for index, entry in enumerate(value)]
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        mistakes.append(ProfileMistake(path, f"{value!r} does not fit", _expected(kind)))
        return None


def _structs(kind: Any) -> type[msgspec.Struct] | None:
    """The table that a field is, also inside `Annotated` and `X | None`."""
    if isinstance(kind, type):
        return kind if issubclass(kind, msgspec.Struct) else None
    if get_origin(kind) not in {Annotated, UnionType, Union}:
        return None
    return next((found for part in get_args(kind) if (found := _structs(part)) is not None), None)


def _read_measurands(
    kind: type[S], table_path: str, table: Mapping[str, object], mistakes: list[ProfileMistake]
) -> dict[str, S]:
    entries = {}
    for name, entry in table.items():
        path = f"{table_path}.{name}"
        if name not in BY_NAME:
            problem = f"unknown measurand{did_you_mean(name, list(BY_NAME))}"
            mistakes.append(ProfileMistake(path, problem, "a name of docs/measurands.md"))
        found = read_table(kind, entry, path, mistakes)
        if found is not None and name in BY_NAME:
            entries[name] = found
    return entries


def _expected(kind: Any) -> str:
    """The description that every field's annotation carries, also inside `X | None`."""
    metas = (meta for part in (kind, *get_args(kind)) for meta in getattr(part, "__metadata__", ()))
    return next(str(meta.description) for meta in metas if meta.description)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def json_schema() -> dict[str, Any]:
    """The JSON schema of a profile file, for editors; `parse_profile` checks more than it can say."""
    schema = msgspec.json.schema(ProfileTable)
    for table in ("registers", "fields"):
        choices = schema["$defs"]["ProfileTable"]["properties"][table]["anyOf"]
        entries = next(choice for choice in choices if choice["type"] == "object")
        entries["propertyNames"] = {"enum": [measurand.name for measurand in VOCABULARY]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "wattpost meter profile", **schema}

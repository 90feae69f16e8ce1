"""A meter profile as values: what `drivers/profiles/*.toml` says, checked and with every default filled in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, get_args

from wire.measurand import BY_NAME, Measurand
from wire.resolution import Resolution

DataType = Literal["uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
WordOrder = Literal["big", "little"]
Parity = Literal["N", "E", "O"]
CtAppliedBy = Literal["none", "meter", "box"]
Protocol = Literal["modbus", "dsmr-p1", "sml", "iec62056-21", "dlms-hdlc", "mbus"]
Encoding = Literal["plain", "four_quadrant", "percent_or_one"]
TextType = Literal["ascii", "uint16", "uint32", "uint64"]

DATA_TYPES: tuple[DataType, ...] = get_args(DataType)
WORDS: dict[DataType, int] = {name: int(name.lstrip("uintfloa")) // 16 for name in DATA_TYPES}
ADDRESS_MAX = 0xFFFF
REGISTERS_MAX = 125  # of one FC3/FC4 answer, Modbus application protocol V1.1b3
CT_UNITS = frozenset({"A", "W", "var", "VA", "Wh", "varh", "VAh"})
EXPONENT_STEP = Resolution(1, 0)
VT_UNITS = CT_UNITS - {"A"} | {"V"}


@dataclass(frozen=True, slots=True)
class Register:
    """One measurand: where its raw value lies, and what the value in the vocabulary's unit is (`raw * scale`)."""

    measurand: str
    function_code: int  # 3 holding, 4 input
    address: int  # 0-based, as on the wire
    data_type: DataType
    resolution: Resolution
    scale: Fraction = Fraction(1)
    word_order: WordOrder = "big"  # "little": least significant word first; bytes of a word are always big-endian
    not_available: tuple[int, ...] = ()  # raw codes as unsigned numbers; NaN always is one
    rollover: Fraction | None = None  # of a counter: the value, in the vocabulary's unit, at which it is 0 again
    scale_register: int | None = None  # where an int16 lies whose power of ten multiplies too (SunSpec's sunssf)
    encoding: Encoding = "plain"  # how a power factor hides its meaning, see drivers.modbus.decode
    relative: bool = False  # `address` and `scale_register` count from the header of a SunSpec model

    @property
    def count(self) -> int:
        """Registers (16-bit words) of the value."""
        return WORDS[self.data_type]

    @property
    def end(self) -> int:
        """The address after the value."""
        return self.address + self.count

    @property
    def meaning(self) -> Measurand:
        """The entry of the vocabulary."""
        return BY_NAME[self.measurand]

    @property
    def scales_with_ct(self) -> bool:
        """Whether a current transformer's factor multiplies it (currents, powers, energies)."""
        return self.meaning.unit in CT_UNITS

    @property
    def scales_with_vt(self) -> bool:
        """Whether a voltage transformer's factor multiplies it (voltages, powers, energies)."""
        return self.meaning.unit in VT_UNITS


@dataclass(frozen=True, slots=True)
class Field:
    """One measurand of a telegram: the first of `sums` whose codes are all there, each with its sign, times `scale`."""

    measurand: str
    sums: tuple[tuple[tuple[int, str], ...], ...]
    resolution: Resolution
    scale: Fraction = Fraction(1)
    rollover: Fraction | None = None  # of a counter: the value, in the vocabulary's unit, at which it is 0 again

    @property
    def meaning(self) -> Measurand:
        """The entry of the vocabulary."""
        return BY_NAME[self.measurand]


def scale_registers(registers: Iterable[Register]) -> tuple[Register, ...]:
    """The exponents that `registers` need beside them, each once, as registers that can be planned and decoded."""
    places = {(each.function_code, each.scale_register) for each in registers if each.scale_register is not None}
    return tuple(
        Register(f"scale_{address}", function_code, address, "int16", EXPONENT_STEP, not_available=(0x8000,))
        for function_code, address in sorted(places)
    )


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """What one request may ask of the meter."""

    registers_max: int = REGISTERS_MAX
    even: bool = False  # starts and counts must be even
    gaps: bool = True  # registers between the listed ones may be read along
    forbidden: tuple[tuple[int, int], ...] = ()  # inclusive address ranges never to be touched, of either function


@dataclass(frozen=True, slots=True)
class SerialDefaults:
    """The line as the meter leaves the factory."""

    baudrate: int = 9600
    parity: Parity = "N"
    stopbits: int = 1
    unit: int = 1
    databits: int = 8


@dataclass(frozen=True, slots=True)
class Timing:
    """How fast the meter is, without the time on the wire."""

    answer_typical_ms: int = 40
    answer_timeout_ms: int = 1000
    quiet_ms: int = 0  # silence asked for before the next request, beyond the 3.5 characters of the standard
    telegram_interval_ms: int = 10_000  # of a meter that sends by itself: how long the next telegram may take


@dataclass(frozen=True, slots=True)
class Rating:
    """What the meter can measure at all; what lies outside is implausible. Voltages are between phase and neutral."""

    current_max_a: float | None = None  # on the primary side where the meter multiplies by the ratio itself: None
    voltage_range_v: tuple[float, float] = (80, 300)
    frequency_range_hz: tuple[float, float] = (45, 65)


@dataclass(frozen=True, slots=True)
class TextRegister:
    """Where a text or a number lies that a person reads, such as the serial number on the meter's face."""

    function_code: int
    address: int
    count: int  # registers
    type: TextType
    word_order: WordOrder = "big"


@dataclass(frozen=True, slots=True)
class Mark:
    """Registers that say the model. One that matches is strong evidence: `any_of`, or a text that begins as `ascii`."""

    function_code: int
    address: int
    count: int
    any_of: tuple[int, ...] = ()  # all the registers as one unsigned number, most significant word first
    ascii: str = ""  # "" = none


@dataclass(frozen=True, slots=True)
class DeviceId:
    """The texts of function 43/14 (read device identification); both are compared as prefixes."""

    vendor: str
    products: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IdentityRules:
    """How the meter says who it is."""

    serial_number: TextRegister | None = None
    marks: tuple[Mark, ...] = ()
    device_id: DeviceId | None = None


@dataclass(frozen=True, slots=True)
class SunSpec:
    """The map is found by SunSpec's rule: "SunS" at one of `bases`, then the chain of models up to one of `models`."""

    models: tuple[int, ...]
    bases: tuple[int, ...] = (40000, 50000, 0)


@dataclass(frozen=True, slots=True)
class Profile:
    """A meter model. `fallback` holds the limits to take when the meter refuses a block planned with `limits`."""

    model: str
    vendor: str
    description: str
    registers: tuple[Register, ...]
    default: tuple[str, ...]  # measurands read when the configuration names none
    ct: CtAppliedBy = "none"
    vt: CtAppliedBy = "none"
    limits: ReadLimits = ReadLimits()
    fallback: ReadLimits | None = None
    serial: SerialDefaults = SerialDefaults()
    timing: Timing = Timing()
    protocol: Protocol = "modbus"
    rating: Rating = Rating()
    identity: IdentityRules = IdentityRules()
    sunspec: SunSpec | None = None
    fields: tuple[Field, ...] = ()  # of protocols with telegrams instead of registers
    push: bool = False  # the meter sends telegrams by itself; otherwise it is asked
    sources: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    digest: str = field(default="", compare=False)  # 32 hex digits of the SHA-256 of the file

    @property
    def measurands(self) -> tuple[str, ...]:
        """All that the meter measures, in the order of the file."""
        return tuple(each.measurand for each in self.registers) + tuple(each.measurand for each in self.fields)

    def select_fields(self, measurands: tuple[str, ...] | None = None) -> tuple[Field, ...]:
        """As `select`, for a meter with telegrams."""
        by_name = {each.measurand: each for each in self.fields}
        return tuple(by_name[name] for name in (self.default if measurands is None else measurands))

    def select(self, measurands: tuple[str, ...] | None = None) -> tuple[Register, ...]:
        """The registers of `measurands` in that order, or of the default set; `KeyError` names one that is not here."""
        by_name = {register.measurand: register for register in self.registers}
        return tuple(by_name[name] for name in (self.default if measurands is None else measurands))


@dataclass(frozen=True, slots=True)
class ProfileMistake:
    """One thing wrong with a profile: where (key path), what, and what would be right."""

    path: str
    problem: str
    expected: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; expected {self.expected}"


class ProfileError(ValueError):
    """A profile that cannot be used; `mistakes` has all of them, `str()` one line for each."""

    def __init__(self, subject: str, mistakes: tuple[ProfileMistake, ...]) -> None:
        super().__init__("\n".join(f"profile {subject}: {mistake}" for mistake in mistakes))
        self.subject = subject
        self.mistakes = mistakes

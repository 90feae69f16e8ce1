"""A profile as TOML text, for people to go on with, and its test: registers with their value. Pure."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from drivers.profile.model import Register, SerialDefaults
from drivers.profile.review import is_decimal

FORMAT = {
    "uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "uint64": "Q", "int64": "q", "float32": "f",
    "float64": "d",
}  # fmt: skip
GROUPS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("Voltages", lambda name: name.startswith("voltage")),
    ("Currents", lambda name: name.startswith("current")),
    ("Powers", lambda name: name.startswith("power_") and "factor" not in name),
    ("Counters", lambda name: name.startswith(("energy", "volume"))),
    ("Others", lambda _name: True),
)
USUAL = (
    "voltage_l1_n", "voltage_l2_n", "voltage_l3_n", "current_l1", "current_l2", "current_l3", "power_active_l1",
    "power_active_l2", "power_active_l3", "power_active_total", "power_active_import", "power_active_export",
    "power_reactive_total", "power_factor_total", "frequency", "energy_active_import_total",
    "energy_active_export_total", "energy_active_sum_total", "energy_heat_total", "volume_total",
)  # fmt: skip
EXAMPLES: dict[str, tuple[float, ...]] = {  # in the vocabulary's unit
    "V": (230.1, 0), "A": (4.321, 0), "W": (1234, -567), "var": (321, -98), "VA": (1300, 0), "1": (0.95, -0.5),
    "Hz": (49.98, 50), "Wh": (12_345_600, 100), "varh": (2_345_600, 100), "VAh": (3_345_600, 100),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class NewProfile:
    """What a profile says beside its registers."""

    model: str
    vendor: str
    description: str
    sources: tuple[str, ...]
    serial: SerialDefaults
    doubts: tuple[str, ...] = ()  # of the table, for somebody to settle


def default_set(registers: Sequence[Register]) -> tuple[str, ...]:
    """What most people want of these; all, where none is usual."""
    known = [register.measurand for register in registers]
    return tuple(name for name in USUAL if name in known) or tuple(known)


def profile_toml(new: NewProfile, registers: Sequence[Register]) -> str:
    """The file's text; what is the same for most registers is said once."""
    function = _most([register.function_code for register in registers])
    data_type = _most([register.data_type for register in registers])
    order = _most([register.word_order for register in registers])
    usual = {"function": function, "type": data_type, "word_order": order}
    serial = new.serial
    head = [
        f"model = {_text(new.model)}",
        f"vendor = {_text(new.vendor)}",
        f"description = {_text(new.description)}",
        "sources = [",
        *[f"  {_text(source)}," for source in new.sources],
        "]",
        "caveats = []  # what somebody who wonders about a value should know",
        'ct = "none"  # "meter": it multiplies by the ratio of its transformers itself; "box": wattpost has to',
        "default = [",
        *[f"  {_text(name)}," for name in default_set(registers)],
        "]",
        "",
        "[serial]  # as it leaves the factory",
        *[f"{key} = {_value(getattr(serial, key))}" for key in ("baudrate", "parity", "stopbits", "unit")],
        "",
        "[limits]",
        "registers_max = 60  # of one request: look for it in the manual, 125 at most",
        "fallback = { gaps = false }  # after a refusal only listed registers are read",
        "",
        "[timing]",
        "answer_timeout_ms = 1000",
        "",
        "#[rating]  # with it, impossible values are flagged",
        "#current_max_a = 65",
        "",
        "#[identity]  # with it, a scan recognises the meter, and an exchanged one is noticed",
        '#serial_number = { function = 3, address = 0xFC00, type = "uint32" }',
        "#marks = [{ function = 3, address = 0xFC02, any_of = [0x0070] }]",
        "",
        "[defaults]  # for registers that do not say it themselves",
        *[f"{key} = {_value(value)}" for key, value in usual.items()],
        "",
        "[registers]  # addresses count from 0, as on the wire",
        *[f"# TODO: {doubt}" for doubt in new.doubts],
    ]
    return "\n".join([*head, *_register_lines(registers, usual)]) + "\n"


def _register_lines(registers: Sequence[Register], usual: dict[str, Any]) -> list[str]:
    left = sorted(registers, key=lambda register: (register.function_code, register.address))
    lines = []
    for title, belongs in GROUPS:
        group = [register for register in left if belongs(register.measurand)]
        left = [register for register in left if register not in group]
        if group:
            lines += [f"# {title}.", *[_register_line(register, usual) for register in group]]
    return lines


def _register_line(register: Register, usual: dict[str, Any]) -> str:
    said = {"function": register.function_code, "type": register.data_type, "word_order": register.word_order}
    parts = [f"address = {register.address}"]
    parts += [f"{key} = {_value(value)}" for key, value in said.items() if value != usual[key]]
    if register.scale != 1:
        parts.append(f"scale = {_number(register.scale)}")
    parts.append(f"resolution = {_number(Fraction(register.resolution.step))}")
    if register.not_available:
        parts.append(f"not_available = [{', '.join(map(hex, register.not_available))}]")
    return f"{register.measurand} = {{ {', '.join(parts)} }}"


def examples_json(registers: Sequence[Register]) -> str:
    """Examples for `wattpost check-profile`: measurand -> [registers in hexadecimal, value], one line for each."""
    lines = [f"  {json.dumps(register.measurand)}: {json.dumps(_examples(register))}" for register in registers]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _examples(register: Register) -> list[list[str]]:
    found = [_example(register, value) for value in EXAMPLES.get(register.meaning.unit, (1, 0))]
    return [example for example in found if example is not None]


def _example(register: Register, value: float) -> list[str] | None:
    """The registers that hold `value`, as near as they can; None where the type has no room for it."""
    step = Fraction(register.resolution.step)
    raw = Fraction(str(value)) / register.scale
    try:
        data = struct.pack(">" + FORMAT[register.data_type], _rounded(register, raw))
    except struct.error:
        return None
    words = [data[at : at + 2] for at in range(0, len(data), 2)]
    (held,) = struct.unpack(">" + FORMAT[register.data_type], data)
    if register.word_order == "little":
        words.reverse()
    steps = round(Fraction(held) * register.scale / step)
    return [b"".join(words).hex(), f"{steps * register.resolution.step:f}"]


def _rounded(register: Register, raw: Fraction) -> float:
    return float(raw) if "float" in register.data_type else round(raw)


def _most(values: Sequence[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]


def _number(number: Fraction) -> str:
    """As a decimal; as a fraction in quotes where no decimal is exact."""
    if not is_decimal(number):
        return _text(f"{number.numerator}/{number.denominator}")
    decimal = Decimal(number.numerator) / Decimal(number.denominator)
    return f"{decimal.normalize():f}"


def _value(value: object) -> str:
    return _text(value) if isinstance(value, str) else str(value)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)

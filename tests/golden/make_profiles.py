"""Write tests/golden/profiles anew, for profiles that were changed on purpose: PYTHONPATH=. .venv/bin/python FILE.

One file for each Modbus profile: where each value lies and what it is, and examples of registers with their value. The
examples are packed and multiplied here, without drivers.modbus.decode.
"""

from __future__ import annotations

import dataclasses
import json
import random
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

from drivers.profile.files import find_profile, shipped_profiles
from drivers.profile.parse import Profile, Register

FOLDER = Path(__file__).with_name("profiles")
FORMAT = {
    "uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "uint64": "Q", "int64": "q", "float32": "f",
    "float64": "d",
}  # fmt: skip
EXAMPLES = 3


def modbus_profiles() -> list[Profile]:
    profiles = (find_profile(model) for model in sorted(shipped_profiles()))
    return [profile for profile in profiles if profile.protocol == "modbus"]


def described(profile: Profile) -> dict[str, Any]:
    """All that decides a value, as JSON."""
    limits = profile.limits
    return {
        "ct": profile.ct,
        "vt": profile.vt,
        "serial": _plain(profile.serial),
        "timing": _plain(profile.timing),
        "rating": _plain(profile.rating),
        "identity": _plain(profile.identity),
        "sunspec": None if profile.sunspec is None else _plain(profile.sunspec),
        "fallback": None if profile.fallback is None else _plain(profile.fallback),
        "limits": [limits.registers_max, limits.even, limits.gaps, [list(span) for span in limits.forbidden]],
        "default": list(profile.default),
        "registers": {register.measurand: _place(register) for register in profile.registers},
    }


def _plain(value: Any) -> Any:
    """As JSON would give it back."""
    return json.loads(json.dumps(dataclasses.asdict(value)))


def _place(register: Register) -> list[Any]:
    codes = [hex(code) for code in register.not_available]
    place = [register.function_code, register.address, register.data_type, register.word_order, str(register.scale)]
    rollover = None if register.rollover is None else str(register.rollover)
    return [*place, str(register.resolution.step), codes, rollover, register.scale_register, register.encoding]


def examples(profile: Profile) -> dict[str, list[list[Any]]]:
    """Measurand -> registers in hexadecimal, power of ten of the scale register, value."""
    dice = random.Random(profile.model)
    return {register.measurand: [_example(register, dice) for _ in range(EXAMPLES)] for register in profile.registers}


def _example(register: Register, dice: random.Random) -> list[Any]:
    form = ">" + FORMAT[register.data_type]
    signed = register.data_type.startswith("int")
    raw: float
    if "float" in register.data_type:
        high = 1 if register.encoding != "plain" else 5000
        (raw,) = struct.unpack(form, struct.pack(form, dice.uniform(-high, high)))
    else:
        top = min((1 << (16 * register.count - signed)) - 2, 10**9)
        low = -top if signed else 1
        raw = dice.randint(low, top) if register.encoding == "plain" else dice.randint(-100, 100)
    data = struct.pack(form, raw)
    words = [data[at : at + 2] for at in range(0, len(data), 2)]
    exponent = None if register.scale_register is None else -2
    value = Fraction(raw) * register.scale * (Fraction(1, 100) if exponent else 1)
    step = Fraction(register.resolution.step)
    return [
        b"".join(words[::-1] if register.word_order == "little" else words).hex(),
        exponent,
        str(round(value / step) * register.resolution.step),
    ]


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for profile in modbus_profiles():
        tables = described(profile) | {"examples": examples(profile)}
        (FOLDER / f"{profile.model}.json").write_text(as_lines(tables))
    for path in set(FOLDER.glob("*.json")) - {FOLDER / f"{profile.model}.json" for profile in modbus_profiles()}:
        path.unlink()


def as_lines(tables: dict[str, Any]) -> str:
    """JSON with one line for each measurand."""
    parts = []
    for name, value in tables.items():
        if isinstance(value, dict):
            rows = ",\n".join(f"    {json.dumps(key)}: {json.dumps(row)}" for key, row in value.items())
            parts.append(f"  {json.dumps(name)}: {{\n{rows}\n  }}")
        else:
            parts.append(f"  {json.dumps(name)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()

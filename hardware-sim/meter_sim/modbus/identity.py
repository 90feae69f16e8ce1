"""How a simulated meter says who it is: marks, serial number, FC 43/14, and SunSpec's chain of models."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from drivers.profile.model import DeviceId, Mark, Profile, TextRegister
from meter_sim.modbus.words import swap_words

READ_DEVICE_ID = 0x0E
BASIC, EXTENDED, INDIVIDUAL = 1, 3, 4
SUNS = b"SunS"
COMMON_MODEL, COMMON_REGISTERS = 1, 66
END_MODEL = 0xFFFF
INTEGER_MODEL_REGISTERS, FLOAT_MODEL_REGISTERS = 105, 124
FLOAT_MODELS = 211


@dataclass(frozen=True, slots=True)
class Constant:
    """Registers that always say the same; those of a mark are answered when exactly they are asked for."""

    function_code: int
    address: int
    data: bytes

    @property
    def count(self) -> int:
        return len(self.data) // 2


def constants(profile: Profile, serial_number: int) -> Iterator[Constant]:
    """The identification registers of a Modbus meter."""
    identity = profile.identity
    for mark in identity.marks:
        yield Constant(mark.function_code, mark.address, _mark_bytes(mark))
    if identity.serial_number is not None:
        place = identity.serial_number
        yield Constant(place.function_code, place.address, _text_bytes(place, serial_number))


def _mark_bytes(mark: Mark) -> bytes:
    size = 2 * mark.count
    return mark.any_of[0].to_bytes(size, "big") if mark.any_of else mark.ascii.encode().ljust(size, b"\0")[:size]


def _text_bytes(place: TextRegister, number: int) -> bytes:
    size = 2 * place.count
    if place.type == "ascii":
        return str(number).encode().ljust(size, b"\0")[:size]
    data = (number % (1 << (8 * size))).to_bytes(size, "big")
    return data if place.word_order == "big" else swap_words(data)


def sunspec_header(profile: Profile, base: int) -> int:
    """The address of the header of the meter's model: after "SunS" and the common model."""
    return base + 2 + 2 + COMMON_REGISTERS if profile.sunspec else 0


def sunspec_constants(profile: Profile, base: int, serial_number: int) -> Iterator[Constant]:
    """The letters SunS, the common model (manufacturer, model, version, serial number), the meter's header, the end."""
    if profile.sunspec is None:
        return
    codes = sorted({register.function_code for register in profile.registers})
    model = profile.sunspec.models[0]
    length = sunspec_length(model)
    texts = ((profile.vendor, 32), (profile.model, 32), ("", 16), ("1.0", 16), (str(serial_number), 32))
    common = b"".join(text.encode().ljust(size, b"\0")[:size] for text, size in texts) + struct.pack(">HH", 1, 0x8000)
    header = sunspec_header(profile, base)
    for code in codes:
        yield Constant(code, base, SUNS + struct.pack(">HH", COMMON_MODEL, COMMON_REGISTERS) + common)
        yield Constant(code, header, struct.pack(">HH", model, length))
        yield Constant(code, header + 2 + length, struct.pack(">HH", END_MODEL, 0))


def sunspec_length(model: int) -> int:
    """Registers of a meter model after its header."""
    return FLOAT_MODEL_REGISTERS if model >= FLOAT_MODELS else INTEGER_MODEL_REGISTERS


def device_id_body(device_id: DeviceId, read_code: int, first: int) -> bytes | None:
    """The answer to FC 43/14 without the function code; None where the request is not to be understood."""
    product = device_id.products[0] if device_id.products else "meter"
    objects = {0: device_id.vendor, 1: product, 2: "V1.0"}
    if not BASIC <= read_code <= INDIVIDUAL or (read_code == INDIVIDUAL and first not in objects):
        return None
    chosen = [first] if read_code == INDIVIDUAL else [number for number in objects if number >= first] or list(objects)
    told = b"".join(bytes((number, len(objects[number]))) + objects[number].encode() for number in chosen)
    return bytes((READ_DEVICE_ID, read_code, 0x81, 0, 0, len(chosen))) + told

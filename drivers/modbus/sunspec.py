"""Where a SunSpec device has its models: "SunS" at one of the bases, then a chain of headers. Pure.

A header is the model's number and the length of what follows; the next header comes after that, and number 0xFFFF ends
the chain (SunSpec Information Model Specification 1.9). A search asks for registers by yielding blocks.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from dataclasses import dataclass, replace

from drivers.modbus.block_plan import Block
from drivers.modbus.nameplate import nameplate_text
from drivers.profile.model import ADDRESS_MAX, IdentityRules, Profile, Register, SunSpec

SUNS = b"SunS"
FUNCTION_CODE = 3
END = 0xFFFF
HEADER_WORDS = 2
MODELS_MAX = 64  # of one chain; real ones have ten or so
COMMON_MODEL = 1
COMMON_WORDS = 66  # of the common model with its header, up to and with the serial number
FAMILY = 10  # 201..204 are laid out alike, and 211..214

Search = Generator[Block, bytes | None, "FoundModel"]


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model in the chain. `address` is that of its header; `common` that of the nearest common model before it."""

    base: int
    model: int
    address: int
    length: int
    common: int | None

    @property
    def header(self) -> Block:
        """Where the header is, to see whether the model still is."""
        return Block(FUNCTION_CODE, self.address, HEADER_WORDS)

    def is_at(self, data: bytes | None) -> bool:
        """Whether the registers of `header` say so."""
        return data == struct.pack(">HH", self.model, self.length)


class NotFoundError(Exception):
    """The device has no such model; `str()` says what it has."""


def search(spec: SunSpec) -> Search:
    """Yields the blocks to read and is sent their registers (big-endian), or None for a refusal; returns what it found.

    Raises `NotFoundError`. At most one request for each base and `MODELS_MAX` for the chain.
    """
    for base in spec.bases:
        data = yield Block(FUNCTION_CODE, base, HEADER_WORDS)
        if data == SUNS:
            return (yield from _walk(base, spec.models))
    places = ", ".join(map(str, spec.bases))
    raise NotFoundError(f'there is no "SunS" at {places}')


def _walk(base: int, models: tuple[int, ...]) -> Search:
    address, common = base + HEADER_WORDS, None
    seen: list[int] = []
    while len(seen) < MODELS_MAX and address + HEADER_WORDS <= ADDRESS_MAX:
        data = yield Block(FUNCTION_CODE, address, HEADER_WORDS)
        if data is None or len(data) != 2 * HEADER_WORDS:
            break
        model, length = struct.unpack(">HH", data)
        if model in models:
            return FoundModel(base, model, address, length, common)
        if model == END:
            break
        seen.append(model)
        common = address if model == COMMON_MODEL else common
        address += HEADER_WORDS + length
    there = ", ".join(map(str, seen)) or "none"
    wanted = ", ".join(map(str, models))
    raise NotFoundError(f"its SunSpec models are {there}, and not one of {wanted}")


def is_laid_out_as(profile: Profile, model: int) -> bool:
    """Whether the registers of `profile` hold for `model` too, or are those of the other kind of numbers."""
    return profile.sunspec is None or model // FAMILY == profile.sunspec.models[0] // FAMILY


def placed(profile: Profile, layout: Profile, found: FoundModel) -> Profile:
    """`profile` at the addresses of the device: the places of `layout`, in the steps of `profile`.

    Raises `NotFoundError` where the model is too short for a register.
    """
    places = {register.measurand: register for register in layout.registers}
    registers = tuple(
        _placed(places[each.measurand], each, found) for each in profile.registers if each.measurand in places
    )
    end = max(register.end for register in registers)
    if end > found.address + HEADER_WORDS + found.length:
        text = f"its SunSpec model {found.model} ends after {found.length} registers, before the values that are asked"
        raise NotFoundError(text)
    return replace(profile, registers=registers, identity=IdentityRules(), sunspec=None)


def _placed(place: Register, kept: Register, found: FoundModel) -> Register:
    scale = place.scale_register
    return replace(
        place,
        address=found.address + place.address,
        scale_register=None if scale is None else found.address + scale,
        resolution=kept.resolution,
        relative=False,
    )


def common_block(address: int) -> Block:
    """The registers of the common model whose header is at `address`."""
    return Block(FUNCTION_CODE, address, COMMON_WORDS)


def nameplate(data: bytes) -> dict[str, str]:
    """Manufacturer, model, version and serial number of a common model's registers; what is empty is left out."""
    words = {"manufacturer": (2, 16), "model": (18, 16), "version": (42, 8), "serial_number": (50, 16)}
    texts = {name: nameplate_text("ascii", "big", data[2 * at : 2 * (at + n)]) for name, (at, n) in words.items()}
    return {name: text for name, text in texts.items() if text}

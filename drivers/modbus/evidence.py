"""What a meter's registers say, and whether a meter may say so: the evidence that `drivers.modbus.identify` weighs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Literal

from drivers.modbus.block_plan import Block, plan_reads
from drivers.modbus.decode import decode
from drivers.profile.model import Profile, ReadLimits, Register

Ask = Callable[[bytes], Awaitable[bytes | None]]
EvidenceVerdict = Literal["good", "nothing", "wrong", "refused"]

DEVICE_ID_REQUEST = b"\x2b\x0e\x01\x00"
DEVICE_ID_TEXTS_AT = 7  # function, type, code, conformity, more, next, number of objects
SILENCES_MAX = 4  # a meter that leaves out what it does not know is not asked for everything
SQRT_3 = 3**0.5
LINE_TO_LINE = ("voltage_l1_l2", "voltage_l2_l3", "voltage_l3_l1", "voltage_ll_avg")
PLAUSIBLE_MAX = {"A": 1e5, "W": 1e8, "var": 1e8, "VA": 1e8, "Wh": 1e13, "varh": 1e13, "VAh": 1e13, "1": 1.01}


class Registers:
    """Reads each place once, and remembers what it said."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: dict[Block, bytes | None] = {}
        self._silences = 0
        self.requests = 0

    async def read(self, block: Block) -> bytes | None:
        """The registers, None where the meter refuses them or says nothing."""
        if block not in self._known:
            self._known[block] = await self._read(block)
        return self._known[block]

    async def _read(self, block: Block) -> bytes | None:
        body = bytes((block.function_code,)) + block.address.to_bytes(2, "big") + block.count.to_bytes(2, "big")
        answer = await self.ask(body)
        if answer is None or answer[0] != block.function_code or len(answer) != 2 + 2 * block.count:
            return None
        return answer[2:]

    async def ask(self, body: bytes) -> bytes | None:
        if self._silences >= SILENCES_MAX:
            return None
        self.requests += 1
        answer = await self._ask(body)
        self._silences = self._silences + 1 if answer is None else 0
        return answer

    def forgive(self) -> None:
        """What comes next is worth asking, however silent it was about what came before."""
        self._silences = 0


async def judge(registers: Registers, profile: Profile, register: Register) -> tuple[EvidenceVerdict, float]:
    """What the register says, and whether a meter may say so; zero is nothing, for many answer that to anything."""
    steps: int | None = None
    flags: tuple[int, ...] = ()
    for limits in (profile.limits, replace(profile.limits, gaps=False)):
        data = await _answers(registers, register, limits)
        if data is not None:
            (steps,), flags = decode([register], *data)
            break
    else:
        return "refused", 0.0
    value = 0.0 if steps is None else float(steps * register.resolution.step)
    if not value:
        return ("nothing" if not any(flags) or steps is None else "wrong"), value
    return ("good" if is_plausible(profile, register, value) else "wrong"), value


async def _answers(
    registers: Registers, register: Register, limits: ReadLimits
) -> tuple[tuple[Block, ...], list[bytes]] | None:
    blocks = plan_reads([register], limits)
    answers: list[bytes] = []
    for block in blocks:
        data = await registers.read(block)
        if data is None:
            return None
        answers.append(data)
    return blocks, answers


def is_plausible(profile: Profile, register: Register, value: float) -> bool:
    """Whether a meter of this rating, in any grid, may say so."""
    unit = register.meaning.unit
    if unit == "V":
        low, high = profile.rating.voltage_range_v
        factor = SQRT_3 if register.measurand in LINE_TO_LINE else 1
        return low * factor <= value <= high * factor
    if unit == "Hz":
        low, high = profile.rating.frequency_range_hz
        return low <= value <= high
    limit = profile.rating.current_max_a if unit == "A" else None
    return abs(value) <= (limit or PLAUSIBLE_MAX.get(unit, 1e13))


def device_id_objects(answer: bytes) -> dict[int, str]:
    """The texts of an answer to FC 43/14 by object number; empty for anything else."""
    objects: dict[int, str] = {}
    if answer[:2] != DEVICE_ID_REQUEST[:2]:
        return objects
    at = DEVICE_ID_TEXTS_AT
    while at + 1 < len(answer):
        text = answer[at + 2 : at + 2 + answer[at + 1]].decode("ascii", "replace")
        objects[answer[at]] = "".join(letter for letter in text if letter.isprintable()).strip()
        at += 2 + answer[at + 1]
    return objects

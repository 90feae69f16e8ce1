"""What goes over the wire instead of a good answer. Pure: from an answer, its faults and dice to bytes and pauses."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from meter_sim.faults.schedule import Fault
from meter_sim.modbus.frames import Asked, answer_body, refusal_body, rtu_frame, tcp_frame

EXCEPTIONS = (1, 2, 3, 4, 5, 6, 8, 10, 11)
GATEWAY_TARGET_SILENT = 11
FUNCTIONS = (1, 2, 3, 4, 5, 6, 16, 23, 43)
NOISE_BYTES_MAX = 5
BABBLE_STEP_S = 0.05
BABBLE_BYTES = (5, 60)
REGISTERS_MAX = 125


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes, and the pause before them."""

    pause_s: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """What goes out. `held` waits for the next request and goes out before its answer.

    `good` says whether the bytes that go out now, without undue delay, hold a right answer to this request; `late`
    that such an answer comes, but when it may not be expected any more. `hang_up`: the TCP connection ends then.
    """

    pieces: tuple[Piece, ...]
    good: bool
    held: bytes = b""
    late: bool = False
    hang_up: bool = False


class Wire(Protocol):
    """How a body becomes a frame on RTU or TCP."""

    is_tcp: bool

    def frame(self, asked: Asked, unit: int, body: bytes) -> bytes: ...


class RtuWire:
    is_tcp = False

    def frame(self, asked: Asked, unit: int, body: bytes) -> bytes:  # noqa: ARG002 - a serial line has no transactions
        return rtu_frame(unit, body)


class TcpWire:
    is_tcp = True

    def frame(self, asked: Asked, unit: int, body: bytes) -> bytes:
        return tcp_frame(Asked(unit, asked.function_code, asked.address, asked.count, asked.transaction), body)


def spoil(wire: Wire, asked: Asked, request: bytes, body: bytes, faults: Sequence[Fault], dice: random.Random) -> Sent:
    """The answer `body` to `request` with `faults` of the wire; those of other kinds are somebody else's."""
    right = wire.frame(asked, asked.unit, body)
    if not faults:
        return Sent((Piece(0, right),), good=True)
    kinds = {fault.kind: fault for fault in faults}
    frame = _frame(wire, asked, body, kinds, dice)
    if "silence" in kinds:
        return Sent((), good=False)
    if "babble" in kinds:
        return Sent(babble(kinds["babble"].time_s, dice), good=False)
    before = request if "echo" in kinds else b""
    before += noise(dice) if "lead" in kinds else b""
    hang_up = wire.is_tcp and "truncation" in kinds  # a stream has no other way to end too early
    data = before + frame + (noise(dice) if "trail" in kinds and not hang_up else b"")
    if "late" in kinds and not hang_up:
        return Sent((), good=False, held=data, late=right in data)
    pause_s = dice.uniform(0.05, 1) * kinds["slow"].time_s if "slow" in kinds else 0.0
    pieces: tuple[Piece, ...] = (Piece(pause_s, data),)
    if "hole" in kinds and len(data) > 1:
        at = dice.randrange(1, len(data))
        pieces = (Piece(pause_s, data[:at]), Piece(dice.uniform(0.1, 1) * kinds["hole"].time_s, data[at:]))
    return Sent(pieces, good=right in data and not pause_s, late=right in data and pause_s > 0, hang_up=hang_up)


def _frame(wire: Wire, asked: Asked, body: bytes, kinds: Collection[str], dice: random.Random) -> bytes:
    """The frame itself, with what may be wrong within it."""
    unit = asked.unit
    if "exception" in kinds or ("crc" in kinds and wire.is_tcp):
        code = dice.choice(EXCEPTIONS) if "exception" in kinds else GATEWAY_TARGET_SILENT
        body = refusal_body(asked, code)
    elif "count" in kinds and not body[0] & 0x80:
        body = _other_count(asked, body, dice)
    if "function" in kinds:
        other = dice.choice([code for code in FUNCTIONS if code != asked.function_code])
        body = bytes((other | (body[0] & 0x80),)) + body[1:]
    if "unit" in kinds:
        unit = dice.choice([number for number in range(1, 248) if number != asked.unit])
    frame = wire.frame(asked, unit, body)
    if "crc" in kinds and not wire.is_tcp:
        frame = _flipped(frame, dice)
    return frame[: dice.randrange(len(frame))] if "truncation" in kinds else frame


def _other_count(asked: Asked, body: bytes, dice: random.Random) -> bytes:
    """Another number of registers than asked for, as complete as can be."""
    most = min(REGISTERS_MAX, asked.count + 4)
    count = dice.choice([number for number in range(max(asked.count - 4, 0), most + 1) if number != asked.count])
    data = body[2:].ljust(2 * most, b"\0")[: 2 * count]
    return answer_body(asked, data)


def _flipped(frame: bytes, dice: random.Random) -> bytes:
    """One to three bits wrong, which the CRC never misses in a frame of this length."""
    number = int.from_bytes(frame, "big")
    for bit in {dice.randrange(8 * len(frame)) for _ in range(dice.randint(1, 3))}:
        number ^= 1 << bit
    return number.to_bytes(len(frame), "big")


def noise(dice: random.Random) -> bytes:
    """What a change of direction or a loose end leaves: zeros, ones, or anything."""
    length = dice.randint(1, NOISE_BYTES_MAX)
    makers: list[Callable[[], bytes]] = [
        lambda: bytes(length),
        lambda: b"\xff" * length,
        lambda: dice.randbytes(length),
    ]
    return dice.choice(makers)()


def babble(time_s: float, dice: random.Random) -> tuple[Piece, ...]:
    """Random bytes, now and then, for `time_s`."""
    steps = max(round(time_s / BABBLE_STEP_S), 1)
    return tuple(
        Piece(BABBLE_STEP_S if step else 0, dice.randbytes(dice.randint(*BABBLE_BYTES))) for step in range(steps)
    )

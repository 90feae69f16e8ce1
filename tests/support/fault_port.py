"""A port in memory behind which meters answer with faults, without terminal or real time; registers say whose they are.

A register's word follows from unit, function, address and the number of the request, so that a value that was told upon
any other request is known as wrong.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from drivers.meter import MeterError
from drivers.port import Sink
from meter_sim.faults.schedule import Dice, Fault
from meter_sim.faults.spoil import Piece, RtuWire, TcpWire, Wire, spoil
from meter_sim.modbus.frames import Asked, answer_body, refusal_body, take_rtu, take_tcp

MIX = 0x9E3779B1
GATEWAY_TARGET_SILENT = 11
APART_S = 1e-6  # timers of the same moment run in any order
OLDEST_S = 9.0  # no answer comes later than this after its request: what drivers.modbus.late_answers relies on


def word(unit: int, function_code: int, address: int, number: int) -> int:
    """16 bits that no other register of any other request has, but for one in some 65,000."""
    mixed = (unit * 0x1F123BB5 ^ function_code * 0x2545F491 ^ address * 0x5851F42D ^ number * MIX) & 0xFFFFFFFF
    mixed = (mixed ^ mixed >> 15) * MIX & 0xFFFFFFFF
    return mixed >> 16 ^ mixed & 0xFFFF


def words(asked: Asked, number: int) -> bytes:
    """The registers that answer request `number`."""
    return b"".join(
        word(asked.unit, asked.function_code, asked.address + index, number).to_bytes(2, "big")
        for index in range(asked.count)
    )


@dataclass(slots=True)
class Tally:
    """What a run has seen. `frames` are answers that meters gave, good or spoiled."""

    frames: int = 0
    faults: dict[str, int] = field(default_factory=dict)

    def count(self, kinds: Sequence[str]) -> None:
        self.frames += 1
        for kind in kinds or ("none",):
            self.faults[kind] = self.faults.get(kind, 0) + 1


@dataclass(slots=True)
class Meters:
    """The units that exist. `refuses` says which requests a meter answers with exception 2 or 3, by right."""

    units: Sequence[int]
    delay_s: float
    refuses: Callable[[Asked], int] = lambda _: 0


class FaultyPort:
    """`drivers.port.Port`. Answers take their time on the wire and come in pieces, those of one meter in order."""

    def __init__(self, meters: Meters, dice: Dice, tally: Tally, character_s: float, *, tcp: bool) -> None:
        self.asked: dict[int, Asked] = {}  # number of the request -> the request
        self.number = 0
        self._meters = meters
        self._dice = dice
        self._tally = tally
        self._character_s = character_s
        self._wire: Wire = TcpWire() if tcp else RtuWire()
        self._take = take_tcp if tcp else take_rtu
        self._sink: Sink | None = None
        self._kept = b""
        self._held = 0.0, b""
        self._rest: asyncio.TimerHandle | None = None
        self._coming: set[asyncio.TimerHandle] = set()
        self._busy_until: dict[int, float] = {}
        self._back_at = 0.0
        self._seen: deque[tuple[float, str]] = deque(maxlen=30)

    @property
    def trace(self) -> str:
        """What happened last, one line each."""
        return "\n".join(f"  {when:.4f} {what}" for when, what in self._seen)

    def note(self, what: str) -> None:
        """For the trace."""
        self._seen.append((asyncio.get_running_loop().time(), what))

    @property
    def is_open(self) -> bool:
        return self._sink is not None

    @property
    def _random(self) -> random.Random:
        return self._dice.random

    async def open(self, sink: Sink, timeout_s: float) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._back_at:
            if self._wire.is_tcp:
                await asyncio.sleep(min(timeout_s, self._random.choice((0, 1))))
            cause, step = "no such device", "plug it in"
            raise MeterError("line_missing", operation="open", subject="line fuzz", cause=cause, next_step=step)
        self._sink = sink
        self._kept = b""

    def close(self) -> None:
        """What is under way on TCP is gone; a serial line goes on talking, and nobody hears it."""
        self._sink = None
        self._stop_resting()
        if self._wire.is_tcp:
            self._held = 0.0, b""
            self._forget()

    def _forget(self) -> None:
        for handle in self._coming:
            handle.cancel()
        self._coming.clear()

    def _stop_resting(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def rest(self, seconds: float) -> None:
        if self._wire.is_tcp or self._sink is None:
            return
        self._stop_resting()
        self._rest = asyncio.get_running_loop().call_later(seconds, self.drain)

    def drain(self) -> None:
        self._stop_resting()
        kept, self._kept = self._kept, b""
        if kept and self._sink is not None:
            self._sink.received(kept)

    def _arrive(self, data: bytes) -> None:
        if self._sink is None:
            return
        self.note(f"< {data.hex(' ')}")
        self._kept += data
        if self._rest is None:
            self.drain()

    def write(self, data: bytes) -> None:
        if self._sink is None:
            return
        asked, rest = self._take(data)
        assert asked is not None, f"no request: {data.hex(' ')}"
        assert not rest, f"more than a request: {data.hex(' ')}"
        self.number += 1
        self.asked[self.number] = asked
        self.note(f"> {self.number}: {asked}")
        self._answer(asked, data, self.number)

    def _answer(self, asked: Asked, request: bytes, number: int) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time() + (len(request) + 3.5) * self._character_s
        (held_at, held), self._held = self._held, (0.0, b"")
        if held and now < held_at + OLDEST_S:
            now = self._send([Piece(0, held)], now)
        if asked.unit not in self._meters.units:
            if self._wire.is_tcp:
                body = refusal_body(asked, GATEWAY_TARGET_SILENT)
                self._send([Piece(0, self._wire.frame(asked, asked.unit, body))], now)
            return
        busy = bool(held) or self._busy_until.get(asked.unit, 0) > now
        faults = self._possible(self._dice.draw(asked.unit), busy=busy)
        self._tally.count([fault.kind for fault in faults])
        if faults:
            self.note(f"  {', '.join(map(str, faults))}")
        away = [fault for fault in faults if fault.kind == "unplug"]
        if away:
            loop.call_later(self._random.random() * 0.1, self._unplug, away[0])
            return
        refused = self._meters.refuses(asked)
        body = refusal_body(asked, refused) if refused else answer_body(asked, words(asked, number))
        sent = spoil(self._wire, asked, request, body, faults, self._random)
        self._held = loop.time(), sent.held
        start = max(now + self._meters.delay_s, self._busy_until.get(asked.unit, 0))
        if start + sum(piece.pause_s for piece in sent.pieces) < loop.time() + OLDEST_S - 1:
            self._busy_until[asked.unit] = end = self._send(sent.pieces, start)
            if sent.hang_up:
                self._coming.add(loop.call_at(end + APART_S, self._lose, "hung up"))

    def _possible(self, faults: Sequence[Fault], *, busy: bool) -> Sequence[Fault]:
        """Without wrong addresses on what comes late: by chance it is exactly what the next request asks for."""
        late = busy or any(fault.kind in ("late", "slow") for fault in faults)
        return [fault for fault in faults if not (late and fault.kind in ("unit", "function", "count"))]

    def _send(self, pieces: Sequence[Piece], when: float) -> float:
        """In one to three parts each, at the wire's pace; returns when the last byte is over."""
        for piece in pieces:
            when += piece.pause_s
            data = piece.data
            cuts = sorted(self._random.randrange(len(data) + 1) for _ in range(self._random.randrange(3)))
            parts = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if start < end]
            if self._wire.is_tcp:  # nothing comes between the parts of a frame
                when += APART_S
                self._later(when, *parts)
                continue
            for part in parts:
                when += len(part) * self._character_s + APART_S
                self._later(when, part)
        return when

    def _later(self, when: float, *parts: bytes) -> None:
        handle: asyncio.TimerHandle

        def arrive() -> None:
            self._coming.discard(handle)
            for part in parts:
                self._arrive(part)

        handle = asyncio.get_running_loop().call_at(when, arrive)
        self._coming.add(handle)

    def _unplug(self, fault: Fault) -> None:
        self._back_at = asyncio.get_running_loop().time() + fault.time_s
        self._held = 0.0, b""
        self._lose("unplugged")

    def _lose(self, cause: str) -> None:
        self._forget()
        self.note(cause)
        sink = self._sink
        self.close()
        if sink is not None:
            sink.lost(cause)

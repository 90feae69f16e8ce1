"""Modbus lines, RTU and TCP: one request at a time, answered by what fits exactly, or a named error in time.

`modbus_framing` takes of pymodbus the framers (frame layout, CRC, MBAP) and nothing of its clients: they do not say why
a port cannot be opened, report silence and garbage alike, accept a short answer with a good CRC, lose a good one behind
a noise byte, raise into the event loop on garbage, know one time-out per line, and cost 2 MB and twice the CPU time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from math import inf

from drivers.line_modes import Rs485
from drivers.meter import MeterError, Reason
from drivers.modbus.block_plan import Block, WireCost
from drivers.modbus.framing import CHECK_TIME, Answer, Framing, RtuFraming, TcpFraming, rtu_end
from drivers.modbus.late_answers import FORGET_S, LateAnswers, Shape
from drivers.port import Port, SerialPort, TcpPort, subject_of
from drivers.profile.model import Parity
from drivers.turns import Turn, Turns

EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledged, not ready yet",
    6: "busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target does not respond",
}
GATEWAY_SILENT = (10, 11)
CHECK_WIRING = "check wiring (A/B, termination), unit number, baud rate and parity, and the meter's power"
CHECK_NOISE = "check termination, shield and that no other master or meter with the same unit number is on the line"
CHECK_GATEWAY = "check the gateway, and that it speaks Modbus TCP and not RTU over TCP"
REST_MIN_S = 0.004
REST_MARGIN_S = 0.0005  # the event loop's timers are late by half a millisecond anyhow
FRAME_CHARACTERS_MAX = 256  # who talks for longer than this is noise, and is not waited for
BUFFER_BYTES_MAX = 1024
SILENCES_UNTIL_RECONNECT = 2


class ModbusRefusalError(MeterError):
    """An exception answer; `code` is Modbus's."""

    def __init__(self, code: int, *, operation: str, subject: str) -> None:
        silent = code in GATEWAY_SILENT
        cause = f"exception {code} ({EXCEPTIONS.get(code, 'unknown')})"
        step = CHECK_WIRING if silent else "check that the configured model is the meter's, and its firmware"
        reason: Reason = "silent" if silent else "exception"
        super().__init__(reason, operation=operation, subject=subject, cause=cause, next_step=step)
        self.code = code


@dataclass(frozen=True, slots=True)
class Request:
    """A block of one meter. `quiet_s` is the silence that the meter wants afterwards; `subject` names it in errors.

    `apart` are blocks of other lengths that the meter answers too: an answer to one of them, where a late answer to an
    earlier request may come, proves that it is none.
    """

    unit: int
    block: Block
    typical_s: float
    timeout_s: float
    quiet_s: float
    subject: str
    apart: tuple[Block, ...] = ()


class ModbusLine:
    """One serial line or TCP connection (`tcp://host:port`) with its meters; one request at a time.

    Opens itself when first used and again after a loss. Everything that fails is a `MeterError`.
    """

    def __init__(
        self,
        name: str,
        port: str,
        baudrate: int = 9600,
        parity: Parity = "N",
        stopbits: int = 1,
        rs485: Rs485 = "auto",
        way: Port | None = None,
    ) -> None:
        self.name = name
        self.port = port
        self.is_tcp = port.startswith("tcp://")
        self.cost = WireCost.tcp(0) if self.is_tcp else WireCost.serial(baudrate, parity, stopbits, 0)
        self.settings = "Modbus TCP" if self.is_tcp else f"{baudrate} 8{parity}{stopbits}"
        own = TcpPort(name, port) if self.is_tcp else SerialPort(name, port, baudrate, parity, stopbits, rs485=rs485)
        self._port: Port = own if way is None else way
        self._framing: Framing = TcpFraming() if self.is_tcp else RtuFraming()
        step = "lengthen the interval, raise the baud rate, or read fewer measurands"
        self._turns = Turns(subject_of(name, port), step)
        self._frame = self._buffer = self._stray = b""
        self._pending: asyncio.Future[Answer | None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._silence_s = self.cost.silence_ms / 1000
        self._frame_s = FRAME_CHARACTERS_MAX * self.cost.character_ms / 1000
        self._quiet_until = 0.0
        self._noisy_since = inf
        self._late = LateAnswers()
        self._last: tuple[int, Block] | None = None
        self._again = False
        self.heard_at = 0.0  # loop time of the last answer of any meter
        self._silences = 0

    @property
    def is_open(self) -> bool:
        return self._port.is_open

    async def open(self, timeout_s: float = 3.0) -> None:
        """Open the port, if it is not; raises `MeterError` (line_missing, line_busy)."""
        if not self._port.is_open:
            await self._port.open(self, timeout_s)

    async def close(self) -> None:
        """Close the port once the request under way has ended."""
        async with self._turns.claim():
            self._port.close()

    def claim(self, deadline: float) -> Turn:
        """The line for one reader, first come, first served; `MeterError` if not free by `deadline` (loop time)."""
        return self._turns.claim(deadline)

    async def ask(self, request: Request, deadline: float, *, again: bool = False) -> bytes:
        """The registers of the block, big-endian, exactly as many as asked for. The caller has claimed the line.

        `again` says that the same was asked just before, so that an answer to that one will do; `TimeoutError` when
        there is no time left for it.
        """
        if not again:
            self._last = None  # what was asked in another reading was not asked just before
        if self._late:
            await self._get_in_step(request, deadline, again=again)
        return await self._exchange(request, request.block, deadline, again=again)

    async def _get_in_step(self, request: Request, deadline: float, *, again: bool) -> None:
        """See to it that no late answer can pass for the one to come: meters answer in the order of the questions."""
        now, unit, last = asyncio.get_running_loop().time(), request.unit, self._last
        if not self._late.is_awaited(_shape(unit, request.block), now) or (again and last == (unit, request.block)):
            return
        for block in request.apart:
            same = again and last == (unit, block)
            if same or not self._late.is_awaited(_shape(unit, block), now):
                try:
                    await self._exchange(request, block, deadline, again=same)
                except ModbusRefusalError:  # an answer, too, but it may be that to an earlier request
                    if self._late.is_owed(_shape(unit, request.block)):
                        continue
                return
        left_s = self._late.last_asked(_shape(unit, request.block)) + FORGET_S - now
        cause = f"for {left_s:.0f} s an answer to an earlier request may still come, which would pass for this one's"
        operation = f"read {_named(request.block)} of"
        raise MeterError("silent", operation=operation, subject=request.subject, cause=cause, next_step=CHECK_WIRING)

    async def _exchange(self, request: Request, block: Block, deadline: float, *, again: bool) -> bytes:
        """Ask for `block` and wait for its answer."""
        loop = asyncio.get_running_loop()
        await self._settle(deadline)
        left_s = deadline - loop.time()
        if left_s < request.typical_s:
            if again:
                raise TimeoutError
            raise _no_time(request, left_s)
        await self.open(left_s)  # also where draining found the port gone
        self._frame = self._framing.request(request.unit, block)
        self._buffer = self._stray = b""
        self._pending = pending = loop.create_future()
        self._last, self._again = (request.unit, block), again
        asked = loop.time()
        self._timer = loop.call_at(min(asked + request.timeout_s, deadline), self._expire, request, asked, deadline)
        answer: Answer | None = None
        try:
            self._port.write(self._frame)
            answer = await pending
        finally:
            self._timer.cancel()
            self._pending = None
            now = loop.time()
            self._quiet_until = now + max(self._silence_s, request.quiet_s)
            told = None if answer is None or answer.fault else answer
            if not self.is_tcp and (told is None or self._late or self._noisy_since < inf):
                self._keep_in_mind(request, block, asked, told)
        return self._judge(answer, request, block, now - asked)

    def _keep_in_mind(self, request: Request, block: Block, asked: float, answer: Answer | None) -> None:
        """What may still come after this request. A refusal says of no request: it may be an earlier one's."""
        refused = answer is not None and answer.exception
        if answer is not None and not self._again and not refused:
            self._late.in_step(request.unit)
            if self._noisy_since == inf:
                return  # and silence will follow before the next request
        shape = _shape(request.unit, block)
        self._late.expect(shape, asked, refusable=block.count > request.block.count)
        if refused:
            self._late.refused_one(request.unit)
        elif answer is not None:
            self._late.took_one(shape)

    async def _settle(self, deadline: float) -> None:
        """Wait for silence, but not for noise that never ends: an answer is found in the midst of noise, too."""
        loop = asyncio.get_running_loop()
        self._port.drain()
        while True:
            delay = min(self._quiet_until, self._noisy_since + self._frame_s, deadline) - loop.time()
            if delay <= 0:
                break
            await asyncio.sleep(delay)
            self._port.drain()
        if loop.time() >= self._quiet_until:
            self._noisy_since = inf

    def _judge(self, answer: Answer | None, request: Request, block: Block, waited_s: float) -> bytes:
        if answer is not None and not answer.fault:
            self._silences = 0
            if answer.exception not in GATEWAY_SILENT:  # that is the gateway's, and the meter was not heard
                self.heard_at = asyncio.get_running_loop().time()
                self._late.answered(request.unit, waited_s)
            if not answer.exception:
                return answer.registers
            operation = f"read {_named(block)} of"
            raise ModbusRefusalError(answer.exception, operation=operation, subject=request.subject)
        reason: Reason = "silent"
        cause, step = f"no answer within {waited_s * 1000:.0f} ms", CHECK_WIRING
        if (slow_s := self._late.slow_s(request.unit)) > request.timeout_s:
            cause, step = f"{cause}, but late ones, up to {slow_s * 1000:.0f} ms after the question", CHECK_TIME
        if answer is not None or self._buffer:
            reason, step = "garbage", CHECK_GATEWAY if self.is_tcp else CHECK_NOISE
            cause = answer.fault if answer is not None else self._framing.explain(self._buffer)
            step = (self._framing.advice(self._buffer) if answer is None else "") or step
        self._silences += 1
        if self.is_tcp and (reason == "garbage" or self._silences >= SILENCES_UNTIL_RECONNECT):
            self._silences = 0
            self._port.close()  # out of step, or perhaps dead: the next request opens it again
        operation, cause = f"read {_named(block)} of", f"{cause} ({self.settings})"
        raise MeterError(reason, operation=operation, subject=request.subject, cause=cause, next_step=step)

    def received(self, data: bytes) -> None:
        """Called by the port. Bytes that nobody waits for are a late answer or noise, and forgotten."""
        pending = self._pending
        if pending is None or pending.done():
            self._overhear(data)
            return
        buffer = self._buffer + data if self._buffer else data
        answer = self._framing.answer(buffer)
        if answer is not None and answer.exception and self._late and self._is_late_refusal():
            answer, buffer = None, b""
        if answer is None and len(buffer) > BUFFER_BYTES_MAX and self.is_tcp:
            answer = Answer(fault=f"more than {BUFFER_BYTES_MAX} bytes and no answer to this request among them")
        if answer is not None:
            pending.set_result(answer)
            return
        self._buffer = buffer = buffer if self.is_tcp else self._cleaned(buffer)
        rest_s = self._framing.missing(buffer) * self.cost.character_ms / 1000
        if rest_s >= REST_MIN_S:
            self._port.rest(rest_s + REST_MARGIN_S)

    def _is_late_refusal(self) -> bool:
        return not self._again and self._last is not None and self._late.refusal_came(self._last[0])

    def _cleaned(self, buffer: bytes) -> bytes:
        """Without the echo that some adapters give, late answers to earlier requests, and more than can matter."""
        echo = buffer.find(self._frame)
        if echo >= 0:
            buffer = buffer[echo + len(self._frame) :]
        if self._late:
            now = asyncio.get_running_loop().time()
            buffer = buffer[self._late.came(lambda shape: rtu_end(buffer, *shape), now) :]
        return buffer[-BUFFER_BYTES_MAX:]

    def _overhear(self, data: bytes) -> None:
        """Somebody talks whom nobody asked, or not now."""
        if self.is_tcp:
            return  # transaction numbers tell late answers, and there is no noise
        now = asyncio.get_running_loop().time()
        self._noisy_since = min(self._noisy_since, now)
        self._quiet_until = max(self._quiet_until, now + self._silence_s)
        if self._late:
            self._stray = (self._stray + data)[-BUFFER_BYTES_MAX:]
            stray = self._stray
            self._stray = stray[self._late.came(lambda shape: rtu_end(stray, *shape), now) :]

    def lost(self, cause: str) -> None:
        """Called by the port when it closed itself."""
        pending = self._pending
        if pending is not None and not pending.done():
            step = "polling goes on and opens it again; check plug and power if it does not come back"
            subject = subject_of(self.name, self.port)
            pending.set_exception(
                MeterError("line_lost", operation="use", subject=subject, cause=cause, next_step=step)
            )

    def _expire(self, request: Request, asked: float, deadline: float) -> None:
        """Time is up, unless the meter has shown that it may take longer."""
        pending, loop = self._pending, asyncio.get_running_loop()
        self._port.drain()  # the answer may be among what has come
        if pending is None or pending.done():
            return
        until = min(asked + self._late.patience_s(request.unit), deadline)
        if until > loop.time():
            self._timer = loop.call_at(until, self._expire, request, asked, deadline)
        else:
            pending.set_result(None)


def _shape(unit: int, block: Block) -> Shape:
    """What an RTU answer is known by: requests of one shape cannot tell each other's answers."""
    return unit, block.function_code, block.count


def _no_time(request: Request, left_s: float) -> MeterError:
    operation = f"read {_named(request.block)} of"
    cause = f"no time is left for it ({max(left_s, 0) * 1000:.0f} ms of at least {request.typical_s * 1000:.0f})"
    return MeterError("line_busy", operation=operation, subject=request.subject, cause=cause, next_step=CHECK_TIME)


def _named(block: Block) -> str:
    return f"registers {block.address}..{block.end - 1} (function {block.function_code})"

"""Modbus lines, RTU and TCP: one request at a time, answered by what fits exactly, or a named error in time.

`modbus_framing` takes of pymodbus the framers (frame layout, CRC, MBAP) and nothing of its clients: they do not say why
a port cannot be opened, report silence and garbage alike, accept a short answer with a good CRC, lose a good one behind
a noise byte, raise into the event loop on garbage, know one time-out per line, and cost 2 MB and twice the CPU time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from drivers.meter import MeterError, Reason
from drivers.modbus_framing import Answer, Framing, RtuFraming, TcpFraming
from drivers.plan import Block, WireCost
from drivers.port import Port, SerialPort, TcpPort
from drivers.profile_model import Parity

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
REST_MARGIN_S = 0.002  # one wake-up too early costs more than this
LATE_S = 0.3  # how long after its time-out an answer is still expected to disturb
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
    """A block of one meter. `quiet_s` is the silence that the meter wants afterwards; `subject` names it in errors."""

    unit: int
    block: Block
    typical_s: float
    timeout_s: float
    quiet_s: float
    subject: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """What an RTU answer is known by: requests of one shape cannot tell each other's answers."""
        return self.unit, self.block.function_code, self.block.count


class ModbusLine:
    """One serial line or TCP connection (`tcp://host:port`) with its meters; one request at a time.

    Opens itself when first used and again after a loss. Everything that fails is a `MeterError`.
    """

    def __init__(self, name: str, port: str, baudrate: int = 9600, parity: Parity = "N", stopbits: int = 1) -> None:
        self.name = name
        self.port = port
        self.is_tcp = port.startswith("tcp://")
        self.cost = WireCost.tcp(0) if self.is_tcp else WireCost.serial(baudrate, parity, stopbits, 0)
        self.settings = "Modbus TCP" if self.is_tcp else f"{baudrate} 8{parity}{stopbits}"
        self._port: Port = TcpPort(name, port) if self.is_tcp else SerialPort(name, port, baudrate, parity, stopbits)
        self._framing: Framing = TcpFraming() if self.is_tcp else RtuFraming()
        self._lock = asyncio.Lock()
        self._buffer = b""
        self._pending: asyncio.Future[Answer | None] | None = None
        self._silence_s = self.cost.silence_ms / 1000
        self._quiet_until = 0.0
        self._late: dict[tuple[int, int, int], float] = {}  # request shape -> until when its late answer may come
        self._silences = 0

    @property
    def is_open(self) -> bool:
        return self._port.is_open

    async def open(self, timeout_s: float = 3.0) -> None:
        """Open the port, if it is not; raises `MeterError` (line_missing, line_busy)."""
        if not self._port.is_open:
            await self._port.open(self, timeout_s)
            self._late.clear()

    async def close(self) -> None:
        """Close the port once the request under way has ended."""
        async with self._lock:
            self._port.close()

    @asynccontextmanager
    async def claim(self, deadline: float) -> AsyncIterator[None]:
        """The line for one reader, first come, first served; `MeterError` if not free by `deadline` (loop time)."""
        try:
            if self._lock.locked():
                async with asyncio.timeout_at(deadline):
                    await self._lock.acquire()
            else:
                await self._lock.acquire()
        except TimeoutError as error:
            cause = "other meters needed the line for the whole time"
            step = "lengthen the interval, raise the baud rate, or read fewer measurands"
            raise MeterError(
                "line_busy", operation="use", subject=f"line {self.name} ({self.port})", cause=cause, next_step=step
            ) from error
        try:
            yield
        finally:
            self._lock.release()

    async def ask(self, request: Request, deadline: float, *, again: bool = False) -> bytes:
        """The registers of the block, big-endian, exactly as many as asked for. The caller has claimed the line.

        `again` says that the same was asked just before, so that an answer to that one will do; `TimeoutError` when
        the line came to rest too late for it.
        """
        loop = asyncio.get_running_loop()
        await self._settle(request, deadline, again=again)
        if loop.time() >= deadline:
            if again:
                raise TimeoutError
            operation, cause = f"read {_named(request.block)} of", "still waiting out the answer to the request before"
            step = CHECK_WIRING
            raise MeterError("silent", operation=operation, subject=request.subject, cause=cause, next_step=step)
        await self.open(max(deadline - loop.time(), 0))  # also where draining found the port gone
        frame = self._framing.request(request.unit, request.block)
        self._buffer = b""
        self._pending = pending = loop.create_future()
        asked = loop.time()
        timer = loop.call_at(min(asked + request.timeout_s, deadline), self._expire, pending)
        answer: Answer | None = None
        try:
            self._port.write(frame)
            answer = await pending
        finally:
            timer.cancel()
            self._pending = None
            self._quiet_until = loop.time() + max(self._silence_s, request.quiet_s)
            if not self.is_tcp and (answer is None or again):
                self._late[request.shape] = asked + request.timeout_s + LATE_S
        return self._judge(answer, request, loop.time() - asked)

    async def _settle(self, request: Request, deadline: float, *, again: bool) -> None:
        """Wait for silence, and where a late answer would pass for the one to come, until it has had its time."""
        loop = asyncio.get_running_loop()
        late_until = self._late.pop(request.shape, 0.0)
        self._port.drain()
        while True:
            until = self._quiet_until if again else max(self._quiet_until, late_until)
            delay = min(until, deadline) - loop.time()
            if delay <= 0:
                return
            await asyncio.sleep(delay)
            self._port.drain()

    def _judge(self, answer: Answer | None, request: Request, waited_s: float) -> bytes:
        operation = f"read {_named(request.block)} of"
        if answer is not None and not answer.fault:
            self._silences = 0
            if answer.exception:
                raise ModbusRefusalError(answer.exception, operation=operation, subject=request.subject)
            return answer.registers
        reason: Reason = "silent"
        cause, step = f"no answer within {waited_s * 1000:.0f} ms", CHECK_WIRING
        if answer is not None or self._buffer:
            reason, step = "garbage", CHECK_GATEWAY if self.is_tcp else CHECK_NOISE
            cause = answer.fault if answer is not None else self._framing.explain(self._buffer)
        self._silences += 1
        if self.is_tcp and (reason == "garbage" or self._silences >= SILENCES_UNTIL_RECONNECT):
            self._silences = 0
            self._port.close()  # out of step, or perhaps dead: the next request opens it again
        cause = f"{cause} ({self.settings})"
        raise MeterError(reason, operation=operation, subject=request.subject, cause=cause, next_step=step)

    def received(self, data: bytes) -> None:
        """Called by the port. Bytes that nobody waits for are a late answer or noise, and forgotten."""
        pending = self._pending
        if pending is None or pending.done():
            self._quiet_until = asyncio.get_running_loop().time() + self._silence_s
            return
        self._buffer = self._buffer + data if self._buffer else data
        answer = self._framing.answer(self._buffer)
        if answer is not None:
            pending.set_result(answer)
            return
        rest_s = self._framing.missing(self._buffer) * self.cost.character_ms / 1000
        if rest_s >= REST_MIN_S:
            self._port.rest(rest_s + REST_MARGIN_S)

    def lost(self, cause: str) -> None:
        """Called by the port when it closed itself."""
        pending = self._pending
        if pending is not None and not pending.done():
            step = "polling goes on and opens it again; check plug and power if it does not come back"
            subject = f"line {self.name} ({self.port})"
            pending.set_exception(
                MeterError("line_lost", operation="use", subject=subject, cause=cause, next_step=step)
            )

    def _expire(self, pending: asyncio.Future[Answer | None]) -> None:
        if not pending.done():
            pending.set_result(None)


def _named(block: Block) -> str:
    return f"registers {block.address}..{block.end - 1} (function {block.function_code})"

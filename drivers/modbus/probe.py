"""A line as `wattpost scan` uses it: any request to any unit, an answer or what was heard instead, and no second try.

Unlike `drivers.modbus.line` it waits for the first byte only as long as it is told, understands answers of other units
than the one just asked (late ones), and can change the settings of its line. It sends what it is given: reading
functions only, see `drivers.modbus.identify`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from drivers.meter import MeterError
from drivers.port import SerialPort, TcpPort
from drivers.profile.model import Parity
from drivers.telegrams.crc import crc_modbus

REQUEST_CHARACTERS = 8
SILENCE_CHARACTERS = 3.5
FRAME_MIN = 4  # unit, function, CRC
REFUSAL_BYTES = 5
REGISTER_FUNCTIONS = (3, 4)
DEVICE_ID_FUNCTION = 0x2B
REFUSED = 0x80
PAUSE_MS = 30  # an answer may have holes, and adapters hold bytes back
HEARD_MAX = 1024
ANSWER_CHARACTERS = 256
OPEN_TIMEOUT_S = 3.0
SETTLE_S = 0.3  # how long a line may go on talking before it is asked nevertheless
MBAP_BYTES = 7
LENGTH_AT = 4


@dataclass(frozen=True, slots=True)
class Heard:
    """What followed a request. `answers` are bodies (function code and data) by unit; `noise` is all that is none.

    `oddity` says what is wrong with an answer that cannot be taken for one.
    """

    answers: dict[int, bytes] = field(default_factory=dict)
    noise: bytes = b""
    oddity: str = ""


class Probe(Protocol):
    """An open way to units."""

    async def ask(self, unit: int, body: bytes, wait_ms: float) -> Heard:
        """Send `body` (function code and data) to `unit`; `MeterError` where the port is lost."""

    async def listen(self, seconds: float) -> bytes:
        """What comes without having been asked for."""

    def close(self) -> None: ...


class SerialProbe:
    """A serial line at one setting."""

    def __init__(self, path: str, baudrate: int, parity: Parity, stopbits: int) -> None:
        self.path = path
        self._setting = baudrate, parity, stopbits
        self._port = self._made(baudrate)
        self._character_s = (9 + (parity != "N") + stopbits) / baudrate
        self._heard = b""
        self._lost: str | None = None
        self._news = asyncio.Event()

    def _made(self, baudrate: int) -> SerialPort:
        _, parity, stopbits = self._setting
        return SerialPort(self.path.rpartition("/")[2], self.path, baudrate, parity, stopbits)

    async def open(self) -> None:
        """Raises `MeterError` (line_missing, line_busy); line_missing also where the port cannot be set so."""
        baudrate = self._setting[0]
        try:
            await self._port.open(self, OPEN_TIMEOUT_S)
        except MeterError:
            if not self._is_there():
                raise
            # A pseudo-terminal, which has no parity, refuses a change of nothing but that: change the speed with it.
            self._port = self._made(baudrate // 2)
            await self._port.open(self, OPEN_TIMEOUT_S)
            self._port.set_baudrate(baudrate)

    def _is_there(self) -> bool:
        return Path(self.path).exists()

    def received(self, data: bytes) -> None:
        self._heard = (self._heard + data)[-HEARD_MAX:]
        self._news.set()

    def lost(self, cause: str) -> None:
        self._lost = cause
        self._news.set()

    async def ask(self, unit: int, body: bytes, wait_ms: float) -> Heard:
        loop = asyncio.get_running_loop()
        frame = rtu_frame(unit, body)
        before, self._heard = self._heard, b""
        began = loop.time()
        while before and loop.time() - began < SETTLE_S and await self._more(SILENCE_CHARACTERS * self._character_s):
            before, self._heard = before + self._heard, b""
        self._write(frame)
        sent_s = len(frame) * self._character_s
        if await self._more(sent_s + wait_ms / 1000):
            until = loop.time() + ANSWER_CHARACTERS * self._character_s + wait_ms / 1000
            pause_s = max(2 * SILENCE_CHARACTERS * self._character_s, PAUSE_MS / 1000)
            while unit not in understood(before + self._heard, frame).answers and loop.time() < until:
                waiting_for_echo = frame.startswith(self._heard)
                if not await self._more(wait_ms / 1000 if waiting_for_echo else pause_s):
                    break
            await asyncio.sleep(SILENCE_CHARACTERS * self._character_s)
        heard = understood(before + self._heard, frame)
        self._heard = b""
        return heard

    def _write(self, frame: bytes) -> None:
        self._port.write(frame)
        self._check()

    async def _more(self, seconds: float) -> bool:
        """Whether bytes came within that time."""
        self._check()
        self._news.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        self._check()
        return True

    async def listen(self, seconds: float) -> bytes:
        await asyncio.sleep(seconds)
        self._check()
        heard, self._heard = self._heard, b""
        return heard

    def _check(self) -> None:
        if self._lost is not None:
            raise MeterError(
                "line_lost",
                operation="use",
                subject=f"port {self.path}",
                cause=self._lost,
                next_step="check plug and power of the adapter",
            )

    def close(self) -> None:
        self._port.close()


class TcpProbe:
    """A connection to a gateway or a meter; what fails is opened again for the next request."""

    def __init__(self, url: str) -> None:
        self._port = TcpPort(url.rpartition("/")[2], url)
        self._heard = b""
        self._transaction = 0
        self._news = asyncio.Event()

    async def open(self) -> None:
        """Raises `MeterError` (line_missing)."""
        if not self._port.is_open:
            self._heard = b""
            await self._port.open(self, OPEN_TIMEOUT_S)

    def received(self, data: bytes) -> None:
        self._heard = (self._heard + data)[-HEARD_MAX:]
        self._news.set()

    def lost(self, cause: str) -> None:  # noqa: ARG002 - the next request opens it again, or says why it cannot
        self._news.set()

    async def ask(self, unit: int, body: bytes, wait_ms: float) -> Heard:
        await self.open()
        loop = asyncio.get_running_loop()
        self._transaction = self._transaction % 0xFFFF + 1
        self._port.write(tcp_frame(self._transaction, unit, body))
        until = loop.time() + wait_ms / 1000
        oddity = ""
        while self._port.is_open and (left_s := until - loop.time()) > 0:
            oddity = oddity or tcp_oddity(self._heard, self._transaction)
            answer, self._heard = tcp_answer(self._heard, self._transaction)
            if answer is not None and answer[0] == unit:
                return Heard({unit: answer[1]})
            if answer is not None:
                return Heard(oddity=f"as unit {answer[0]} when unit {unit} is asked")
            self._news.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._news.wait()
            except TimeoutError:
                break
        return Heard(noise=self._heard, oddity=oddity or tcp_oddity(self._heard, self._transaction))

    async def listen(self, seconds: float) -> bytes:  # noqa: ARG002 - a gateway says nothing by itself
        return b""

    def close(self) -> None:
        self._port.close()


ProbeFactory = Callable[[str, int, Parity, int], SerialProbe]


# Frames. Pure.


def rtu_frame(unit: int, body: bytes) -> bytes:
    """The bytes on a serial line."""
    data = bytes((unit,)) + body
    return data + crc_modbus(data).to_bytes(2, "little")


def understood(heard: bytes, request: bytes = b"") -> Heard:
    """The answers in what was heard, and the rest. An adapter's echo of the request is neither."""
    answers: dict[int, bytes] = {}
    noise = b""
    at = 0
    while at < len(heard):
        if request and heard.startswith(request, at):
            at += len(request)
            continue
        end = next(_ends(heard, at, request[1] if request else None), None)
        if end is None:
            noise += heard[at : at + 1]
            at += 1
        else:
            answers[heard[at]] = heard[at + 1 : end - 2]
            at = end
    return Heard(answers, noise)


def _ends(heard: bytes, at: int, function_code: int | None) -> Iterator[int]:
    """Where an answer that begins at `at` may end, with a good check sum."""
    for size in _sizes(heard[at:], function_code):
        data = heard[at : at + size]
        if len(data) == size and crc_modbus(data[:-2]) == int.from_bytes(data[-2:], "little"):
            yield at + size


def _sizes(data: bytes, asked: int | None) -> Iterator[int]:
    if len(data) <= FRAME_MIN or asked not in {None, data[1] & ~REFUSED}:
        return
    function_code = data[1]
    if function_code & REFUSED:
        yield REFUSAL_BYTES
    elif function_code in REGISTER_FUNCTIONS:
        yield REFUSAL_BYTES + data[2]
    elif function_code == DEVICE_ID_FUNCTION:
        yield from range(FRAME_MIN + 1, len(data) + 1)


def tcp_frame(transaction: int, unit: int, body: bytes) -> bytes:
    """The bytes on a connection."""
    return transaction.to_bytes(2, "big") + b"\0\0" + (len(body) + 1).to_bytes(2, "big") + bytes((unit,)) + body


def tcp_answer(heard: bytes, transaction: int) -> tuple[tuple[int, bytes] | None, bytes]:
    """Unit and body of the answer to `transaction`, and what is left; answers to others are dropped."""
    while len(heard) > MBAP_BYTES:
        end = LENGTH_AT + 2 + int.from_bytes(heard[LENGTH_AT : LENGTH_AT + 2], "big")
        if len(heard) < end:
            break
        frame, heard = heard[:end], heard[end:]
        if int.from_bytes(frame[:2], "big") == transaction and end > MBAP_BYTES:
            return (frame[MBAP_BYTES - 1], frame[MBAP_BYTES:]), heard
    return None, heard


def tcp_oddity(heard: bytes, transaction: int) -> str:
    """How the first frame is wrong, "" where it is not: late answers to earlier requests are right."""
    if len(heard) <= MBAP_BYTES:
        return ""
    number, protocol = int.from_bytes(heard[:2], "big"), heard[2:LENGTH_AT]
    if protocol != b"\0\0":
        return f"without a Modbus TCP header: {heard[:8].hex(' ')}"
    if 0 < number <= transaction:
        return ""
    return f"with transaction id {number} instead of {transaction}"

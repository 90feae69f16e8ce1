"""Lines that are no Modbus: a serial port or a raw TCP stream, opened when first needed and again after a loss."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from drivers.meter import MeterError
from drivers.port import Port, SerialPort, TcpPort, subject_of
from drivers.profile.model import SerialDefaults
from drivers.turns import Turn, Turns

T = TypeVar("T")
TCP = "tcp://"
OPEN_TIMEOUT_S = 3.0


class StreamLine:
    """One port. What comes is kept for whoever talks on it, or goes to `received` of a subclass."""

    def __init__(self, name: str, port: str, serial: SerialDefaults) -> None:
        self.name = name
        self.port = port
        self.serial = serial
        self.is_tcp = port.startswith(TCP)
        self.settings = "TCP" if self.is_tcp else f"{serial.baudrate} {serial.databits}{serial.parity}{serial.stopbits}"
        self.character_s = (1 + serial.databits + (serial.parity != "N") + serial.stopbits) / serial.baudrate
        self.subject = subject_of(name, port)
        self.news = asyncio.Event()
        self.lost_cause = ""
        self._port: Port = TcpPort(name, port, "a raw stream") if self.is_tcp else self._serial_port()
        self._turns = Turns(self.subject, "lengthen the interval, or read fewer meters on this line")
        self._buffer = b""
        self._working: set[asyncio.Task[Any]] = set()

    def _serial_port(self) -> SerialPort:
        serial = self.serial
        return SerialPort(
            self.name, self.port, serial.baudrate, serial.parity, serial.stopbits, bytesize=serial.databits
        )

    @property
    def is_open(self) -> bool:
        return self._port.is_open

    async def open(self, timeout_s: float = OPEN_TIMEOUT_S) -> None:
        """Open the port, if it is not; raises `MeterError` (line_missing, line_busy)."""
        if not self._port.is_open:
            await self._port.open(self, timeout_s)
            self.lost_cause = ""
            self.opened()

    async def close(self) -> None:
        """Give up what is under way in the background, and close the port as soon as nobody talks on it."""
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)
        self._working.clear()
        async with self._turns.claim():
            self._port.close()

    def work(self, job: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do `job` in the background, at most until the line is closed."""
        self._working = {task for task in self._working if not task.done()}
        task = asyncio.create_task(job, name=f"work on line {self.name}")
        self._working.add(task)
        return task

    def claim(self, deadline: float) -> Turn:
        """The line for one reader, first come, first served; `MeterError` if not free by `deadline` (loop time)."""
        return self._turns.claim(deadline)

    def send(self, data: bytes) -> None:
        """Forget what came before, and send."""
        self._port.drain()
        self._buffer = b""
        self.news.clear()
        self._port.write(data)

    def set_baudrate(self, baudrate: int) -> None:
        """Of a serial port that is open; a stream has none."""
        if isinstance(self._port, SerialPort):
            self._port.set_baudrate(baudrate)

    async def receive(self, deadline: float) -> bytes:
        """What has come since the last call: at least one byte, or none at `deadline` (loop time), noise or not."""
        if asyncio.get_running_loop().time() >= deadline:
            return b""
        try:
            async with asyncio.timeout_at(deadline):
                while not self._buffer and not self.lost_cause:
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            return b""
        if self.lost_cause:
            raise self.loss()
        data, self._buffer = self._buffer, b""
        return data

    def loss(self) -> MeterError:
        """What is said of a port that closed itself."""
        step = "polling goes on and opens it again; check plug and power if it does not come back"
        return MeterError("line_lost", operation="use", subject=self.subject, cause=self.lost_cause, next_step=step)

    def opened(self) -> None:
        """What came before belongs to another connection."""
        self._buffer = b""

    def received(self, data: bytes) -> None:
        """Called by the port."""
        self._buffer += data
        self.news.set()

    def lost(self, cause: str) -> None:
        """Called by the port when it closed itself."""
        self.lost_cause = cause
        self.news.set()

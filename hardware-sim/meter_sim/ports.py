"""Where masters reach the line: a pseudo-terminal as an RTU bus, and TCP."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from meter_sim.frames import ADU_MAX, Asked, refusal_body, rtu_frame, take_rtu, take_tcp, tcp_frame
from meter_sim.line import Line

GATEWAY_TARGET_SILENT = 11
SILENCE_CHARACTERS = 3.5
FRAME_GAP_S = 0.02  # without pacing: bytes of one request come closer together than this
CHUNK_CHARACTERS = 8  # what a UART hands over at a time
READ_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Pace:
    """The speed of the wire. `character_s` 0 means that bytes take no time."""

    character_s: float = 0
    answer_delay_s: float = 0

    @property
    def silence_s(self) -> float:
        """3.5 characters, at least 1.75 ms; nothing without pacing."""
        return max(SILENCE_CHARACTERS * self.character_s, 0.00175) if self.character_s else 0


class RtuPort:
    """The meters' end of a pseudo-terminal. Masters may come and go; the terminal stays."""

    def __init__(self, line: Line, pace: Pace) -> None:
        self._line = line
        self._pace = pace
        self._buffer = b""
        self._forget: asyncio.TimerHandle | None = None
        self._answering: asyncio.Task[None] | None = None
        self._meters_end, self._masters_end = os.openpty()
        tty.setraw(self._masters_end)
        os.set_blocking(self._meters_end, False)
        self.path = os.ttyname(self._masters_end)

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self._meters_end, self._readable)

    def _readable(self) -> None:
        data = os.read(self._meters_end, READ_BYTES)
        if self._answering is not None and not self._answering.done():
            return  # who talks while another does is not understood
        self._buffer += data
        asked, rest = take_rtu(self._buffer)
        loop = asyncio.get_running_loop()
        if self._forget is not None:
            self._forget.cancel()
        if asked is None:
            gap_s = max(SILENCE_CHARACTERS * self._pace.character_s, FRAME_GAP_S)
            self._forget = loop.call_later(gap_s, self._drop)
            return
        self._buffer = rest
        self._answering = loop.create_task(self._answer(asked, loop.time()))

    def _drop(self) -> None:
        self._buffer = b""

    async def _answer(self, asked: Asked, heard_s: float) -> None:
        """Take the request's time on the wire, the silence, the meter's time, then the answer's time."""
        pace = self._pace
        start_s = heard_s + 8 * pace.character_s + pace.silence_s + pace.answer_delay_s
        await _until(start_s)
        reply = self._line.answer(asked)
        if reply is None:
            return
        frame = rtu_frame(asked.unit, reply.body)
        step = CHUNK_CHARACTERS if pace.character_s else len(frame)
        for at in range(0, len(frame), step):
            chunk = frame[at : at + step]
            await _until(start_s + (at + len(chunk)) * pace.character_s)
            if at + step >= len(frame):  # first the log, then the last bytes: who has the answer finds it there
                self._line.log(asked, reply)
            with suppress(BlockingIOError):  # nobody reads and the terminal's buffer is full: the bytes are gone
                os.write(self._meters_end, chunk)
        self._buffer = b""

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._meters_end)
        if self._answering is not None:
            self._answering.cancel()
        os.close(self._meters_end)
        os.close(self._masters_end)


async def _until(when_s: float) -> None:
    delay = when_s - asyncio.get_running_loop().time()
    if delay > 0:
        await asyncio.sleep(delay)


@asynccontextmanager
async def serve_pty(line: Line, link: Path, pace: Pace) -> AsyncIterator[str]:
    """Serve on a pseudo-terminal that `link` points to; yields where."""
    port = RtuPort(line, pace)
    _point(link, port.path)
    port.start()
    try:
        yield str(link)
    finally:
        _unpoint(link, port.path)
        port.close()


def _point(link: Path, target: str) -> None:
    """Make `link` point to `target`, also where one of an earlier run is in the way; other files are left alone."""
    if link.is_symlink():
        link.unlink()
    link.symlink_to(target)


def _unpoint(link: Path, target: str) -> None:
    if link.is_symlink() and str(link.readlink()) == target:
        link.unlink()


@asynccontextmanager
async def serve_tcp(line: Line, host: str, port: int, pace: Pace) -> AsyncIterator[str]:
    """Serve on a TCP port (0: any free one), as a gateway with the line behind it; yields where."""
    masters: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            masters.add(task)
            task.add_done_callback(masters.discard)
        try:
            await _serve_master(line, reader, writer, pace)
        except (ConnectionError, ValueError, asyncio.CancelledError):
            pass  # a master that left or does not speak Modbus, or the end of the simulator
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, host, port)
    try:
        yield "tcp://{}:{}".format(*server.sockets[0].getsockname()[:2])
    finally:
        server.close()
        for task in masters:
            task.cancel()
        await asyncio.gather(*masters, return_exceptions=True)


async def _serve_master(line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pace: Pace) -> None:
    buffer = b""
    while data := await reader.read(ADU_MAX):
        buffer += data
        asked, buffer = take_tcp(buffer)
        while asked is not None:
            await _until(asyncio.get_running_loop().time() + pace.answer_delay_s)
            reply = line.answer(asked)
            body = refusal_body(asked, GATEWAY_TARGET_SILENT) if reply is None else reply.body
            if reply is not None:
                line.log(asked, reply)
            writer.write(tcp_frame(asked, body))
            asked, buffer = take_tcp(buffer)
        await writer.drain()

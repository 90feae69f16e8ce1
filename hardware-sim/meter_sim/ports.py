"""A pseudo-terminal as an RTU bus, which can be unplugged; and what serial and TCP ports share."""

from __future__ import annotations

import asyncio
import os
import termios
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from meter_sim.faults.spoil import Piece, RtuWire
from meter_sim.modbus.frames import Asked, take_rtu
from meter_sim.modbus.line import Line, Outcome

SILENCE_CHARACTERS = 3.5
FRAME_GAP_S = 0.02  # without pacing: bytes of one request come closer together than this
CHUNK_CHARACTERS = 8  # what a UART hands over at a time
READ_BYTES = 4096
SPEEDS = (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
BAUDRATES = {getattr(termios, f"B{speed}"): speed for speed in SPEEDS}


@dataclass(frozen=True, slots=True)
class Pace:
    """The speed of the wire. `character_s` 0 means that bytes take no time."""

    character_s: float = 0
    answer_delay_s: float = 0
    deaf_unless: tuple[int, int] | None = None  # baud rate and stop bits; a pseudo-terminal knows no parity

    @property
    def silence_s(self) -> float:
        """3.5 characters, at least 1.75 ms; nothing without pacing."""
        return max(SILENCE_CHARACTERS * self.character_s, 0.00175) if self.character_s else 0


class SimulatedPort(Protocol):
    """A way to the meters that can go away for a while."""

    async def unplug(self, seconds: float) -> None:
        """Go away now; returns when it has, and comes back by itself."""


class Terminal:
    """A pseudo-terminal that a link points to. Unplugged, link and terminal vanish; plugged in, there is a new one."""

    def __init__(self, link: Path) -> None:
        self._link = link
        self._away: asyncio.TimerHandle | None = None
        self._ends: tuple[int, int] | None = None
        self._path = ""

    def plug(self) -> None:
        self._away = None
        ours, masters = os.openpty()
        tty.setraw(masters)
        os.set_blocking(ours, False)
        self._ends, self._path = (ours, masters), os.ttyname(masters)
        try:
            point(self._link, self._path)
        except OSError:
            self._close()
            raise
        asyncio.get_running_loop().add_reader(ours, self._readable, ours)

    def _readable(self, end: int) -> None:
        self.heard(os.read(end, READ_BYTES))

    def heard(self, data: bytes) -> None:
        """For those who care what masters say."""

    def spoken(self) -> tuple[int, int] | None:
        """Baud rate and stop bits that the master has set."""
        if self._ends is None:
            return None
        _, _, control, _, speed, _, _ = termios.tcgetattr(self._ends[1])
        return BAUDRATES.get(speed, 0), 2 if control & termios.CSTOPB else 1

    def write(self, data: bytes) -> None:
        """Nobody reads and the terminal's buffer is full, or it is unplugged: the bytes are gone."""
        if self._ends is not None:
            with suppress(BlockingIOError):
                os.write(self._ends[0], data)

    async def unplug(self, seconds: float) -> None:
        if self._away is not None:
            self._away.cancel()
        self._pull()
        self._away = asyncio.get_running_loop().call_later(seconds, self.plug)

    def _pull(self) -> None:
        unpoint(self._link, self._path)
        if self._ends is not None:
            asyncio.get_running_loop().remove_reader(self._ends[0])
            self._close()

    def _close(self) -> None:
        for end in self._ends or ():
            os.close(end)
        self._ends = None

    def close(self) -> None:
        if self._away is not None:
            self._away.cancel()
        self._pull()


class RtuPort(Terminal):
    """The meters' end of a line. Masters may come and go; the terminal stays, but for being unplugged."""

    def __init__(self, line: Line, link: Path, pace: Pace) -> None:
        super().__init__(link)
        self._line = line
        self._pace = pace
        self._wire = RtuWire()
        self._buffer = self._held = b""
        self._forget: asyncio.TimerHandle | None = None
        self._answering: asyncio.Task[None] | None = None
        self._slow: dict[int, asyncio.Task[None]] = {}  # unit -> the answer that it is still at

    def heard(self, data: bytes) -> None:
        if self._pace.deaf_unless not in {None, self.spoken()}:
            return
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
        request, self._buffer = self._buffer[: len(self._buffer) - len(rest)], rest
        self._answering = loop.create_task(self._answer(asked, request, loop.time()))

    def _drop(self) -> None:
        self._buffer = b""

    async def _answer(self, asked: Asked, request: bytes, heard_s: float) -> None:
        """Take the request's time on the wire, the silence, the meter's time, then the answer's time."""
        pace = self._pace
        delay_s = self._line.delay_s(asked.unit, pace.answer_delay_s)
        start_s = heard_s + len(request) * pace.character_s + pace.silence_s + delay_s
        await until(start_s)
        if self._held:
            held, self._held = self._held, b""
            start_s = await self._send(held, start_s)
        outcome = self._line.serve(self._wire, asked, request)
        if outcome is None:
            return
        self._held = outcome.sent.held
        before = self._slow.get(asked.unit)
        if before is not None and before.done():
            del self._slow[asked.unit]
            before = None
        if before is not None or (outcome.sent.pieces and outcome.sent.pieces[0].pause_s):
            # The others of the line can be asked meanwhile; a meter answers in the order of the questions.
            self._slow[asked.unit] = asyncio.get_running_loop().create_task(self._tell_after(before, asked, outcome))
        else:
            await self._tell(asked, outcome, start_s)
            self._buffer = b""
        if outcome.unplug_s:
            await self.unplug(outcome.unplug_s)

    async def _tell_after(self, before: asyncio.Task[None] | None, asked: Asked, outcome: Outcome) -> None:
        if before is not None:
            await asyncio.wait({before})
        await self._tell(asked, outcome, asyncio.get_running_loop().time())

    async def _tell(self, asked: Asked, outcome: Outcome, start_s: float) -> None:
        pieces = outcome.sent.pieces
        if not pieces:
            self._line.log(asked, outcome)
        for number, piece in enumerate(pieces):
            log = (asked, outcome) if number == len(pieces) - 1 else None
            start_s = await self._send_piece(piece, start_s, log)

    async def _send_piece(self, piece: Piece, start_s: float, log: tuple[Asked, Outcome] | None) -> float:
        return await self._send(piece.data, start_s + piece.pause_s, log)

    async def _send(self, data: bytes, start_s: float, log: tuple[Asked, Outcome] | None = None) -> float:
        """Send at the wire's pace; returns when the last byte is over."""
        character_s = self._pace.character_s
        step = CHUNK_CHARACTERS if character_s else max(len(data), 1)
        for at in range(0, max(len(data), 1), step):
            chunk = data[at : at + step]
            await until(start_s + (at + len(chunk)) * character_s)
            if log is not None and at + step >= len(data):
                self._line.log(*log)  # first the log, then the last bytes: who has the answer finds it there
            self.write(chunk)
        return start_s + len(data) * character_s

    def close(self) -> None:
        super().close()
        for task in (self._answering, *self._slow.values()):
            if task is not None:
                task.cancel()


async def until(when_s: float) -> None:
    """Wait for a moment of the loop's time; return at once where it is over."""
    delay = when_s - asyncio.get_running_loop().time()
    if delay > 0:
        await asyncio.sleep(delay)


@asynccontextmanager
async def serve_pty(line: Line, link: Path, pace: Pace) -> AsyncIterator[RtuPort]:
    """Serve on a pseudo-terminal that `link` points to."""
    port = RtuPort(line, link, pace)
    port.plug()
    try:
        yield port
    finally:
        port.close()


def point(link: Path, target: str) -> None:
    """Make `link` point to `target`, also where one of an earlier run is in the way; other files are left alone."""
    if link.is_symlink():
        link.unlink()
    link.symlink_to(target)


def unpoint(link: Path, target: str) -> None:
    """Remove `link`, if it still points to `target`."""
    if link.is_symlink() and str(link.readlink()) == target:
        link.unlink()

"""Terminals of meters with telegrams: those that send by themselves, an optical head (mode C), and a wired M-Bus."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from meter_sim.faults.spoil import Piece
from meter_sim.ports import Pace, Terminal, until
from meter_sim.telegrams.encoders import mode_c
from meter_sim.telegrams.telegram_meter import TelegramLine

CHUNK = 64
READ_BYTES_MAX = 1000
REACTION_S = 0.2  # IEC 62056-21: a meter answers after 200 to 1500 ms
SIGN_ON = re.compile(rb"/\?[^!\r\n]*!\r\n")
ACKNOWLEDGE = re.compile(rb"\x060[0-9]0\r\n")
SHORT_BYTES = 5
SHORT_START, STOP, ACK = 0x10, 0x16, b"\xe5"
SND_NKE, REQ_UD2 = 0x40, 0x5B  # with or without the count bit
COUNT_BIT = 0x20
ANY_ADDRESSES = (254, 255)


class TelegramPort(Terminal):
    """What all of them share: sending at the wire's pace."""

    def __init__(self, line: TelegramLine, link: Path, pace: Pace) -> None:
        super().__init__(link)
        self._line = line
        self._pace = pace
        self._work: set[asyncio.Task[None]] = set()

    def work(self, job: Coroutine[Any, Any, None]) -> None:
        """Do `job` in the background."""
        task = asyncio.get_running_loop().create_task(job)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _answer(self, unit: int) -> None:
        delay_s = self._line.meters[unit].delay_s
        await asyncio.sleep(self._pace.answer_delay_s if delay_s is None else delay_s)
        await self._tell(unit)

    async def _tell(self, unit: int) -> None:
        """One telegram, and its faults."""
        pieces, away_s, log = self._line.serve(unit)
        await self._send(pieces[:-1])
        log()  # first the log, then the last bytes: who has the telegram finds it there
        await self._send(pieces[-1:])
        if away_s:
            await self.unplug(away_s)

    async def _send(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            start_s = asyncio.get_running_loop().time() + piece.pause_s
            await until(start_s)
            for at in range(0, len(piece.data), CHUNK):
                chunk = piece.data[at : at + CHUNK]
                await until(start_s + (at + len(chunk)) * self._pace.character_s)
                self.write(chunk)

    def close(self) -> None:
        super().close()
        for task in self._work:
            task.cancel()


class PushPort(TelegramPort):
    """A meter that sends a telegram each `interval_s`, whether somebody listens or not."""

    async def push(self, unit: int, interval_s: float) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        while True:
            await self._tell(unit)
            next_s = max(next_s + interval_s, loop.time())
            await until(next_s)


class ModeCPort(TelegramPort):
    """A meter with an optical head: sign-on, identification, acknowledgement, readout."""

    def __init__(self, line: TelegramLine, link: Path, pace: Pace) -> None:
        super().__init__(line, link, pace)
        self._heard = b""

    def heard(self, data: bytes) -> None:
        self._heard = (self._heard + data)[-READ_BYTES_MAX:]
        if SIGN_ON.search(self._heard):
            self._heard = b""
            self.work(self._greet())
        elif ACKNOWLEDGE.search(self._heard):
            self._heard = b""
            self.work(self._answer(next(iter(self._line.meters))))

    async def _greet(self) -> None:
        await asyncio.sleep(REACTION_S)
        await self._send([Piece(0, mode_c([])[0])])


class MbusPort(TelegramPort):
    """A wired M-Bus with any number of meters (EN 13757-2): SND_NKE is acknowledged, REQ_UD2 answered.

    The count bit is not looked at: every answer is a new one.
    """

    def __init__(self, line: TelegramLine, link: Path, pace: Pace) -> None:
        super().__init__(line, link, pace)
        self._heard = b""

    def heard(self, data: bytes) -> None:
        self._heard = (self._heard + data)[-READ_BYTES_MAX:]
        while (start := self._heard.find(bytes((SHORT_START,)))) >= 0:
            frame = self._heard[start : start + SHORT_BYTES]
            if len(frame) < SHORT_BYTES:
                return
            _, control, address, total, stop = frame
            if stop != STOP or total != (control + address) & 0xFF:
                self._heard = self._heard[start + 1 :]
                continue
            self._heard = self._heard[start + SHORT_BYTES :]
            for unit in [address] if address not in ANY_ADDRESSES else list(self._line.meters):
                self._asked(control, unit, broadcast=address == ANY_ADDRESSES[1])

    def _asked(self, control: int, unit: int, *, broadcast: bool) -> None:
        if unit not in self._line.meters or broadcast:
            return
        if control == SND_NKE:
            self.work(self._acknowledge())
        elif control | COUNT_BIT == REQ_UD2 | COUNT_BIT:
            self.work(self._answer(unit))

    async def _acknowledge(self) -> None:
        await self._send([Piece(0, ACK)])


@asynccontextmanager
async def serve_telegrams(line: TelegramLine, link: Path, pace: Pace, interval_s: float) -> AsyncIterator[TelegramPort]:
    """Serve on a pseudo-terminal that `link` points to. `interval_s` above 0: the meter sends by itself."""
    protocol = {meter.profile.protocol for meter in line.meters.values()}
    kind = PushPort if interval_s else MbusPort if protocol == {"mbus"} else ModeCPort
    port = kind(line, link, pace)
    port.plug()
    if isinstance(port, PushPort):
        port.work(port.push(next(iter(line.meters)), interval_s))
    try:
        yield port
    finally:
        port.close()

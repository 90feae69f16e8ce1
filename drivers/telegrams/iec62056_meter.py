"""IEC 62056-21 mode C: a meter with an optical head that is asked at 300 baud and answers faster."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence

from drivers.meter import Sample
from drivers.profile.model import Profile
from drivers.telegrams.meter import TelegramMeter
from drivers.telegrams.obis_text import decode_iec62056
from drivers.telegrams.stream_line import OPEN_TIMEOUT_S, StreamLine
from drivers.telegrams.telegram import Telegram, TelegramError, shown
from drivers.telegrams.text_framer import STX, TextFramer

SIGN_ON = b"/?!\r\n"
SIGN_ON_BAUDRATE = 300
BAUDRATES = {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19200}
EXCHANGE_MAX_S = 60.0  # a long readout at 300 baud
IDENTIFICATION_S = 3.5  # the standard's 1.5 s until it begins, and 26 characters at 300 baud
DATA_S = 3.0  # until the readout begins
SILENCE_S = 2.0  # within it: the standard allows 1.5 s
READ_MAX_MS = round(1000 * EXCHANGE_MAX_S)  # what is given up before is handed out a whole interval later
REQUEST_S = 6 * 10 / SIGN_ON_BAUDRATE + 0.03  # six characters of ten bits, and what an adapter adds
CHECK_HEAD = "check the place of the optical head, that it is one of IEC 62056-21, and the port's settings (300 7E1)"
_IDENTIFICATION = re.compile(rb"/[A-Za-z]{2}[A-Za-z0-9]([^\r\n])[^\r\n]{0,40}\r?\n")


class Iec62056Meter(TelegramMeter[StreamLine]):
    """A meter that is read out on request. `measurands` None means the profile's default set.

    A readout takes seconds, whatever the budget: it goes on in the background, and the reading that comes next has it.
    """

    operation = "read out"

    def __init__(
        self,
        line: StreamLine,
        profile: Profile,
        name: str,
        measurands: Sequence[str] | None = None,
        ct_ratio: float = 1,
    ) -> None:
        super().__init__(line, profile, name, measurands, ct_ratio)
        self._readout: asyncio.Task[tuple[Telegram, float]] | None = None
        self._slow = False  # its faster answer was not understood: the next is asked for at the speed it began with

    @property
    def read_max_ms(self) -> int:
        return READ_MAX_MS

    async def read(self, budget_ms: int) -> Sample:
        """One reading; see `drivers.meter.Meter`."""
        telegram, taken_s = await self._telegram(budget_ms)
        return self.sample(telegram, taken_s)

    async def identify(self, budget_ms: int) -> Mapping[str, str]:
        """The serial number in the readout, and the identification before it."""
        if not self.known:
            await self._telegram(budget_ms)
        return dict(self.known)

    async def _telegram(self, budget_ms: int) -> tuple[Telegram, float]:
        if self._readout is None or self._readout.cancelled():
            await self.line.open(min(OPEN_TIMEOUT_S, budget_ms / 1000))
            self._readout = self.line.work(self._read_out())
        task = self._readout
        await asyncio.wait({task}, timeout=budget_ms / 1000)
        if not task.done():
            cause = f"the readout is not finished within {budget_ms} ms, and goes on"
            raise self.error("pending", cause, "lengthen the interval: a readout takes 3 to 30 s")
        self._readout = None
        telegram, taken_s = task.result()
        self.note(telegram)
        return telegram, taken_s

    async def _read_out(self) -> tuple[Telegram, float]:
        loop, line = asyncio.get_running_loop(), self.line
        end = loop.time() + EXCHANGE_MAX_S
        async with line.claim(end):
            try:
                line.set_baudrate(SIGN_ON_BAUDRATE)
                line.send(SIGN_ON)
                identification, rest = await self._identification(loop.time() + IDENTIFICATION_S)
                rest = await self._acknowledge(identification, rest)
                frame = await self._data(identification, rest, end)
                telegram = decode_iec62056(frame)
            except TelegramError as error:
                self._slow = not self._slow
                raise self.error("garbage", str(error), CHECK_HEAD) from error
            finally:
                line.set_baudrate(line.serial.baudrate)
        return telegram, loop.time()

    async def _identification(self, deadline: float) -> tuple[bytes, bytes]:
        """The meter's answer to the sign-on, and what came after it; an optical head may have sent our own before."""
        heard = b""
        while True:
            found = _IDENTIFICATION.search(heard)
            if found is not None:
                return found[0], heard[found.end() :]
            more = await self.line.receive(deadline)
            if not more and not heard.replace(SIGN_ON, b""):
                raise self.error("silent", f"no answer to the sign-on ({self.line.settings})", CHECK_HEAD)
            if not more:
                cause = f"no identification, but bytes: {shown(heard)} ({self.line.settings})"
                raise self.error("garbage", cause, CHECK_HEAD)
            heard = (heard + more)[-200:]

    async def _acknowledge(self, identification: bytes, rest: bytes) -> bytes:
        """Ask for the readout at the speed that the meter offers. One without an offer (mode A) sends without this."""
        found = _IDENTIFICATION.match(identification)
        offered = chr(found[1][0]) if found is not None else ""
        if offered not in BAUDRATES:
            return rest
        speed = "0" if self._slow or self.line.is_tcp else offered
        self.line.send(b"\x060" + speed.encode() + b"0\r\n")
        if speed != "0":
            # The meter waits 200 ms and more; our request takes six characters to leave.
            await asyncio.sleep(REQUEST_S)
            self.line.set_baudrate(BAUDRATES[speed])
        return b""

    async def _data(self, identification: bytes, rest: bytes, end: float) -> bytes:
        """The whole readout, as if it had come in one piece."""
        loop, framer = asyncio.get_running_loop(), TextFramer()
        framer.feed(identification)
        heard, began = rest, False
        deadline = loop.time() + DATA_S
        while True:
            start = heard.find(bytes([STX]))
            if not began and start >= 0:
                began, heard = True, heard[start:]  # before it: the echo of our acknowledgement
            for found in framer.feed(heard) if began else ():
                if isinstance(found, TelegramError):
                    raise found
                return found
            heard = b"" if began else heard[-200:]
            more = await self.line.receive(min(deadline, end))
            if not more:
                nothing = TelegramError("truncated", "IEC 62056-21", "no readout after the identification")
                raise (framer.end() if began else None) or nothing
            heard += more
            deadline = loop.time() + SILENCE_S if began else deadline

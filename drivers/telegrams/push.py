"""Meters that send telegrams by themselves: what arrives is stamped at once and thinned to the asker's interval."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drivers.meter import MeterError, Sample
from drivers.profile.model import Profile, SerialDefaults
from drivers.telegrams.meter import TelegramMeter
from drivers.telegrams.stream_line import OPEN_TIMEOUT_S, StreamLine
from drivers.telegrams.telegram import Decode, StreamFramer, Telegram, TelegramError, shown

REST_S = 0.03  # a telegram comes in many small pieces; each wake-up costs more than a piece
PAUSE_S = 1.5  # no meter pauses for so long within a telegram
TELEGRAM_MS = 1_000  # how long a telegram may be on the wire
CHECK_SIGNAL = "check the port's settings against the profile's, the adapter's kind, and the optical head's place"
CHECK_SOURCE = (
    "check plug and head, that the meter's customer port is switched on (the grid operator does that, or a PIN), "
    "and that the adapter requests data (P1: pin 2)"
)
NO_KEY = "ask the grid operator to send it unencrypted; this version holds no keys"


@dataclass(frozen=True, slots=True)
class Arrived:
    """A telegram with the event loop's time of its last byte."""

    telegram: Telegram
    at_s: float


class PushLine(StreamLine):
    """A line on which telegrams arrive. Its meters are told of each; there may be several for one telegram."""

    def __init__(
        self, name: str, port: str, serial: SerialDefaults, framing: type[StreamFramer], decode: Decode
    ) -> None:
        super().__init__(name, port, serial)
        self.meters: list[PushMeter] = []
        self.damage: TelegramError | None = None
        self.unknown = b""  # bytes since the last telegram, the first of them
        self._framing = framing
        self._framer = framing()
        self._decode = decode
        self._heard_s = 0.0

    def opened(self) -> None:
        """A telegram that began before the port was opened is none."""
        self._framer = self._framing()
        self.damage, self.unknown = None, b""

    def received(self, data: bytes) -> None:
        """Called by the port."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._heard_s > PAUSE_S and (left := self._framer.end()) is not None:
            self.damage = left  # else its claim would hold back what comes now, until it is old
        self._heard_s = now_s
        self.unknown = (self.unknown + data)[:16]
        found = self._framer.feed(data)
        for frame in found:
            try:
                if isinstance(frame, TelegramError):
                    raise frame
                telegram = self._decode(frame)
            except TelegramError as error:
                self.damage = error
            else:
                self.damage, self.unknown = None, b""
                for meter in self.meters:
                    meter.arrived(Arrived(telegram, now_s))
        if found:
            self.news.set()
        else:
            missing_s = self._framer.missing * self.character_s
            self._port.rest(min(missing_s, REST_S) if missing_s else REST_S)


class PushMeter(TelegramMeter[PushLine]):
    """A meter of a profile whose protocol pushes. `measurands` None means the profile's default set."""

    in_lists = True

    def __init__(
        self, line: PushLine, profile: Profile, name: str, measurands: Sequence[str] | None = None, ct_ratio: float = 1
    ) -> None:
        super().__init__(line, profile, name, measurands, ct_ratio)
        self._waiting: Arrived | None = None
        self._period_s = 0.0
        self._last_s = 0.0
        line.meters.append(self)

    @property
    def read_max_ms(self) -> int:
        return self.profile.timing.telegram_interval_ms + TELEGRAM_MS

    def arrived(self, new: Arrived) -> None:
        """Called by the line. Of several telegrams the fullest waits to be read, of equals the newest.

        Meters that send short lists often and counters once an hour lose no counter so.
        """
        self._period_s, self._last_s = new.at_s - self._last_s if self._last_s else 0.0, new.at_s
        self.note(new.telegram)
        old = self._waiting
        if old is None or self.reader.holds(new.telegram) >= self.reader.holds(old.telegram):
            self._waiting = new

    async def read(self, budget_ms: int) -> Sample:
        """The telegram that arrived since the last one handed out, or the next; see `drivers.meter.Meter`."""
        arrived = await self._next(budget_ms)
        self._waiting = None
        return self.sample(arrived.telegram, arrived.at_s)

    async def identify(self, budget_ms: int) -> Mapping[str, str]:
        """The serial number that the telegrams say, if they do; takes none of them away."""
        if "serial_number" not in self.known:
            await self._next(budget_ms)
        return dict(self.known)

    async def _next(self, budget_ms: int) -> Arrived:
        loop, line = asyncio.get_running_loop(), self.line
        deadline = loop.time() + budget_ms / 1000
        try:
            await line.open(min(OPEN_TIMEOUT_S, budget_ms / 1000))
        except MeterError:
            if self._waiting is None:
                raise
        try:
            async with asyncio.timeout_at(deadline):
                while self._waiting is None:
                    if line.lost_cause:
                        raise line.loss()
                    line.news.clear()
                    await line.news.wait()
        except TimeoutError:
            if self._waiting is None:  # else it came in the very moment
                raise self._nothing(budget_ms, loop.time()) from None
        return self._waiting

    def _nothing(self, budget_ms: int, now_s: float) -> MeterError:
        """Why there was no telegram."""
        line, within = self.line, f"within {budget_ms} ms ({self.line.settings})"
        damage = line.damage
        if damage is not None:
            step = NO_KEY if damage.reason == "encrypted" else CHECK_SIGNAL
            return self.error("garbage", f"{damage} ({line.settings})", step)
        since_s = now_s - self._last_s
        if self._last_s and since_s * 1000 <= self.read_max_ms:
            every = f", one each {self._period_s:.1f} s" if self._period_s else ""
            step = f"lengthen the interval to what the meter sends{every}"
            return self.error("pending", f"no telegram {within}; the last came {since_s:.1f} s before{every}", step)
        if line.unknown:
            return self.error("garbage", f"no telegram {within}, but bytes: {shown(line.unknown)}", CHECK_SIGNAL)
        return self.error("silent", f"no telegram {within}", CHECK_SOURCE)

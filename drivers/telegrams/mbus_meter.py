"""A meter on a wired M-Bus: initialised once, then asked for its data (REQ_UD2) with the frame count bit by turns."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from drivers.meter import MeterError, Reason, Sample
from drivers.profile.model import Profile
from drivers.telegrams.mbus import ACK, FCB, REQ_UD2, SND_NKE, LongFrame, MbusFramer, long_frame, short_frame
from drivers.telegrams.mbus_records import decode_part, whole_answer
from drivers.telegrams.meter import TelegramMeter
from drivers.telegrams.stream_line import OPEN_TIMEOUT_S, StreamLine
from drivers.telegrams.telegram import Telegram, TelegramError, shown

ATTEMPTS = 3
TELEGRAMS_MAX = 8
ANY_ADDRESS = 254
ACK_BITS = 330  # EN 13757-2: an answer begins 11 to 330 bit times after the request, and 50 ms
ACK_EXTRA_S = 0.05
TYPICAL_ANSWER_S = 0.1
LONGEST_BYTES = 261
RESPONSE_CONTROLS = frozenset({0x08, 0x18, 0x28, 0x38})
CHECK_BUS = "check the meter's primary address, the level converter's power and the baud rate (mostly 2400 8E1)"
CHECK_NOISE = "check that no two meters have this address, and the bus for too many meters or a short circuit"


class MbusMeter(TelegramMeter[StreamLine]):
    """A meter with a primary address. `measurands` None means the profile's default set."""

    def __init__(
        self,
        line: StreamLine,
        unit: int,
        profile: Profile,
        name: str,
        measurands: Sequence[str] | None = None,
        ct_ratio: float = 1,
    ) -> None:
        super().__init__(line, profile, name, measurands, ct_ratio, unit)
        self._count_bit: int | None = None  # None: the meter is to be initialised
        self._answer_s = max(profile.timing.answer_timeout_ms / 1000, ACK_BITS / line.serial.baudrate + ACK_EXTRA_S)
        self._whole_s = LONGEST_BYTES * line.character_s

    @property
    def subject(self) -> str:
        """With its address."""
        return f"meter {self.name} (address {self.unit} on {self.line.name})"

    @property
    def read_max_ms(self) -> int:
        return round(1000 * (ATTEMPTS + 1) * (self._answer_s + self._whole_s))

    @property
    def typical_ms(self) -> int:
        """What a reading usually takes, for the poller: an answer of half the longest, on the wire."""
        return round(1000 * (TYPICAL_ANSWER_S + self._whole_s / 2))

    async def read(self, budget_ms: int) -> Sample:
        """One reading; see `drivers.meter.Meter`."""
        return self.sample(await self._telegram(budget_ms))

    async def identify(self, budget_ms: int) -> Mapping[str, str]:
        """The identification number of the header, and maker, version and medium."""
        if not self.known:
            await self._telegram(budget_ms)
        return dict(self.known)

    async def _telegram(self, budget_ms: int) -> Telegram:
        deadline = asyncio.get_running_loop().time() + budget_ms / 1000
        async with self.line.claim(deadline):
            await self.line.open(min(OPEN_TIMEOUT_S, budget_ms / 1000))
            try:
                telegram = await self._all_telegrams(deadline)
            except MeterError:
                self._count_bit = None
                raise
        self.note(telegram)
        return telegram

    async def _all_telegrams(self, deadline: float) -> Telegram:
        """The first answer, and the further ones that the meter says it has."""
        if self._count_bit is None:
            # SND_NKE; a meter that does not acknowledge it may answer all the same.
            await self._exchange(SND_NKE, deadline)
        parts: list[Telegram] = []
        for _ in range(TELEGRAMS_MAX):
            parts.append(await self._answer(deadline))
            if not parts[-1].more:
                break
        return whole_answer(parts)

    async def _answer(self, deadline: float) -> Telegram:
        """One answer to REQ_UD2. The count bit turns when one was understood, else the meter repeats it."""
        count_bit = FCB if self._count_bit is None else self._count_bit
        problem: MeterError | None = None
        for _ in range(ATTEMPTS):
            try:
                frame = await self._exchange(REQ_UD2 | count_bit, deadline)
                telegram = self._decoded(frame)
            except MeterError as error:
                if error.reason not in {"silent", "garbage"} or _over(deadline):
                    raise problem or error from None
                problem = error
            else:
                self._count_bit = FCB - count_bit
                return telegram
        assert problem is not None  # noqa: S101 - there is at least one attempt
        raise problem

    def _decoded(self, frame: LongFrame | None) -> Telegram:
        if frame is None:
            raise self.error("silent", f"no answer ({self.line.settings})", CHECK_BUS)
        try:
            return decode_part(frame.data)
        except TelegramError as error:
            reason: Reason = "exception" if error.reason == "application_error" else "garbage"
            step = "try again later" if reason == "exception" else "correct the model, or report this telegram"
            raise self.error(reason, str(error), step) from error

    async def _exchange(self, control: int, deadline: float) -> LongFrame | None:
        """Send one short frame; the long frame that answers, None for an acknowledgement or no answer at all."""
        loop, framer = asyncio.get_running_loop(), MbusFramer()
        request = short_frame(control, self.unit)
        self.line.send(request)
        begin_s = loop.time() + len(request) * self.line.character_s + self._answer_s
        latest = min(begin_s + self._whole_s + ACK_EXTRA_S, deadline)
        wait_until = min(begin_s, deadline)
        heard, damage = b"", None
        while data := await self.line.receive(wait_until):
            heard = (heard + data)[:LONGEST_BYTES].removeprefix(request)
            for found in framer.feed(data):
                if found == ACK:
                    if control == SND_NKE:
                        return None
                elif isinstance(found, TelegramError):
                    damage = found
                else:
                    return self._mine(long_frame(found))
            wait_until = latest
        if damage is not None or heard.strip(ACK):
            cause = str(damage) if damage is not None else f"no answer, but bytes: {shown(heard)}"
            raise self.error("garbage", f"{cause} ({self.line.settings})", CHECK_NOISE)
        return None

    def _mine(self, frame: LongFrame) -> LongFrame:
        if frame.control not in RESPONSE_CONTROLS:
            raise self.error("garbage", f"control field {frame.control:#04x} is no answer", CHECK_NOISE)
        if self.unit not in {ANY_ADDRESS, frame.address}:
            raise self.error("garbage", f"answer of address {frame.address} instead of {self.unit}", CHECK_NOISE)
        return frame


def _over(deadline: float) -> bool:
    return asyncio.get_running_loop().time() >= deadline

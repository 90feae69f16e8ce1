"""Asks a meter now and then which one it is, when its line has nothing better to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent.core.time_units import HOUR_MS, MINUTE_MS
from drivers.meter import Meter, MeterError

ASK_EVERY_MS = HOUR_MS
RETRY_MS = 10 * MINUTE_MS
AWAY_MS = MINUTE_MS  # as long at least as it takes somebody to replace a meter
AWAY_INTERVALS = 3
SLACK_MIN_MS = 100  # a request and its answer at 9600 baud, and some more
BUDGET_MAX_MS = 1_000
NO_NUMBER = "0 -"  # of such characters only: what meters say that were never given one


@dataclass(slots=True)
class SerialNumber:
    """Of one meter; `on_number` hears each answer. A number that is news is asked for twice, lest noise replace meters.

    `number` is the last known one.
    """

    meter: Meter
    interval_ms: int
    on_number: Callable[[str], Awaitable[None]]
    number: str | None = None
    due_ms: int = 0
    _answered_ms: int | None = None

    def answered(self, now_ms: int) -> bool:
        """Note a reading; returns whether to ask: at first, when it was away, and about hourly."""
        away_ms = max(AWAY_INTERVALS * self.interval_ms, AWAY_MS)
        if self._answered_ms is None or now_ms - self._answered_ms > away_ms:
            self.due_ms = now_ms
        self._answered_ms = now_ms
        return self.is_due(now_ms)

    def is_due(self, now_ms: int) -> bool:
        """Whether a meter that answers is to be asked."""
        return self._answered_ms is not None and now_ms >= self.due_ms

    async def ask(self, now_ms: int, slack_ms: int) -> bool:
        """Ask within `slack_ms`; False if that is too little. A meter that does not say it is asked again later."""
        if slack_ms < SLACK_MIN_MS:
            return False
        self.due_ms = now_ms + RETRY_MS
        ends_s = asyncio.get_running_loop().time() + min(slack_ms, BUDGET_MAX_MS) / 1000
        try:
            number = await self._answer(ends_s)
            if number is not None and (self.number in {None, number} or number == await self._answer(ends_s)):
                self.due_ms = now_ms + ASK_EVERY_MS
                self.number = number
                await self.on_number(number)
        except MeterError:
            pass  # the next reading tells whether it is gone
        return True

    async def _answer(self, ends_s: float) -> str | None:
        budget_ms = max(round((ends_s - asyncio.get_running_loop().time()) * 1000), 0)
        said = (await self.meter.identify(budget_ms)).get("serial_number", "").strip()
        return said if said.strip(NO_NUMBER) else None

"""Wakes one loop: at once when it is rung, or at a time. Of several times the earliest counts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from agent.services.bell import Bell


@dataclass(slots=True)
class Alarm:
    """`heard` returns when the alarm was rung or its time has come."""

    _bell: Bell = field(default_factory=Bell)
    _timer: asyncio.TimerHandle | None = None

    def ring(self) -> None:
        self._bell.ring()

    def ring_in(self, delay_ms: int) -> None:
        """Ring in `delay_ms` at the latest."""
        loop = asyncio.get_running_loop()
        at = loop.time() + max(delay_ms, 0) / 1000
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = loop.call_at(at, self._fire)

    async def heard(self) -> None:
        """Wait until it rings; the time that was set, if it is still to come, is forgotten."""
        await self._bell.heard()
        self.forget_time()

    def forget_time(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        self._bell.ring()

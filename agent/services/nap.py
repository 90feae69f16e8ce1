"""The pause between two rounds of a loop, which a commit may end a little early."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from agent.adapters.system.clock import Clock
from agent.services.bell import Bell

EARLY, LATE = 0.8, 1.2  # of the interval between rounds


@dataclass(slots=True)
class Nap:
    """A commit wakes the processor anyway: a round that is about due costs least then."""

    clock: Clock
    _early_ms: int | None = None
    _bell: Bell = field(default_factory=Bell)

    async def rest(self, interval_ms: int, most_ms: float) -> None:
        """Sleep until a commit after `EARLY` of the interval, for `LATE` of it or `most_ms` at most."""
        most_ms = min(LATE * interval_ms, most_ms)
        self._early_ms = self.clock.mono_ms() + round(most_ms * EARLY / LATE)
        timer = asyncio.get_running_loop().call_later(most_ms / 1000, self._bell.ring)
        try:
            await self._bell.heard()
        finally:
            timer.cancel()
            self._early_ms = None

    def on_commit(self) -> None:
        """End the nap, if the next round is about due."""
        if self._early_ms is not None and self.clock.mono_ms() >= self._early_ms:
            self._bell.ring()

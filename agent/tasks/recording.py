"""From readings to sealed batches: a group commit within the durability window, then sealing by age or size."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.services.buffer.committer import Committer
from agent.services.buffer.journal import Journal
from agent.services.buffer.sealer import Policies, Sealer
from agent.services.buffer.thread import BufferThread


@dataclass(slots=True)
class Recorder:
    """The one loop that writes records. `on_round` is called after each commit.

    The processor is awake then, so that what else is due soon costs least.
    """

    store: BufferThread
    journal: Journal
    committer: Committer
    sealer: Sealer
    on_round: Callable[[], None]
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> None:
        """Commit and seal until cancelled."""
        while True:
            self._set_alarm()
            await self.journal.alarm.heard()
            async with self._lock:
                if await self._commit():
                    await self._seal_if_due()
            self.on_round()

    async def flush(self) -> bool:
        """Commit all that is pending, and what comes during that; False when the disk would not take it."""
        async with self._lock:
            self.journal.close_gaps()
            return await self.committer.commit_everything()

    def reconfigure(self, policies: Policies) -> None:
        """Take new policies; what is pending is committed now, as its window may have become shorter."""
        self.sealer.policies, self.journal.durability_ms = policies, policies.durability_ms
        self.journal.alarm.ring()

    async def begin_epoch(self, reason: str) -> bool:
        """Seal what is open under the old epoch, begin a new one, and say so in it; False while the disk is ill."""
        previous = self.store.buffer.epoch.hex()
        async with self._lock:
            self.journal.close_gaps()
            if not (await self._commit() and await self.sealer.seal(everything=True)):
                return False
            await self.store.run(self.store.buffer.begin_epoch)
        self.journal.event("epoch", reason=reason, previous=previous)
        return True

    async def _commit(self) -> bool:
        done = await self.committer.commit()
        if not done:
            self.sealer.hold_until(self.journal.commit_by_ms)
        return done

    async def _seal_if_due(self) -> None:
        if not self.sealer.is_due():
            return
        self.journal.close_gaps()
        if await self._commit():
            await self.sealer.seal_what_is_due()

    def _set_alarm(self) -> None:
        """Only for what is still to come: an alarm that is not needed would wake the processor."""
        journal, alarm = self.journal, self.journal.alarm
        now_ms = journal.clock.mono_ms()
        seal_ms = self.sealer.next_ms(now_ms)
        alarm.forget_time()
        alarm.ring_in((min(journal.commit_by_ms, seal_ms) if journal.pending else seal_ms) - now_ms)

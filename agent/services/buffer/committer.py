"""Group commits: what waits in the journal goes into the buffer, durably."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.adapters.buffer.buffer import BufferFileError
from agent.core.buffer.pending import GROUP_MAX
from agent.core.buffer.slot_accounts import check_slots
from agent.core.records import Group
from agent.services.buffer.journal import LOOP, STUCK_MS, Journal
from agent.services.buffer.room import BufferRoom
from agent.services.buffer.thread import BufferThread

RETRY_MS = 5_000


@dataclass(slots=True)
class Committer:
    """`on_commit` is told of each group that is on the disk."""

    store: BufferThread
    room: BufferRoom
    journal: Journal
    on_commit: Callable[[Group], None]

    async def commit(self) -> bool:
        """Commit all that waits now; False when the disk would not take it, and it is tried again.

        Records that come during the commit wait for their own window: on a slow disk this would never end otherwise.
        """
        journal, pending = self.journal, self.journal.pending
        pending.state_losses(journal.clock.mono_ms())
        left = len(pending)
        while left > 0 and pending:
            group = pending.take_group(min(left, GROUP_MAX))
            with self.room.naming_broken(go_on=True):  # the cloud sees the difference: `due` is for that
                check_slots(group, pending.meter_of)
            if not await self._try(group):
                pending.put_back(group)
                journal.retry_in(RETRY_MS)
                return False
            left -= len(group.records)
            journal.progress.committed += len(group.records)
            self.on_commit(group)
        journal.progress.pending_records = len(pending)
        if not pending:
            journal.watchdog.forget(LOOP)
        return True

    async def commit_everything(self) -> bool:
        """Commit what waits and what comes during that; False when the disk would not take it."""
        while self.journal.pending or self.journal.pending.has_losses:
            if not await self.commit():
                return False
        return True

    async def _try(self, group: Group) -> bool:
        journal = self.journal
        try:
            await self.room.run(lambda: self.store.buffer.commit(group))
        except BufferFileError as error:
            journal.watchdog.beat(LOOP, journal.clock.mono_ms() + STUCK_MS)
            self.room.failed(error)
            return False
        self.room.was_written()
        journal.watchdog.beat(LOOP, journal.clock.mono_ms() + journal.durability_ms + STUCK_MS)
        return True

"""Sealing: open records become batches when the oldest is old enough, or when they fill one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.adapters.buffer.buffer import BufferFileError
from agent.adapters.system.clock import Clock
from agent.core.buffer.sealing import ConfirmPolicy, SealPolicy
from agent.core.delivery.actions import Sealed
from agent.core.records import Group
from agent.core.system.timekeeper import Timekeeper
from agent.services.buffer.journal import Journal
from agent.services.buffer.room import BufferRoom
from agent.services.buffer.thread import BufferThread
from agent.services.progress import Progress

RETRY_MS = 30_000


@dataclass(slots=True)
class Policies:
    """What a reload of the configuration can change of committing and sealing."""

    durability_ms: int
    max_size_bytes: int
    max_bytes: int
    seal: SealPolicy
    confirm: ConfirmPolicy


@dataclass(slots=True)
class Sealer:
    """`on_sealed` is told of each new batch. Open records are in the buffer, but in no batch yet."""

    store: BufferThread
    room: BufferRoom
    journal: Journal
    clock: Clock
    timekeeper: Timekeeper
    progress: Progress
    policies: Policies
    on_sealed: Callable[[Sealed], None]
    _oldest_open_ms: int | None = None
    _not_before_ms: int = 0

    def committed(self, group: Group) -> None:
        """The records of `group` are in the buffer now, and open."""
        self.progress.open_records += len(group.records)
        if self._oldest_open_ms is None:
            self._oldest_open_ms = group.records[0].mono_ms

    def hold_until(self, at_ms: int) -> None:
        """The disk takes nothing: seal nothing before `at_ms`."""
        self._not_before_ms = max(self._not_before_ms, at_ms)

    def oldest_ms(self) -> int | None:
        """When the oldest record that is in no batch began, open gaps included."""
        known = [at_ms for at_ms in (self.journal.pending.oldest_gap_ms(), self._oldest_open_ms) if at_ms is not None]
        return min(known, default=None)

    def next_ms(self, now_ms: int) -> int:
        """When to seal by age; `is_due` is asked again after each commit, for the size."""
        if self._not_before_ms > now_ms:
            return self._not_before_ms
        oldest_ms = self.oldest_ms()
        # While nothing is open a gap may begin now, without a record.
        return self.policies.seal.old_from_ms(now_ms if oldest_ms is None else oldest_ms)

    def is_due(self) -> bool:
        now_ms, seal = self.clock.mono_ms(), self.policies.seal
        return now_ms >= self._not_before_ms and seal.due(now_ms, self.progress.open_records, self.oldest_ms())

    async def seal_what_is_due(self) -> None:
        """All open records where the oldest is old enough, else as many batches as they fill."""
        is_old = self.policies.seal.is_old(self.clock.mono_ms(), self.oldest_ms())
        done = await self.seal(everything=is_old)
        while done and self.progress.open_records and self.is_due():
            done = await self.seal(everything=False)

    async def seal(self, *, everything: bool) -> bool:
        """False when the disk would not take it; nothing is lost: the records stay open, and it is tried again."""
        progress, policies = self.progress, self.policies
        if not progress.open_records:
            return True
        now_ms, buffer, anchor = self.clock.mono_ms(), self.store.buffer, self.timekeeper.anchor
        options = {
            "everything": everything,
            "confirm_wanted": policies.confirm.wanted(now_ms, progress.batches),
            "handed_out": progress.connected,
        }
        try:
            result = await self.room.run(lambda: buffer.seal(anchor, policies.max_bytes, **options))
        except BufferFileError as error:
            self._not_before_ms = now_ms + RETRY_MS
            self.room.failed(error)
            return False
        progress.open_records, self._oldest_open_ms = result.open_records, result.oldest_open_ms
        for batch, records in result.sealed:
            policies.seal.sealed(records, batch.size)
            progress.sealed += 1
            progress.batches += 1
            progress.batch_records += records
            self.on_sealed(batch)
        await self.room.keep_within(policies.max_size_bytes)
        return not (everything and result.open_records)

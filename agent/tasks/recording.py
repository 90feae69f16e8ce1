"""From readings to sealed batches: group commits within the durability window, then sealing by age or size.

Records wait in memory for at most `durability_ms`; while the disk cannot take them they wait longer, at most
`PENDING_MAX` of them; then the oldest readings are given up, and a gap says so as soon as the disk takes it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from agent.adapters.buffer.buffer import BufferFileError
from agent.adapters.buffer.space import Thinned
from agent.adapters.system.clock import Clock
from agent.core.buffer.losses import Losses
from agent.core.buffer.sealing import ConfirmPolicy, SealPolicy
from agent.core.buffer.slot_accounts import slots_in
from agent.core.delivery.actions import Sealed
from agent.core.metering.slots import MeterSlots
from agent.core.records import Group, Layout, NewEvent, NewRecord
from agent.core.system.timekeeper import Timekeeper
from agent.core.system.watchdog import Watchdog
from agent.services.bell import Bell
from agent.services.buffer_room import BufferRoom
from agent.services.buffer_thread import BufferThread
from agent.services.progress import Progress

GROUP_MAX = 64
PENDING_MAX = 20_000
COMMIT_MARGIN_MS = 300  # the commit must end within the window, not begin
RETRY_MS = 5_000
SEAL_RETRY_MS = 30_000
STUCK_MS = 120_000


@dataclass(slots=True)
class Policies:
    """What a reload of the configuration can change."""

    durability_ms: int
    max_size_bytes: int
    max_bytes: int
    seal: SealPolicy
    confirm: ConfirmPolicy


@dataclass(slots=True)
class Recorder:
    """The one writer of records. `on_sealed` takes each new batch; `meters` are asked for their open gaps.

    `on_commit` is called after each commit: the processor is awake, so that what is due soon costs least then.
    """

    store: BufferThread
    clock: Clock
    timekeeper: Timekeeper
    policies: Policies
    progress: Progress
    watchdog: Watchdog
    on_sealed: Callable[[Sealed], None]
    on_commit: Callable[[], None] = lambda: None
    meters: Sequence[MeterSlots] = ()
    _pending: deque[NewRecord] = field(default_factory=deque)
    _commit_by_ms: int = 0
    _slots_due: dict[str, int] = field(default_factory=dict)
    _losses: Losses = field(default_factory=Losses)
    _oldest_open_ms: int | None = None
    _seal_from_ms: int = 0
    _wake: Bell = field(default_factory=Bell)
    _timer: asyncio.TimerHandle | None = None
    room: BufferRoom = field(init=False)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.room = BufferRoom(self.store, self.progress, self._note_thinned)

    def add(self, records: Iterable[NewRecord], *, at_once: bool = False) -> None:
        """Take records for the next commit. Never blocks, never fails."""
        before = len(self._pending)
        self._pending.extend(records)
        if not self._pending:
            return
        if self._is_last(was_empty=not before) or at_once or before < GROUP_MAX <= len(self._pending):
            self._wake.ring()
        while len(self._pending) > PENDING_MAX:
            self._losses.add(self._pending.popleft(), self.layout_meter)
            self.progress.dropped_records += 1
        self.progress.pending_records = len(self._pending)

    def explain(self, meter: str, events: Iterable[NewEvent], slots: int) -> None:
        """Take gap events that account for `slots` slots counted elsewhere than by a `MeterSlots`."""
        self._slots_due[meter] = self._slots_due.get(meter, 0) + slots
        self.add(events)

    def retire_meters(self, now_ms: int) -> None:
        """The meters are polled no more since `now_ms`: take over what they have not yet accounted for."""
        self.add([event for meter in self.meters for event in meter.end(now_ms)])
        self._collect_slots()
        self.meters = ()

    def layout_meter(self, layout: int) -> str:
        return self.store.buffer.layout(layout).meter

    async def layout_id(self, layout: Layout) -> int:
        return await self.store.run(lambda: self.store.buffer.layout_id(layout))

    async def run(self) -> None:
        """Commit and seal until cancelled."""
        while True:
            self._set_timer()
            await self._wake.heard()
            self._forget_timer()
            async with self._lock:
                if await self._commit():
                    await self._seal_if_due()
            self.on_commit()

    async def flush(self) -> bool:
        """Commit all that is pending, and what comes meanwhile; False when the disk would not take it."""
        async with self._lock:
            self._close_gaps()
            while self._pending or self._losses:
                if not await self._commit():
                    return False
            return True

    def reconfigure(self, policies: Policies) -> None:
        """Take new policies; what is pending is committed now, as its window may have become shorter."""
        self.policies = policies
        self._wake.ring()

    async def begin_epoch(self, reason: str) -> bool:
        """Seal what is open under the old epoch, begin a new one, and say so in it; not while the disk is ill."""
        previous = self.store.buffer.epoch.hex()
        async with self._lock:
            self._close_gaps()
            if not (await self._commit() and await self._seal(everything=True)):
                return False
            await self.store.run(self.store.buffer.begin_epoch)
        self.add([NewEvent(self.clock.mono_ms(), "epoch", None, {"reason": reason, "previous": previous})])
        return True

    def _note_thinned(self, thinned: Thinned) -> None:
        self.add([NewEvent(self.clock.mono_ms(), "thinned", None, thinned.data())])

    # Committing

    def _is_last(self, *, was_empty: bool) -> bool:
        """Whether nothing more comes in time for the commit of what was just added; else a timer brings it.

        The processor then need not wake for the commit alone, which costs as much as a reading.
        """
        if was_empty:
            now_ms, window_ms = self.clock.mono_ms(), self.policies.durability_ms - COMMIT_MARGIN_MS
            self._commit_by_ms = now_ms + window_ms
            self.watchdog.beat("recording", now_ms + self.policies.durability_ms + STUCK_MS)
            self._wake_in(window_ms)
            if window_ms <= 0:
                return True
        return bool(self.meters) and all(meter.is_idle_until(self._commit_by_ms) for meter in self.meters)

    async def _commit(self) -> bool:
        """All that is pending now; what comes meanwhile waits for its own window, else a slow disk would never rest.

        What had to be given up is stated first: later readings without that would pass for all there were.
        """
        self._pending.extendleft(reversed(self._losses.take(self.clock.mono_ms())))
        left = len(self._pending)
        while left > 0 and self._pending:
            count = min(left, len(self._pending), GROUP_MAX)
            records = [self._pending.popleft() for _ in range(count)]
            slots_due = self._take_slots(records)
            if not await self._try_commit(Group(records, slots_due)):
                self._pending.extendleft(reversed(records))
                for meter, slots in slots_due.items():
                    self._slots_due[meter] = self._slots_due.get(meter, 0) + slots
                self._commit_by_ms = self.clock.mono_ms() + RETRY_MS
                self._seal_from_ms = max(self._seal_from_ms, self._commit_by_ms)
                self._wake_in(RETRY_MS)
                return False
            self.progress.committed += count
            self.progress.open_records += count
            if self._oldest_open_ms is None:
                self._oldest_open_ms = records[0].mono_ms
            left -= count
        self.progress.pending_records = len(self._pending)
        if not self._pending:
            self.watchdog.forget("recording")
        return True

    async def _try_commit(self, group: Group) -> bool:
        """True when the group is on the disk."""
        try:
            await self.room.run(lambda: self.store.buffer.commit(group))
        except BufferFileError as error:
            self.watchdog.beat("recording", self.clock.mono_ms() + STUCK_MS)
            self.room.failed(error)
            return False
        self.room.was_written()
        self.watchdog.beat("recording", self.clock.mono_ms() + self.policies.durability_ms + STUCK_MS)
        return True

    def _take_slots(self, records: Sequence[NewRecord]) -> dict[str, int]:
        """The slots to be stated with `records`: all that ended, or while more is pending those of `records` alone."""
        self._collect_slots()
        if not self._pending:
            taken, self._slots_due = self._slots_due, {}
            return taken
        of_records = slots_in(records, self.layout_meter)
        taken = {meter: min(slots, self._slots_due.get(meter, 0)) for meter, slots in of_records.items()}
        for meter, slots in taken.items():
            self._slots_due[meter] = self._slots_due.get(meter, 0) - slots
        return taken

    def _collect_slots(self) -> None:
        for meter in self.meters:
            if due := meter.due_since_last():
                self._slots_due[meter.meter] = self._slots_due.get(meter.meter, 0) + due

    def _close_gaps(self) -> None:
        self.add([event for meter in self.meters for event in meter.close_gap()])

    # Sealing

    def _oldest_ms(self) -> int | None:
        """When the oldest record not yet in a batch began, open gaps included."""
        times = [meter.gap_from_ms for meter in self.meters] + [self._oldest_open_ms]
        known = [time for time in times if time is not None]
        return min(known) if known else None

    def _is_due(self) -> bool:
        now_ms, seal = self.clock.mono_ms(), self.policies.seal
        return now_ms >= self._seal_from_ms and seal.due(now_ms, self.progress.open_records, self._oldest_ms())

    async def _seal_if_due(self) -> None:
        if not self._is_due():
            return
        self._close_gaps()
        if not await self._commit():
            return
        oldest_ms = self._oldest_ms()
        aged = oldest_ms is not None and self.clock.mono_ms() - oldest_ms >= self.policies.seal.max_age_ms
        done = await self._seal(everything=aged)
        while done and self.progress.open_records and self._is_due():
            done = await self._seal(everything=False)

    async def _seal(self, *, everything: bool) -> bool:
        """False when the disk would not take it; nothing is lost, the records stay open and it is tried again."""
        if not self.progress.open_records:
            return True
        now_ms, policies, progress = self.clock.mono_ms(), self.policies, self.progress
        wanted = policies.confirm.wanted(now_ms, progress.batches)
        buffer, anchor = self.store.buffer, self.timekeeper.anchor
        try:
            result = await self.room.run(
                lambda: buffer.seal(
                    anchor,
                    policies.max_bytes,
                    everything=everything,
                    confirm_wanted=wanted,
                    handed_out=progress.connected,
                )
            )
        except BufferFileError as error:
            self._seal_from_ms = now_ms + SEAL_RETRY_MS
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

    # Timers

    def _wake_in(self, delay_ms: int) -> None:
        """Wake the loop in `delay_ms` at the latest."""
        loop = asyncio.get_running_loop()
        at = loop.time() + max(delay_ms, 0) / 1000
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = loop.call_at(at, self._fire)

    def _fire(self) -> None:
        # Forgotten here and not judged by the time: asyncio may call a moment before it.
        self._timer = None
        self._wake.ring()

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        """Anew, and only for what is still to come: a timer that is not needed would wake the processor."""
        self._forget_timer()
        now_ms, oldest_ms = self.clock.mono_ms(), self._oldest_ms()
        begun_ms = now_ms if oldest_ms is None else oldest_ms  # an open gap begins without a record
        seal_ms = self._seal_from_ms if self._seal_from_ms > now_ms else begun_ms + self.policies.seal.max_age_ms
        self._wake_in((min(self._commit_by_ms, seal_ms) if self._pending else seal_ms) - now_ms)

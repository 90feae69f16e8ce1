"""Starts and stops the polling of all lines, at the start and when the configuration changes."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from functools import partial

from agent.adapters.buffer.buffer import Opening
from agent.adapters.system.clock import Clock
from agent.core.metering.meter_memory import Memory, pack_memory, unpack_memory
from agent.core.metering.slots import MeterSlots, slot_start
from agent.core.system.timekeeper import Timekeeper
from agent.core.system.watchdog import Watchdog
from agent.core.time_units import DAY_MS
from agent.services.buffer.journal import Journal
from agent.services.buffer.restart import downtime_gap, gap_since, last_slot_ms, next_slots
from agent.services.buffer.thread import BufferThread
from agent.services.metering.meters import ConfiguredLine, ConfiguredMeter, build_lines
from agent.services.metering.polled_meter import PolledMeter
from agent.services.metering.watching import Watch
from agent.services.progress import MeterProgress, Progress
from agent.settings import Settings
from agent.tasks.lending import LendingDesk
from agent.tasks.polling import LinePoller
from wire.batch import Anchor

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Metering:
    """All lines. `tasks` are the running loops, one per line."""

    store: BufferThread
    journal: Journal
    clock: Clock
    timekeeper: Timekeeper
    progress: Progress
    watchdog: Watchdog
    desk: LendingDesk | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _lines: list[ConfiguredLine] = field(default_factory=list)
    _box: str = ""
    _watches: dict[str, Watch] = field(default_factory=dict)
    _memory: Memory | None = None
    _stated_day: dict[str, int] = field(default_factory=dict)
    _before: dict[str, MeterProgress] = field(default_factory=dict)
    _ended: dict[str, tuple[int, int]] = field(default_factory=dict)  # when, and by which UTC of the boot

    async def start(self, settings: Settings, opening: Opening | None) -> None:
        """Build the lines and poll them; `opening`, or the end before this start, is where the account goes on."""
        self._lines = build_lines(settings)
        self._watches, self._box = {}, settings.box.id
        memory = self._memory or unpack_memory(self.store.buffer.memory.body, self._box)
        self._before = self.progress.meters  # a meter that was well goes on with its last reading
        self.progress.meters, self.progress.lines = {}, {}
        slots: list[MeterSlots] = []
        for configured in self._lines:
            polled = [await self._polled(meter, opening, memory) for meter in configured.meters]
            slots += [meter.slots for meter in polled]
            line = configured.line
            loan = self.desk.loan(line.name, line.port, line.close) if self.desk is not None else None
            poller = LinePoller(line.name, polled, self.journal, self.clock, self.watchdog, loan)
            self.tasks.append(asyncio.create_task(poller.run(), name=f"line {configured.line.name}"))
        self.journal.meters = slots
        if self.timekeeper.anchor is not None:
            self.realign(self.timekeeper.anchor)  # which may have become known while the meters were set up
        self.state_descriptors(force=True)

    async def _polled(self, meter: ConfiguredMeter, opening: Opening | None, memory: Memory | None) -> PolledMeter:
        name, interval_ms = meter.settings.name, meter.settings.interval_ms
        anchor, now_ms = self.timekeeper.anchor, self.clock.mono_ms()
        boot, last_ms = self.store.buffer.boot, None
        if name in self._ended:
            last_ms = slot_start(*self._ended[name], interval_ms)
        elif opening is not None:
            last_ms = last_slot_ms(opening, name, boot, anchor)
        slots = next_slots(name, interval_ms, now_ms, anchor, last_ms)
        store = self.store
        if last_ms is None or last_ms > slots.next_ms:  # never read before, or when is not known: it begins here
            await store.run(partial(store.buffer.carry_over, name, slots.next_ms - interval_ms))
        elif opening is not None and opening.boot != boot:
            await store.run(partial(store.buffer.carry_over, name, last_ms))
        gap = None
        if name in self._ended and last_ms is not None:
            gap = gap_since(name, interval_ms, last_ms, slots.next_ms, now_ms)
        elif opening is not None:
            gap = downtime_gap(opening, name, interval_ms, slots.next_ms, now_ms, boot, anchor)
        if gap is not None:
            self.journal.explain(name, [gap], gap.data["slots"] or 0)
        before = self._before.get(name)
        if before is None or before.error is not None or before.columns != meter.driver.columns:
            before = MeterProgress(columns=meter.driver.columns, since_ms=now_ms)
        progress = self.progress.meters.setdefault(name, before)
        return await self._watch(meter, memory).polled(slots, progress)

    def _watch(self, meter: ConfiguredMeter, memory: Memory | None) -> Watch:
        """The meter's judge, who goes on from what is remembered of the meter."""
        name, boot = meter.settings.name, self.store.buffer.boot
        shift_ms = memory.shift_ms(boot, self.timekeeper.anchor, self.clock.mono_ms()) if memory is not None else 0
        known = memory.meters.get(name) if memory is not None else None
        watch = self._watches[name] = Watch(meter, self.store, self.journal, self.clock, known, shift_ms)
        return watch

    async def stop(self) -> None:
        """Stop polling, account for every slot that has begun, and close the lines."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()
        now_ms = self.clock.mono_ms()
        self._memory = self.remember()
        self._ended = {slots.meter: (now_ms, slots.boot_utc_ms) for slots in self.journal.meters}
        self.journal.retire_meters(now_ms)
        for configured in self._lines:
            self.watchdog.forget(f"line {configured.line.name}")
            await configured.line.close()

    def realign(self, anchor: Anchor) -> None:
        """UTC is known, or stepped: the slots move to it."""
        for slots in self.journal.meters:
            slots.realign(anchor.boot_utc_ms)

    def state_descriptors(self, *, force: bool = False) -> None:
        """State what the meters' values mean, once a day and after each start or reload; remember what they are."""
        now_ms, anchor = self.clock.mono_ms(), self.timekeeper.anchor
        day = (now_ms + (anchor.boot_utc_ms if anchor else 0)) // DAY_MS
        for name, watch in self._watches.items():
            if force or self._stated_day.get(name) != day:
                self._stated_day[name] = day
                self.journal.add([watch.descriptor(now_ms)])
        self.remember()

    def remember(self) -> Memory:
        """What the next run must know of the meters; the buffer writes it with what it writes anyway."""
        buffer, anchor = self.store.buffer, self.timekeeper.anchor
        meters = {name: watch.memory() for name, watch in self._watches.items()}
        utc_ms, uncertainty_ms = (anchor.boot_utc_ms, anchor.uncertainty_ms) if anchor else (None, 0)
        memory = Memory(self._box, buffer.boot.hex(), utc_ms, uncertainty_ms, meters)
        buffer.memory.body = pack_memory(memory)
        return memory

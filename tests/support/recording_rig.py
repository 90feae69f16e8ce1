"""A recorder with a real buffer, in virtual time, and meters whose slots it accounts for."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from virtual_time import InlineExecutor, LoopClock

from agent.adapters.buffer.buffer import Buffer, BufferFileError, Opening
from agent.core.buffer.numbering import BoxIdentity
from agent.core.buffer.pending import PendingRecords
from agent.core.buffer.sealing import ConfirmPolicy, SealPolicy
from agent.core.delivery.actions import Sealed
from agent.core.metering.slots import MeterSlots
from agent.core.records import Layout, NewReading
from agent.core.system.timekeeper import Timekeeper
from agent.core.system.watchdog import Watchdog
from agent.services.buffer.committer import Committer
from agent.services.buffer.journal import Journal
from agent.services.buffer.room import BufferRoom
from agent.services.buffer.sealer import Policies, Sealer
from agent.services.buffer.thread import BufferThread
from agent.services.progress import Progress
from agent.tasks.recording import Recorder
from wire.batch import Batch, Column
from wire.codec import decode
from wire.resolution import Resolution

IDENTITY = BoxIdentity("apt-1", "machine", b"boot---1")
NOISY = 20  # columns that nothing compresses
COLUMNS = (
    Column("energy_active_import_total", Resolution(1, 0)),
    *(Column(f"noise_{number}", Resolution(1, 0)) for number in range(NOISY)),
)


def policies(
    *, durability_ms: int = 5_000, max_size_bytes: int = 512_000_000, max_age_ms: int = 300_000, max_bytes: int = 3_600
) -> Policies:
    return Policies(
        durability_ms, max_size_bytes, max_bytes, SealPolicy(max_age_ms, max_bytes), ConfirmPolicy(3_600_000)
    )


class Meter:
    """Reads itself into the journal, or fails, in the slots of its schedule."""

    def __init__(self, rig: Rig, name: str, interval_ms: int) -> None:
        self.rig = rig
        self.name = name
        self.slots = MeterSlots(name, interval_ms, rig.clock.mono_ms() + 1)
        self.layout = rig.buffer.layout_id(Layout(name, COLUMNS))
        self.silent = False
        self.polled = 0
        self._random = random.Random(1)

    async def run(self) -> None:
        clock, journal = self.rig.clock, self.rig.journal
        while True:
            await asyncio.sleep(max(self.slots.next_ms - clock.mono_ms(), 0) / 1000)
            now_ms = clock.mono_ms()
            start_ms, late = self.slots.take(now_ms)
            self.polled += 1
            journal.add(late)
            if self.silent:
                journal.add(self.slots.explain("silent", start_ms))
            else:
                values = (now_ms // 10, *self._random.randbytes(NOISY))
                journal.add([*self.slots.read(), NewReading(self.layout, now_ms, values)])


class Rig:
    """Use `running()`. `sealed` are the batches as the courier hears of them."""

    def __init__(self, path: Path, given: Policies | None = None, identity: BoxIdentity = IDENTITY) -> None:
        self.clock = LoopClock()
        self.buffer: Buffer
        self.opening: Opening
        self.buffer, self.opening = Buffer.open(path, identity)
        self.progress = Progress()
        self.watchdog = Watchdog()
        self.timekeeper = Timekeeper()
        self.sealed: list[Sealed] = []
        self.meters: list[Meter] = []
        self.overdue: list[str] = []
        self.on_sealed: Callable[[Sealed], None] = self.sealed.append
        self.on_round: Callable[[], None] = lambda: None
        chosen = given or policies()
        self.store = store = BufferThread(self.buffer, InlineExecutor())
        pending = PendingRecords(lambda layout_id: self.buffer.layout(layout_id).meter)
        self.journal = journal = Journal(pending, self.clock, self.progress, self.watchdog, chosen.durability_ms)
        self.room = room = BufferRoom(store, self.progress, journal)
        self.sealer = sealer = Sealer(
            store,
            room,
            journal,
            self.clock,
            self.timekeeper,
            self.progress,
            chosen,
            on_sealed=lambda batch: self.on_sealed(batch),  # noqa: PLW0108 - a test may replace it
        )
        committer = Committer(store, room, journal, on_commit=sealer.committed)
        self.recorder = Recorder(store, journal, committer, sealer, on_round=lambda: self.on_round())  # noqa: PLW0108

    def add_meter(self, name: str = "main", interval_ms: int = 1_000) -> Meter:
        self.meters.append(Meter(self, name, interval_ms))
        self.journal.meters = [meter.slots for meter in self.meters]
        return self.meters[-1]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Rig]:
        """Records and reads until the block ends; then everything is flushed, sealed and the file let go of."""
        self.timekeeper.observe(self.clock.look())
        tasks = [asyncio.create_task(work) for work in (self.recorder.run(), *(m.run() for m in self.meters))]
        await asyncio.sleep(0.5)  # so that nothing begins or ends just as a slot does
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            self.failed = [one for one in ended if not isinstance(one, asyncio.CancelledError)]
            self.journal.retire_meters(self.clock.mono_ms())
            self.flushed = await self.recorder.flush()
            with suppress(BufferFileError):  # the mark of a clean end may not fit on a full disk
                self.buffer.close()
        assert self.failed == []

    async def pass_s(self, seconds: float) -> None:
        """Let time pass, looking at the watchdog each ten seconds."""
        end_s = asyncio.get_running_loop().time() + seconds
        while (left_s := end_s - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(left_s, 10))
            self.overdue += self.watchdog.overdue(self.clock.mono_ms())


def batches_in(path: Path, identity: BoxIdentity = IDENTITY) -> list[Batch]:
    """All that the file holds, sealed."""
    buffer, _ = Buffer.open(path, identity)
    try:
        return [decode(body) for (body,) in buffer.file.db.execute("SELECT body FROM batch ORDER BY id")]
    finally:
        buffer.close()


FAILING = BufferFileError("write to", Path("buffer.db"), "disk I/O error", sqlite3.SQLITE_IOERR)


def sick(rig: Rig, method: str, error: BufferFileError = FAILING) -> Callable[[], None]:
    """Let `method` of the buffer fail until the returned function is called."""
    healthy = getattr(rig.buffer, method)

    def fail(*_arguments: Any, **_options: Any) -> None:
        raise error

    setattr(rig.buffer, method, fail)
    return lambda: setattr(rig.buffer, method, healthy)


def committed(rig: Rig) -> int:
    return rig.progress.committed

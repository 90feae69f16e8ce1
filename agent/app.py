"""The composition root: the one place where decisions (`agent.core`), I/O (`agent.adapters`) and loops meet."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.adapters.buffer.buffer import Buffer, BufferFileError, Opening
from agent.adapters.system.clock import SystemClock, boot_id, machine_id
from agent.adapters.system.notify import Notifier
from agent.adapters.system.status_file import StatusFile
from agent.core.buffer.numbering import BoxIdentity
from agent.core.buffer.pending import PendingRecords
from agent.core.buffer.sealing import ConfirmPolicy, SealPolicy
from agent.core.delivery.machine import DeliveryMachine
from agent.core.invariants import BrokenInvariantError
from agent.core.records import NewEvent
from agent.core.system.timekeeper import Timekeeper
from agent.core.system.watchdog import Watchdog
from agent.core.texts import count
from agent.services.buffer.committer import Committer
from agent.services.buffer.journal import Journal
from agent.services.buffer.restart import restart_records
from agent.services.buffer.room import BufferRoom
from agent.services.buffer.sealer import Policies, Sealer
from agent.services.buffer.thread import BufferThread
from agent.services.delivery.inbox import DeliveryInbox
from agent.services.nap import Nap
from agent.services.progress import Progress
from agent.services.status_report import InForce, in_force
from agent.settings import Settings, SettingsError, describe, load
from agent.tasks.delivering import Courier
from agent.tasks.housekeeping import Housekeeper
from agent.tasks.lending import LendingDesk
from agent.tasks.metering import Metering
from agent.tasks.recording import Recorder
from agent.version import VERSION

log = logging.getLogger(__name__)

STOP_S = 3.0
OPENING_ASK_S = 20.0
OPENING_ASKS_MAX = 180  # for an hour: what takes longer hangs
RENEW_PAUSE_MS = 10 * 60_000  # a card that damages one file after another needs somebody to replace it


@dataclass(frozen=True, slots=True)
class Signals:
    """What the process was told, whichever `App` runs at the moment."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)


class App:
    """The daemon. `run` returns when it was told to stop, with everything flushed."""

    def __init__(self, settings: Settings, config: Path, notifier: Notifier, signals: Signals | None = None) -> None:
        self.settings = settings
        self.config = config
        self.clock = SystemClock(settings.clock.source)
        self.timekeeper = Timekeeper()
        self.waiting_for_restart: list[str] = []
        self.progress = Progress(started_ms=self.clock.mono_ms())
        self.watchdog = Watchdog()
        self.notifier = notifier
        self.signals = signals or Signals()
        self._stop, self._reload = self.signals.stop, self.signals.reload
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="buffer")

    @classmethod
    async def main(cls, settings: Settings, config: Path) -> None:
        """Make the daemon on the running event loop, and run it; anew where its buffer turned out to be damaged."""
        with Notifier() as notifier:
            app, renewed_ms = cls(settings, config, notifier), None
            while not await app._ended_well(renewed_ms):
                if app.signals.stop.is_set():
                    return  # told to stop while it let go of the damaged buffer, which the next start repairs
                renewed_ms = app.clock.mono_ms()
                app = cls(app.settings, config, notifier, app.signals)

    async def _ended_well(self, renewed_ms: int | None) -> bool:
        """Run; False for a damaged buffer, which the next start repairs, unless one did so shortly before."""
        try:
            await self.run()
        except BufferFileError as error:
            again = renewed_ms is not None and self.clock.mono_ms() - renewed_ms < RENEW_PAUSE_MS
            if not error.damaged or again:
                raise
            return False
        return True

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT; raises `BufferFileError` when the buffer cannot be opened."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        buffer, opening = await self._opened(loop.run_in_executor(self._executor, self._open_buffer))
        self._compose(BufferThread(buffer, self._executor))
        clock_events = self.timekeeper.observe(self.clock.look())
        if self.timekeeper.anchor is not None:
            buffer.note_anchor(self.timekeeper.anchor)  # for the first commit to write
        self.journal.add([*self._start_records(opening), *clock_events])
        await self.metering.start(self.settings, opening)
        tasks = [
            asyncio.create_task(work)
            for work in (self.recorder.run(), self.courier.run(), self.housekeeper.run(), self.desk.run())
        ]
        self._say_started(opening)
        self.notifier.send("READY=1")
        gc.collect()
        gc.freeze()  # what is built by now lives until the end: no search for garbage need look at it
        try:
            await self._until_stopped(tasks)
        finally:
            await self._shut_down(tasks, buffer)

    async def _opened(self, opening: asyncio.Future[tuple[Buffer, Opening]]) -> tuple[Buffer, Opening]:
        """Ask systemd for patience: saving a large damaged buffer takes minutes, and killed it would begin again."""
        for _ in range(OPENING_ASKS_MAX):
            done, _ = await asyncio.wait([opening], timeout=OPENING_ASK_S)
            if done:
                break
            # The watchdog is for where a damaged buffer is followed by a new one in the same process.
            self.notifier.send(f"EXTEND_TIMEOUT_USEC={int(3 * OPENING_ASK_S * 1_000_000)}", "WATCHDOG=1")
        return await opening

    def _open_buffer(self) -> tuple[Buffer, Opening]:
        identity = BoxIdentity(self.settings.box.id, machine_id(), boot_id())
        return Buffer.open(self.settings.buffer.path, identity)

    def _compose(self, store: BufferThread) -> None:
        """Build what runs on an open buffer: from what waits in memory, through the buffer, to the broker."""
        settings, progress, clock, watchdog = self.settings, self.progress, self.clock, self.watchdog
        note_what_is_held(store.buffer, progress)
        self.store, inbox, nap = store, DeliveryInbox(), Nap(clock)
        pending = PendingRecords(lambda layout_id: store.buffer.layout(layout_id).meter)
        self.journal = journal = Journal(pending, clock, progress, watchdog, settings.buffer.durability_ms)
        room = BufferRoom(store, progress, journal)
        sealer = Sealer(
            store, room, journal, clock, self.timekeeper, progress, policies(settings), on_sealed=inbox.sealed
        )
        committer = Committer(store, room, journal, on_commit=sealer.committed)
        self.recorder = Recorder(store, journal, committer, sealer, on_round=nap.on_commit)
        self.courier = Courier(
            settings.uplink,
            settings.box.id,
            DeliveryMachine(),
            store,
            room,
            journal,
            self.recorder.begin_epoch,
            inbox,
            clock,
            progress,
            watchdog,
        )
        self.desk = LendingDesk(clock, progress, settings.status_path, self._on_lent)
        self.metering = Metering(store, journal, clock, self.timekeeper, progress, watchdog, self.desk)
        self.housekeeper = Housekeeper(
            clock,
            self.timekeeper,
            store,
            journal,
            self.metering,
            progress,
            watchdog,
            self.notifier,
            StatusFile(settings.status_path),
            self._about,
            settings.status_interval_ms,
            nap,
        )

    def _on_lent(self) -> None:
        self.housekeeper.write_status()  # the borrower waits for it

    def _about(self) -> InForce:
        return in_force(self.settings, self.config, self.waiting_for_restart)

    def _start_records(self, opening: Opening) -> list[NewEvent]:
        return restart_records(opening, self.clock.mono_ms(), self.settings.revision)

    def _say_started(self, opening: Opening) -> None:
        if opening.moved_aside is not None:
            aside = opening.moved_aside
            saved = f"{count(aside.batches, 'batch', 'batches')} of it found whole and put into the new one"
            more = "" if aside.all_whole else "; the disk has no room for more of it"
            log.error("buffer: damaged; kept as %s; %s%s", aside.path, saved, more)
        if opening.start.epoch_reason:
            log.info("buffer: new epoch %s (%s)", self.store.buffer.epoch.hex(), opening.start.epoch_reason)
        if not opening.clean:
            log.warning("start: the last run did not end cleanly; what it had committed is kept")
        for warning in self.settings.warnings:
            log.warning("config: %s", warning)
        meters = count(len(self.settings.meters), "meter")
        log.info("start: wattpost %s, box %s, %s", VERSION, self.settings.box.id, meters)

    async def _until_stopped(self, tasks: list[asyncio.Task[None]]) -> None:
        """Wait for a signal; a loop that ends by itself is a bug and ends the agent, for systemd to restart."""
        while not self._stop.is_set():
            signals = [asyncio.create_task(self._stop.wait()), asyncio.create_task(self._reload.wait())]
            done, _ = await asyncio.wait([*tasks, *self.metering.tasks, *signals], return_when=asyncio.FIRST_COMPLETED)
            for waiter in signals:
                waiter.cancel()
            for task in done:
                if task not in signals and not task.cancelled():
                    task.result()
                    raise RuntimeError(f"the loop {task.get_name()} ended by itself")
            if self._reload.is_set() and not self._stop.is_set():
                self._reload.clear()
                await self._reload_settings()

    async def _reload_settings(self) -> None:
        self.notifier.reloading()
        try:
            settings = await asyncio.get_running_loop().run_in_executor(None, load, self.config)
        except SettingsError as error:
            for mistake in error.mistakes:
                log.error("reload: %s; the old configuration stays in force", describe(self.config, mistake))  # noqa: TRY400
        else:
            await self._apply(settings)
        self.notifier.send("READY=1")

    async def _apply(self, settings: Settings) -> None:
        self.waiting_for_restart = [name for name, *_ in needing_restart(self.settings, settings)]
        settings = self.settings = _without_restart(self.settings, settings)
        self.recorder.reconfigure(policies(settings, self.recorder.sealer.policies))
        await self.metering.stop()
        self.journal.event("config", config_rev=settings.revision)
        await self.metering.start(settings, None)
        self.courier.reconfigure(settings.uplink)
        self.housekeeper.interval_ms = settings.status_interval_ms
        self.housekeeper.write_status()
        meters = count(len(settings.meters), "meter")
        log.info("reload: configuration revision %s is in force, %s", settings.revision, meters)

    async def _shut_down(self, tasks: list[asyncio.Task[None]], buffer: Buffer) -> None:
        """Stop reading, write what is pending, close. The disk comes before the network."""
        if self._stop.is_set():
            # Not where a new one follows, or an error: systemd kills 20 s after this, whatever is said later.
            self.notifier.send("STOPPING=1")
        await self.metering.stop()
        self.journal.event("stop")
        flushed = False
        with contextlib.suppress(BufferFileError, BrokenInvariantError):  # it has been said
            flushed = await self.recorder.flush()
        for task in tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(OSError):
            self.housekeeper.status_file.remove()
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, buffer.close)
        except BufferFileError as error:
            log.error("stop: %s", error)  # noqa: TRY400 - it is no fault of the code
        self._executor.shutdown()
        if flushed:
            log.info("stop: everything read is in the buffer")
        else:
            log.error("stop: %s could not be written", count(self.progress.pending_records, "record"))


def note_what_is_held(buffer: Buffer, progress: Progress) -> None:
    """Begin the counters with what an earlier run left in the buffer."""
    held = buffer.outbox.counts()
    progress.batches, progress.batch_records = held["batches"], held["batch_records"]
    progress.held_batches = held["held_batches"]
    progress.oldest, progress.used_bytes = buffer.look()


def needing_restart(old: Settings, new: Settings) -> list[tuple[str, object]]:
    """The keys that differ and that only a restart can change, with what stays in force."""
    pairs: tuple[tuple[str, object, object], ...] = (
        ("box.id", old.box.id, new.box.id),
        ("clock.source", old.clock.source, new.clock.source),
        ("buffer.path", old.buffer.path, new.buffer.path),
        ("status.path", old.status_path, new.status_path),
    )
    return [(name, before) for name, before, after in pairs if before != after]


def _without_restart(old: Settings, new: Settings) -> Settings:
    """`new`, but for what only a restart can change; a warning says what."""
    for name, before in needing_restart(old, new):
        log.warning("reload: %s needs a restart to change; %s stays in force", name, before)
    uplink = new.uplink
    if old.box.id != new.box.id:  # its topics are made for the new name
        uplink = replace(uplink, topic=old.uplink.topic, receipts=old.uplink.receipts)
    return replace(
        new,
        box=old.box,
        clock=old.clock,
        buffer=replace(new.buffer, path=old.buffer.path),
        status_path=old.status_path,
        uplink=uplink,
    )


def policies(settings: Settings, before: Policies | None = None) -> Policies:
    """What the configuration says of committing, sealing and confirming; keeps what was learned `before`."""
    seal = SealPolicy(settings.batch.max_age_ms, settings.batch.max_bytes)
    confirm = ConfirmPolicy(settings.uplink.confirm_interval_ms)
    if before is not None:
        seal.bytes_per_record = before.seal.bytes_per_record
    buffer = settings.buffer
    return Policies(buffer.durability_ms, buffer.max_size_bytes, settings.batch.max_bytes, seal, confirm)

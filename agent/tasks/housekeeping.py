"""Every few seconds: look at the clocks, feed the watchdog, write the status file."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.adapters.buffer.buffer import BufferFileError
from agent.adapters.system.clock import Clock
from agent.adapters.system.logs import Changes
from agent.adapters.system.notify import Notifier
from agent.adapters.system.status_file import StatusFile
from agent.core.system.status import Status
from agent.core.system.timekeeper import Timekeeper
from agent.core.system.watchdog import Watchdog
from agent.core.texts import count
from agent.services.buffer.journal import Journal
from agent.services.buffer.thread import BufferThread
from agent.services.nap import Nap
from agent.services.progress import Progress
from agent.services.status_report import InForce, report
from agent.tasks.metering import Metering
from wire.batch import Anchor

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Housekeeper:
    """`about` gives the configuration in force; the rest of the status is the progress of the loops."""

    clock: Clock
    timekeeper: Timekeeper
    store: BufferThread
    journal: Journal
    metering: Metering
    progress: Progress
    watchdog: Watchdog
    notifier: Notifier
    status_file: StatusFile
    about: Callable[[], InForce]
    interval_ms: int
    nap: Nap
    _changes: Changes = field(init=False)
    _noted: Anchor | None = None
    _noting: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self._changes = Changes(log, self.progress.troubles)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._look_at_clock()
                self.metering.state_descriptors()
                self._feed_watchdog()
                self.write_status()
                await self._rest()
        finally:
            if self._noting is not None:
                self._noting.cancel()

    async def _rest(self) -> None:
        """Until the next round; not longer than half the watchdog's time, so that it is fed twice in it."""
        watchdog_ms = self.notifier.watchdog_ms
        await self.nap.rest(self.interval_ms, self.interval_ms * 2 if watchdog_ms is None else watchdog_ms / 2)

    def _look_at_clock(self) -> None:
        before = self.timekeeper.anchor
        events = self.timekeeper.observe(self.clock.look())
        anchor = self.timekeeper.anchor
        if anchor is None:
            step = "check systemd-timesyncd and the network; readings are dated later, nothing is lost"
            other = 'where the clock is kept right from outside, set [clock] source = "system"'
            self._changes.say("clock", f"not synchronised; {step}; {other}", logging.WARNING)
        elif anchor != before or not self._changes.said("clock"):
            self.journal.add(events)
            self.metering.realign(anchor)
            self._changes.say("clock", f"known, within {anchor.uncertainty_ms} ms", key="known")
            for event in events:
                if event.kind == "clock_step":
                    log.warning("clock: stepped by %d ms; order and intervals are not affected", event.data["step_ms"])
        if anchor is not None and anchor != self._noted and (self._noting is None or self._noting.done()):
            # Not waited for, as a disk may stall: the watchdog is fed meanwhile.
            self._noting = asyncio.create_task(self._note_anchor(anchor))

    async def _note_anchor(self, anchor: Anchor) -> None:
        store = self.store
        try:
            await store.run(lambda: store.buffer.note_anchor(anchor))
        except BufferFileError as error:
            # Only what a power cut now left unsealed would be dated by the anchor before; batches have this one.
            self._changes.say("anchor", str(error), logging.WARNING)
        else:
            self._noted = anchor
            self._changes.say("anchor", "kept in the buffer", logging.DEBUG)

    def _feed_watchdog(self) -> None:
        overdue = self.watchdog.overdue(self.clock.mono_ms())
        if overdue:
            self._changes.say("watchdog", f"not fed, stuck: {', '.join(overdue)}", logging.ERROR)
            return
        self._changes.say("watchdog", "fed", logging.DEBUG)
        self.notifier.send("WATCHDOG=1", f"STATUS={self._headline()}")

    def _headline(self) -> str:
        progress = self.progress
        waiting = progress.open_records + progress.batch_records
        uplink = "connected" if progress.connected else "offline"
        return f"{count(len(progress.meters), 'meter')}, {count(waiting, 'record')} not yet confirmed, {uplink}"

    def write_status(self) -> None:
        """Now, also between the intervals; a disk that takes nothing is said once."""
        try:
            self.status_file.write(self._status())
        except OSError as error:
            cause = f"cannot write {error.filename}: {error.strerror}"
            self._changes.say("status", f"{cause}; set [status] path to a folder of the agent's user", logging.WARNING)
        else:
            self._changes.say("status", "written", logging.DEBUG)

    def _status(self) -> Status:
        boot = self.store.buffer.boot
        return report(self.about(), self.progress, boot, self.clock.mono_ms(), self.timekeeper.anchor)

"""Gives lines to `wattpost scan` and `read` for a while, and takes them back: returned, abandoned, or time over."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.adapters.system.clock import Clock
from agent.adapters.system.lending_fifo import FIFO_NAME, RequestPipe
from agent.adapters.system.process import is_running
from agent.core.metering.lease import Ending, Lease, Lend, LendingBook, Return
from agent.services.progress import LineProgress, Progress

log = logging.getLogger(__name__)

LOOK_S = 0.2  # how often a borrower is looked at while a line is lent
ENDED: dict[Ending, str] = {
    "gone": "ended without returning it",
    "over": "had it for as long as a line is lent",
}


@dataclass(slots=True)
class Loan:
    """What the poller of one line needs: whether the line is to be lent, and a sleep that such a wish ends."""

    line: str
    close: Callable[[], Awaitable[None]]
    book: LendingBook
    progress: LineProgress
    on_change: Callable[[], None]
    _sleeper: asyncio.Future[None] | None = None

    @property
    def lease(self) -> Lease | None:
        return self.book.lease(self.line)

    async def sleep(self, seconds: float) -> None:
        """As asyncio.sleep; ends at once when something changed."""
        loop = asyncio.get_running_loop()
        self._sleeper = sleeper = loop.create_future()
        timer = loop.call_later(seconds, self.wake)
        try:
            await sleeper
        finally:
            timer.cancel()
            self._sleeper = None

    def wake(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """The port is closed, and the status says who has the line, until the end of the block."""
        await self.close()
        try:
            self._state()
            yield
        finally:
            self.progress.lent = None
            self.on_change()

    def _state(self) -> None:
        self.progress.lent = self.lease
        self.on_change()


@dataclass(slots=True)
class LendingDesk:
    """Takes requests and keeps the leases, also while the configuration is read again. `on_change` tells the status."""

    clock: Clock
    progress: Progress
    status_path: Path
    on_change: Callable[[], None]
    book: LendingBook = field(default_factory=LendingBook)
    _loans: dict[str, Loan] = field(default_factory=dict)
    _asked_ms: dict[int, int] = field(default_factory=dict)
    _busy: asyncio.Event = field(default_factory=asyncio.Event)

    def loan(self, line: str, port: str, close: Callable[[], Awaitable[None]]) -> Loan:
        """For the poller of a line, instead of the one that it had before."""
        progress = self.progress.lines[line] = LineProgress(port)
        made = self._loans[line] = Loan(line, close, self.book, progress, self.on_change)
        return made

    async def run(self) -> None:
        """Until cancelled. Without leases it only waits."""
        fifo = self.status_path.with_name(FIFO_NAME)
        pipe = RequestPipe(fifo, self.take)
        try:
            pipe.open()
        except OSError as error:
            log.warning("lending: %s", _complaint(fifo, error))
        try:
            while True:
                await self._busy.wait()
                await asyncio.sleep(LOOK_S)
                self._look()
        finally:
            pipe.close()

    def take(self, request: Lend | Return) -> None:
        """One request; lines that are not polled are not lent."""
        if isinstance(request, Return):
            lease = self.book.give_back(request)
            if lease is not None:
                self._ended(lease)
        elif request.line in self._loans:
            now_ms = self.clock.mono_ms()
            if self.book.lend(request, now_ms).pid == request.pid:
                self._asked_ms[request.pid] = now_ms
                self._loans[request.line].wake()
                self._busy.set()

    def _look(self) -> None:
        for lease, ending in self.book.end(self.clock.mono_ms(), self._is_alive):
            log.warning("line %s: process %d %s; taken back", lease.line, lease.pid, ENDED[ending])
            self._ended(lease)
        if not self.book.leases:
            self._busy.clear()
            self._asked_ms.clear()

    def _is_alive(self, pid: int) -> bool:
        return is_running(pid, self._asked_ms.get(pid, self.clock.mono_ms()))

    def _ended(self, lease: Lease) -> None:
        if lease.line in self._loans:
            self._loans[lease.line].wake()


def _complaint(fifo: Path, error: OSError) -> str:
    """Something else can be in the way, or the folder is not one in which the agent may make anything."""
    step = f"remove {fifo}" if os.path.lexists(fifo) else "set [status] path to a folder of the agent's user"
    cause = f"cannot make {fifo}: {error.strerror}"
    return f"{cause}; scan and read cannot ask for a line; {step}, and restart the agent"

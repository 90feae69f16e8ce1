"""Work on the buffer that a full disk may refuse: room is made for it, and what the disk says is said once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from agent.adapters.buffer.buffer import BufferFileError
from agent.adapters.buffer.space import Thinned
from agent.adapters.system.logs import Changes
from agent.core.invariants import BrokenInvariantError
from agent.core.texts import count
from agent.services.buffer.journal import Journal
from agent.services.buffer.thread import BufferThread
from agent.services.progress import Progress

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(slots=True)
class BufferRoom:
    """One per buffer, for all who use it. Which old batches were thinned is recorded in the journal."""

    store: BufferThread
    progress: Progress
    journal: Journal
    _unread: set[str] = field(default_factory=set)
    _changes: Changes = field(init=False)

    def __post_init__(self) -> None:
        self._changes = Changes(log, self.progress.troubles)

    async def run(self, work: Callable[[], T]) -> T:
        """Do `work` on the buffer's thread; if the disk was full, once more after room was made."""
        try:
            with self.naming_broken():
                return await self.store.run(work)
        except BufferFileError as error:
            if not error.full:
                raise
            room = await self.store.run(self.store.buffer.space.make_room)
            self._note(room.thinned)
            if not room:
                raise
        return await self.store.run(work)

    async def keep_within(self, limit_bytes: int) -> None:
        """After a seal: keep the buffer within its limit, and room for it on a disk that is nearly full."""
        try:
            await self._keep_within(limit_bytes)
        except OSError as error:
            self._changes.say("ballast", f"cannot be put in place: {error}", logging.WARNING)
        except BufferFileError as error:
            self._say(error)
        else:
            self._changes.say("ballast", "in place, where there is room for it", logging.DEBUG)

    async def _keep_within(self, limit_bytes: int) -> None:
        space = self.store.buffer.space
        await self.store.look(self.progress)
        self._note(await self.store.run(lambda: space.keep_within(limit_bytes)))
        await self.store.run(space.restore_ballast)

    def _note(self, thinned: Iterable[Thinned]) -> None:
        for one in thinned:
            batches = f"{count(one.batches, 'old batch', 'old batches')} (records {one.first}..{one.last})"
            effect = f"{count(one.removed, 'reading')} removed, {one.freed_bytes:,} bytes freed"
            log.warning("buffer: %s; thinned %s to level %d: %s", one.why, batches, one.rev, effect)
            self.journal.event("thinned", **one.data())

    # What the disk says: once, and as a trouble until both reading and writing work again.

    def failed(self, error: BufferFileError, *, reading: str = "") -> None:
        """Say so. A damaged file needs a restart: then `error` is raised.

        `reading` names what could not be read, if anything: other things may be readable.
        """
        if reading:
            self._unread.add(reading)
        self._say(error)
        if error.damaged:
            raise error

    @contextmanager
    def naming_broken(self, *, go_on: bool = False) -> Iterator[None]:
        """Say which invariant is broken. The error is raised on, unless this step alone can be left out."""
        try:
            yield
        except BrokenInvariantError as error:
            self._changes.say("invariant", str(error), logging.ERROR)
            if not go_on:
                raise

    def was_read(self, what: str) -> None:
        """`what` was read; whether anything can be written is for the next commit to say."""
        self._unread.discard(what)

    def was_written(self) -> None:
        if not self._unread:
            self._changes.say("buffer", "writes are stored", logging.DEBUG)

    def _say(self, error: BufferFileError) -> None:
        # One fault of a disk shows in many statements: SQLite's code is the state.
        self._changes.say("buffer", str(error), logging.ERROR, key=f"SQLite {error.code}")

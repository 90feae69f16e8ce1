"""Room in the buffer: made where the disk is full, kept within the limit, and one voice for what the disk refuses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from agent.adapters.buffer.buffer import ROOM_BYTES, BufferFileError
from agent.adapters.buffer.space import Thinned
from agent.adapters.system.logs import Changes
from agent.core.texts import count
from agent.services.buffer.journal import Journal
from agent.services.buffer.thread import BufferThread
from agent.services.progress import Progress

log = logging.getLogger(__name__)
T = TypeVar("T")

KEEP_WITHIN = 0.95  # of the limit, once it was reached: room is made rarely, and then enough


@dataclass(slots=True)
class BufferRoom:
    """One per buffer, for all who use it. What old batches had to give up is recorded in the journal."""

    store: BufferThread
    progress: Progress
    journal: Journal
    _unread: set[str] = field(default_factory=set)
    _changes: Changes = field(init=False)

    def __post_init__(self) -> None:
        self._changes = Changes(log, self.progress.troubles)

    async def run(self, work: Callable[[], T]) -> T:
        """`work` on the buffer's thread. A full disk is given room once before that is an error."""
        try:
            return await self.store.run(work)
        except BufferFileError as error:
            if not error.full:
                raise
            room = await self.store.run(lambda: self.store.buffer.space.make_room(ROOM_BYTES))
            self._note(room.thinned)
            if not room:
                raise
        return await self.store.run(work)

    async def keep_within(self, limit_bytes: int) -> None:
        """After a seal: the buffer's file must not outgrow its limit, nor wait for the disk to be full."""
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
        used = self.progress.used_bytes
        if used > limit_bytes:
            self._note(await self.store.run(lambda: space.thin_oldest(used - int(limit_bytes * KEEP_WITHIN))))
        else:
            self._note(await self.store.run(space.keep_reserve))
        await self.store.run(space.restore_ballast)

    def _note(self, thinned: Iterable[Thinned]) -> None:
        for one in thinned:
            numbers = f"{count(one.batches, 'old batch', 'old batches')} (records {one.first}..{one.last})"
            effect = f"which gives up {count(one.removed, 'reading')} and frees {one.freed_bytes} bytes"
            log.warning("buffer: full; thinned %s to level %d, %s", numbers, one.rev, effect)
            self.journal.event("thinned", **one.data())

    # What its disk says: once, and as a trouble until it both takes and gives again what it should.

    def failed(self, error: BufferFileError, *, reading: str = "") -> None:
        """Say so; a damaged file cannot be used any more, so that only a restart helps: `error` is raised.

        `reading` names what was to be read, if anything: other things can be read while this cannot.
        """
        if reading:
            self._unread.add(reading)
        self._say(error)
        if error.damaged:
            raise error

    def was_read(self, what: str) -> None:
        """`what` can be read; whether anything can be written says the next commit."""
        self._unread.discard(what)

    def was_written(self) -> None:
        if not self._unread:
            self._changes.say("buffer", "writes are stored", logging.DEBUG)

    def _say(self, error: BufferFileError) -> None:
        # One illness of a disk in the words of many statements: SQLite's code is the state.
        self._changes.say("buffer", str(error), logging.ERROR, key=f"SQLite {error.code}")

"""How far the buffer has been read: newest first, some batches at a time, one `Load` after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from agent.core.delivery.actions import Load, Sealed
from agent.core.invariants import require


class BacklogRead(Enum):
    MORE = auto()  # older batches may be in the buffer
    ASKED = auto()  # a `Load` has not been answered
    END = auto()  # there are no older ones


@dataclass(slots=True)
class Backlog:
    """Batches below `cursor` have not been read; None: begin with the newest. After a failure not before `from_ms`."""

    cursor: int | None = None
    state: BacklogRead = BacklogRead.MORE
    from_ms: int = 0

    def rewind(self) -> None:
        """Begin again with the newest."""
        self.cursor, self.state, self.from_ms = None, BacklogRead.MORE, 0

    def ask(self, limit: int) -> Load:
        self.state = BacklogRead.ASKED
        return Load(self.cursor, limit)

    def answered(self, asked: Load, batches: Sequence[Sealed]) -> bool:
        """Fewer batches than asked for are the last. False for an answer from before a rewind, which means nothing."""
        self._not_asked()
        if asked.below_id != self.cursor:
            return False
        require("a page of the backlog is bounded", len(batches) <= asked.limit, found=len(batches), limit=asked.limit)
        self.state = BacklogRead.END if len(batches) < asked.limit else BacklogRead.MORE
        if batches:
            self.cursor = batches[-1].id
        return True

    def failed(self, again_ms: int) -> None:
        """The buffer could not answer; ask again at `again_ms`."""
        self._not_asked()
        self.from_ms = again_ms

    def _not_asked(self) -> None:
        if self.state is BacklogRead.ASKED:
            self.state = BacklogRead.MORE

"""Records on their way to the next commit, in order; some are finished only then.

A processor that idles between readings begins each with cold caches: five readings judged in one go, when they are
committed, cost little more than one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial

from agent.core.records import NewRecord

Later = partial[Sequence[NewRecord]]  # a partial, so that it can be told from a record


class Pending:
    """`len()` counts what is unfinished as one record each."""

    def __init__(self) -> None:
        self._queue: deque[NewRecord | Later] = deque()
        self._unfinished = 0

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, records: Iterable[NewRecord]) -> None:
        self._queue.extend(records)

    def add_later(self, finish: Later) -> None:
        """What `finish` returns, when it is called, takes this place."""
        self._queue.append(finish)
        self._unfinished += 1

    def settle(self) -> None:
        """Finish what was added for later, in order."""
        if not self._unfinished:
            return
        self._unfinished = 0
        queue, self._queue = self._queue, deque()
        for each in queue:
            if isinstance(each, partial):
                self._queue.extend(each())
            else:
                self._queue.append(each)

    def take(self, count_max: int) -> list[NewRecord]:
        """The oldest records, at most so many, finished."""
        self.settle()
        taken = [self._queue.popleft() for _ in range(min(len(self._queue), count_max))]
        return [record for record in taken if not isinstance(record, partial)]

    def put_back(self, records: Sequence[NewRecord]) -> None:
        """What was taken last, where it was."""
        self._queue.extendleft(reversed(records))

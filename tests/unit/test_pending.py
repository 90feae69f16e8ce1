"""What waits for the next commit keeps its order, finished or not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from agent.core.records import NewEvent, NewRecord
from agent.tasks.pending import Pending


def event(at_ms: int) -> NewEvent:
    return NewEvent(at_ms, "stop")


def test_what_is_finished_later_stands_where_it_was_added() -> None:
    called: list[int] = []

    def finish(at_ms: int) -> Sequence[NewRecord]:
        called.append(at_ms)
        return [event(at_ms), event(at_ms + 1)]

    pending = Pending()
    pending.add([event(1)])
    pending.add_later(partial(finish, 2))
    pending.add([event(4)])
    pending.add_later(partial(finish, 5))
    assert len(pending) == 4
    assert called == []
    assert pending.take(3) == [event(1), event(2), event(3)]
    assert called == [2, 5]
    pending.settle()
    assert called == [2, 5]
    assert pending.take(10) == [event(4), event(5), event(6)]
    assert not pending


def test_what_is_put_back_comes_first_again() -> None:
    pending = Pending()
    pending.add([event(1), event(2), event(3)])
    taken = pending.take(2)
    pending.add_later(partial(lambda: [event(4)]))
    pending.put_back(taken)
    assert pending.take(9) == [event(1), event(2), event(3), event(4)]


def test_what_finishes_to_nothing_leaves_nothing() -> None:
    pending = Pending()
    pending.add_later(partial(list))
    assert pending.take(1) == []
    assert not pending

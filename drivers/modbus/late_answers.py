"""Answers that may still come although nobody waits for them any more, and how slow a meter has shown itself. Pure.

An RTU answer says its unit, function and byte count, and neither which registers it holds nor which request it belongs
to. So the answer to a request that was given up passes for that to the next one of the same shape, and a meter slower
than its time-out would be read one answer behind for good. See docs/decisions/0008-late-answers.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Shape = tuple[int, int, int]  # unit, function code, registers

FORGET_S = 10.0  # no meter answers later than this
PATIENCE = 1.25  # what a meter that took so long once may take the next time
DECAY = 0.98


@dataclass(slots=True)
class _GivenUp:
    """Requests of one shape: when those were asked that have not been seen answered, oldest first; the last of all."""

    asked: list[float]
    last: float
    refusable: bool = False


class LateAnswers:
    """The given-up requests of one line. Times are seconds of the event loop.

    A late answer that was seen says how slow its meter is, and not that no other will come: lines repeat things, too.
    """

    def __init__(self) -> None:
        self._given_up: dict[Shape, _GivenUp] = {}
        self._slow_s: dict[int, float] = {}

    def __bool__(self) -> bool:
        return bool(self._given_up)

    def expect(self, shape: Shape, asked: float, *, refusable: bool = False) -> None:
        """The request of `shape` was given up; a `refusable` one may be answered by an exception as well."""
        entry = self._given_up.setdefault(shape, _GivenUp([], asked))
        entry.asked.append(asked)
        entry.last = asked
        entry.refusable |= refusable

    def is_awaited(self, shape: Shape, now: float) -> bool:
        """Whether an answer of `shape` that comes now may belong to an earlier request."""
        entry = self._given_up.get(shape)
        if entry is not None and now > entry.last + FORGET_S:
            del self._given_up[shape]
            return False
        return entry is not None

    def is_owed(self, shape: Shape) -> bool:
        """Whether an earlier request of `shape` has not been seen answered."""
        entry = self._given_up.get(shape)
        return entry is not None and bool(entry.asked)

    def last_asked(self, shape: Shape) -> float:
        """When the youngest request of `shape` was given up."""
        return self._given_up[shape].last

    def came(self, find: Callable[[Shape], int], now: float) -> int:
        """Look with `find(shape)` (where a frame ends, or 0) for late answers; returns where the last one ends."""
        end = 0
        for shape in list(self._given_up):
            at = find(shape) if self.is_awaited(shape, now) else 0
            if at:
                end = max(end, at)
                asked = self._given_up[shape].asked
                if asked:
                    self._slow_s[shape[0]] = max(now - asked.pop(0), self._slow_s.get(shape[0], 0.0))
        return end

    def refusal_came(self, unit: int) -> bool:
        """Whether an exception that comes now from `unit` is taken for a late one, since it says of no request."""
        for shape, entry in self._given_up.items():
            if shape[0] == unit and entry.refusable and entry.asked:
                del entry.asked[0]
                return True
        return False

    def in_step(self, unit: int) -> None:
        """`unit` has answered a request that no other's answer could pass for: what was asked before is over."""
        for shape in [shape for shape in self._given_up if shape[0] == unit]:
            del self._given_up[shape]

    def took_one(self, shape: Shape) -> None:
        """An answer came to one of several requests of `shape`, no matter to which: one less is to come."""
        entry = self._given_up.get(shape)
        if entry is not None and entry.asked:
            del entry.asked[0]

    def refused_one(self, unit: int) -> None:
        """A refusal came to one of several requests to `unit`: meters answer in order, so the oldest is over."""
        entries = [entry for shape, entry in self._given_up.items() if shape[0] == unit and entry.asked]
        if entries:
            del min(entries, key=lambda entry: entry.asked[0]).asked[0]

    def patience_s(self, unit: int) -> float:
        """How long a request to `unit` deserves to be waited for, by what it has shown; 0 if it never was late."""
        return PATIENCE * self._slow_s.get(unit, 0.0)

    def slow_s(self, unit: int) -> float:
        """The longest that `unit` has taken for an answer lately, 0 if it never was late."""
        return self._slow_s.get(unit, 0.0)

    def answered(self, unit: int, took_s: float) -> None:
        """An answer in time: what `unit` was slow at before counts for less and less."""
        if unit in self._slow_s:
            self._slow_s[unit] = max(DECAY * self._slow_s[unit], took_s)

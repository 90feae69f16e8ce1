"""One counter of a meter: what follows plausibly from its last good value, and when a new level is to be believed.

A value is believed for good once a later one follows from it. Until then, it and what contradicts it are in doubt:
the value that contradicts is flagged, and two that agree with each other decide. A counter that was believed gives way
only to a level that stays: `VOTES_FOR_RESET` readings and `RESET_AFTER_MS` at least, and one that rises, as nothing but
a counter does; one that stands still is believed after `STEADY_AFTER_MS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agent.core.time_units import DAY_MS, MINUTE_MS
from agent.core.truth.bounds import CounterBounds
from wire.batch import Quality

BACKWARDS, JUMP = int(Quality.BACKWARDS), int(Quality.JUMP)
GRACE_MS = 2_000  # between a value's own time and that of its reading, besides what the last change says
REFRESH_MAX_MS = 15_000  # a meter may count for so long before its register changes
VOTES_FOR_DOUBT = 2
VOTES_FOR_RESET = 10
RESET_AFTER_MS = 5 * MINUTE_MS
STEADY_AFTER_MS = DAY_MS
TURN_PAUSE_MS = 10 * MINUTE_MS  # a counter that turns over more often is none
NEAR = 10  # a counter turns over from its last tenth to its first
FLOAT32_SHIFT = 22  # a float32 has 24 bits: two values of it, rounded, differ by so little of themselves


@dataclass(slots=True)
class Claim:
    """A level that contradicts the counter: where and when it began, its last value, and how many readings are for it.

    A reading that contradicts both takes one of its `votes`, so that some bad frames do not end it.
    """

    first: int
    first_ms: int
    value: int
    ms: int
    since_ms: int
    votes: int = 1

    def is_ripe(self, now_ms: int) -> bool:
        """Whether it stays, up to now; that it rises, too, is another question."""
        stays = self.votes >= VOTES_FOR_RESET and now_ms - self.first_ms >= RESET_AFTER_MS
        return stays and self.ms == now_ms


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a value is: its flag, and what was found out with it. `old` and `old_ms` are the value given up for it."""

    flag: int = 0
    found: Literal["rollover", "reset", "retracted"] | None = None
    old: int = 0
    old_ms: int = 0


GOOD = Ruling()


class Counter:
    """`value` is the last good one, in steps, read at `ms`; None before the first."""

    __slots__ = (
        *("_both_ways", "_claim", "_modulus", "_prior", "_prior_since_ms", "_rate", "_since_ms", "_slack"),
        *("_turned_ms", "ms", "value"),
    )

    def __init__(self, bounds: CounterBounds) -> None:
        self.bind(bounds)
        self.forget()

    def bind(self, bounds: CounterBounds) -> None:
        """Judge by these from now on."""
        self._rate, self._slack, self._modulus = bounds.rate, bounds.slack, bounds.modulus
        self._both_ways = bounds.both_ways

    def forget(self) -> None:
        """Nothing is known of it: another meter."""
        self.value: int | None = None
        self.ms = self._since_ms = 0
        self._prior: int | None = None  # what `value` followed from; None while `value` is all there is
        self._prior_since_ms = 0
        self._claim: Claim | None = None
        self._turned_ms: int | None = None

    def remember(self, value: int, ms: int) -> None:
        """Go on from a value that was believed in an earlier run; `ms` may lie before this boot."""
        self.value = self._prior = value
        self.ms = self._since_ms = self._prior_since_ms = ms

    def goes_on(self, value: int, now_ms: int) -> bool:
        """True for the usual case: it follows from the last good one, and is the last good one from now on."""
        last = self.value
        if last is None or not 0 <= value - last <= self._slack + self._rate * (now_ms - self._since_ms + GRACE_MS):
            return False
        self._prior, self._prior_since_ms = last, self._since_ms
        self.value = value
        self.ms = now_ms
        # What it counted while it did not change may come at once, but no more than what a refresh takes.
        self._since_ms = now_ms if value != last else max(self._since_ms, now_ms - REFRESH_MAX_MS)
        self._claim = None
        return True

    def judge(self, value: int, now_ms: int) -> Ruling:
        """What `value` is, where it does not simply go on."""
        last = self.value
        if last is None:
            self._begin(value, now_ms)
            return GOOD
        if self._follows(value, last, self._since_ms, now_ms):
            self._take(value, now_ms, last, self._since_ms)
            return GOOD
        if self._turned_over(value, last, now_ms):
            ruling = Ruling(found="rollover", old=last, old_ms=self.ms)
            self._take(value, now_ms, last, self._since_ms)
            self._turned_ms = now_ms
            return ruling
        claim = self._claimed(value, now_ms)
        if claim.ms == now_ms and claim.votes >= VOTES_FOR_DOUBT and self._is_doubtful(claim, now_ms):
            return self._accept(claim, now_ms, "retracted")
        moves = claim.value != claim.first or now_ms - claim.first_ms >= STEADY_AFTER_MS
        if moves and claim.is_ripe(now_ms):
            return self._accept(claim, now_ms, "reset")
        return Ruling(self.flag(value))

    def flag(self, value: int) -> int:
        """What a value is that does not follow from the last good one."""
        return BACKWARDS if not self._both_ways and self.value is not None and value < self.value else JUMP

    def reset_with_others(self, now_ms: int) -> Ruling | None:
        """Another counter of the meter was reset, and this one stays at a new level as long: it was reset, too."""
        claim = self._claim
        return self._accept(claim, now_ms, "reset") if claim is not None and claim.is_ripe(now_ms) else None

    def _begin(self, value: int, now_ms: int) -> None:
        self.value = value
        self.ms = self._since_ms = now_ms

    def _take(self, value: int, now_ms: int, prior: int, prior_since_ms: int) -> None:
        self._begin(value, now_ms)
        self._prior, self._prior_since_ms = prior, prior_since_ms
        self._claim = None

    def _most(self, value: int, since_ms: int, now_ms: int) -> float:
        return self._slack + (abs(value) >> FLOAT32_SHIFT) + self._rate * (now_ms - since_ms + GRACE_MS)

    def _follows(self, value: int, earlier: int, since_ms: int, now_ms: int) -> bool:
        most = self._most(value, since_ms, now_ms)
        return (-most if self._both_ways else 0) <= value - earlier <= most

    def _turned_over(self, value: int, last: int, now_ms: int) -> bool:
        modulus = self._modulus
        if modulus is None or self._prior is None or NEAR * value > modulus or NEAR * last < (NEAR - 1) * modulus:
            return False
        again = self._turned_ms is not None and now_ms - self._turned_ms < TURN_PAUSE_MS
        return not again and value + modulus - last <= self._most(modulus, self._since_ms, now_ms)

    def _claimed(self, value: int, now_ms: int) -> Claim:
        """The claim that stands after `value` has spoken for it or against it."""
        claim = self._claim
        if claim is not None and self._follows(value, claim.value, claim.since_ms, now_ms):
            claim.votes += 1
            claim.since_ms = now_ms if value != claim.value else max(claim.since_ms, now_ms - REFRESH_MAX_MS)
            claim.value, claim.ms = value, now_ms
            return claim
        if claim is not None and claim.votes > 1:
            claim.votes -= 1
            return claim
        self._claim = Claim(value, now_ms, value, now_ms, now_ms)
        return self._claim

    def _is_doubtful(self, claim: Claim, now_ms: int) -> bool:
        """Whether the last good value itself may be the wrong one: it stood alone, or the claim goes together with what
        came before it.
        """
        prior = self._prior
        return prior is None or self._follows(claim.first, prior, self._prior_since_ms, now_ms)

    def _accept(self, claim: Claim, now_ms: int, found: Literal["reset", "retracted"]) -> Ruling:
        old, old_ms = self.value or 0, self.ms
        self._take(claim.value, now_ms, claim.first, claim.since_ms)
        return Ruling(found=found, old=old, old_ms=old_ms)

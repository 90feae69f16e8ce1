"""When to try the broker again: within seconds for one box, spread over the whole fleet for many.

AWS IoT Core accepts 500 CONNECT/s per account. A fleet uses 200 of them: its window is `fleet_size / 200` seconds, and
each box has a moment of its own in every window, drawn at random, at which alone it tries. So attempts stay spread
whatever ends the connections, and however often. The pause before that moment is the same for one box and for a fleet,
so no fleet is more eager than one box.
"""

from __future__ import annotations

from dataclasses import dataclass

ALONE_FIRST_MS = 1_000
ALONE_MAX_MS = 10_000  # with the attempt itself at most 12 s apart; after 2 minutes the median wait is 3 s
FLEET_CONNECTS_PER_S = 200
REJECTED_MAX_MS = 15 * 60_000


@dataclass(slots=True)
class ReconnectDelays:
    """Delays between attempts.

    `fleet_size` is how many boxes may lose the same broker at once; `own` is where in the fleet's window this box
    tries, a random number in [0, 1).
    """

    fleet_size: int = 1
    own: float = 0.0
    attempts: int = 0
    rejections: int = 0

    @property
    def fleet_ms(self) -> int:
        """The window over which the fleet spreads; one box has nobody to keep clear of."""
        return 1 if self.fleet_size == 1 else self.fleet_size * 1_000 // FLEET_CONNECTS_PER_S

    def connected(self) -> None:
        self.attempts = self.rejections = 0

    def delay_ms(self, now_ms: int, uniform: float, *, rejected: bool = False) -> int:
        """From `now_ms` to the next attempt; `uniform` is a random number in [0, 1)."""
        self.attempts += 1
        self.rejections = self.rejections + 1 if rejected else 0
        pause_ms = int(uniform * self._pause_max_ms())
        own_ms = int(self.own * self.fleet_ms)
        return pause_ms + (own_ms - now_ms - pause_ms) % self.fleet_ms

    def _pause_max_ms(self) -> int:
        """Nothing at first, then up to 10 s. It grows further only where the far end says that it is overloaded."""
        if self.attempts == 1 and not self.rejections:
            return 0
        alone_ms = min(ALONE_FIRST_MS << min(self.attempts, 16), ALONE_MAX_MS)
        if not self.rejections:
            return alone_ms
        window_ms = max(alone_ms, self.fleet_ms)
        return max(window_ms, min(window_ms << min(self.rejections, 16), REJECTED_MAX_MS))

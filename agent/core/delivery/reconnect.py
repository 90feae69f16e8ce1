"""When to try the broker again: full jitter for one box, a window spread over the fleet for many.

AWS IoT Core accepts 500 CONNECT/s per account: a fleet that returns spreads itself over
`fleet_size / 200` seconds, and only rejections, which mean that the far end is overloaded, make the window grow.
"""

from __future__ import annotations

from dataclasses import dataclass

ALONE_FIRST_MS = 1_000
ALONE_MAX_MS = 10_000  # with the attempt itself at most 12 s apart; after 2 minutes the median wait is 3 s
FLEET_CONNECTS_PER_S = 200
REJECTED_MAX_MS = 15 * 60_000


@dataclass(slots=True)
class Reconnect:
    """Delays between attempts. `fleet_size` is how many boxes may lose the same broker at once."""

    fleet_size: int = 1
    attempts: int = 0
    rejections: int = 0

    def connected(self) -> None:
        self.attempts = self.rejections = 0

    def delay_ms(self, uniform: float, *, rejected: bool = False) -> int:
        """The pause before the next attempt; `uniform` is a random number in [0, 1)."""
        self.attempts += 1
        self.rejections = self.rejections + 1 if rejected else 0
        if self.fleet_size == 1:
            if self.attempts == 1 and not rejected:
                return 0
            window_ms = min(ALONE_FIRST_MS * 2 ** min(self.attempts, 16), ALONE_MAX_MS)
        else:
            window_ms = max(self.fleet_size * 1_000 // FLEET_CONNECTS_PER_S, ALONE_FIRST_MS)
        if self.rejections:
            window_ms = max(window_ms, min(window_ms * 2 ** min(self.rejections, 16), REJECTED_MAX_MS))
        return int(uniform * window_ms)

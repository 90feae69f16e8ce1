"""How fast batches go out: the pace of the backlog, and the pause after the broker has denied a publish."""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.delivery.actions import SendLimits

SLOWEST_PER_S = 0.001  # a cloud that asks for less would stop the backlog for good


@dataclass(slots=True)
class BacklogPace:
    """At most `limit_per_s` batches a second, fewer if the cloud asks for fewer with `asked_per_s`."""

    limit_per_s: float
    asked_per_s: float | None = None
    next_ms: float = 0.0

    def may_send(self, now_ms: int) -> bool:
        """Whether one more may go now; if so, it is counted."""
        if now_ms < self.next_ms:
            return False
        rate_per_s = self.limit_per_s
        if self.asked_per_s is not None:
            rate_per_s = min(rate_per_s, max(self.asked_per_s, SLOWEST_PER_S))
        self.next_ms = max(self.next_ms + 1000 / rate_per_s, now_ms - 1000 / rate_per_s)
        return True


@dataclass(slots=True)
class DenialPause:
    """After a denial nothing is sent for a while, then one batch at a time as a probe, until one is accepted."""

    limits: SendLimits
    denials: int = 0
    until_ms: int = 0

    def connected(self, now_ms: int) -> None:
        """A denial outlasts a reconnect."""
        if not self.denials:
            self.until_ms = now_ms

    def accepted(self) -> None:
        self.denials = 0

    def denied(self, now_ms: int) -> None:
        """Pause, twice as long each time."""
        self.denials += 1
        pause_ms = self.limits.denied_pause_ms * 2 ** min(self.denials - 1, 16)
        self.until_ms = now_ms + min(pause_ms, self.limits.denied_pause_max_ms)

    def in_flight_max(self) -> int:
        """Publishes that may be on their way at once."""
        return 1 if self.denials else self.limits.in_flight_max

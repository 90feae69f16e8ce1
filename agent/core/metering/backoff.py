"""How often a meter that does not answer is still asked: each failure doubles the slots left out, up to a limit."""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.time_units import MINUTE_MS


@dataclass(slots=True)
class MeterBackoff:
    """Counts failures in a row. The first `free_failures` cost nothing, so that one bad frame delays nobody."""

    interval_ms: int
    free_failures: int = 2
    pause_max_ms: int = MINUTE_MS
    failures: int = 0
    resume_ms: int = 0
    reason: str = ""
    silent_since_ms: int = 0

    def failed(self, now_ms: int, reason: str) -> bool:
        """Note a failure; True when the meter has just become silent (the one time that it is worth a line)."""
        if self.failures == 0:
            self.silent_since_ms = now_ms
        self.failures += 1
        newly = self.failures == self.free_failures + 1 or (
            self.failures > self.free_failures and reason != self.reason
        )
        self.reason = reason
        over = self.failures - self.free_failures
        if over > 0:
            pause_ms = min(self.interval_ms * 2 ** min(over, 16), self.pause_max_ms)
            self.resume_ms = now_ms + pause_ms - self.interval_ms // 2
        return newly

    def answered(self, now_ms: int) -> int | None:
        """Note a success; returns for how long the meter was silent if it had been declared so."""
        was_silent = self.failures > self.free_failures
        self.failures, self.resume_ms, self.reason = 0, 0, ""
        return now_ms - self.silent_since_ms if was_silent else None

    def resting(self, now_ms: int) -> bool:
        """True while the meter is left alone; its slots are explained by `reason`."""
        return now_ms < self.resume_ms

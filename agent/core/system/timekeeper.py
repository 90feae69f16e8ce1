"""When the box knows what time it is, and when that changes.

Everything is ordered and timed by the boot clock; UTC only dates. An anchor says what UTC was when the boot clock
was 0, so a step of the wall clock moves the anchor and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.records import NewEvent
from wire.batch import Anchor
from wire.limits import TIME_MS_MAX

STEP_MS = 500
EARLIEST_UTC_MS = 1_704_067_200_000  # 2024-01-01: a clock before the software existed is not set


@dataclass(frozen=True, slots=True)
class ClockReading:
    """One look at the clocks: boot clock, wall clock, and whether something disciplines the wall clock."""

    mono_ms: int
    utc_ms: int
    synchronised: bool
    uncertainty_ms: int


class Timekeeper:
    """Turns looks at the clocks into an anchor and the events that tell the cloud of it."""

    def __init__(self) -> None:
        self.anchor: Anchor | None = None

    def observe(self, look: ClockReading) -> list[NewEvent]:
        """Take a look; returns `clock_known` when UTC becomes known and `clock_step` when it jumped."""
        if not look.synchronised or not EARLIEST_UTC_MS <= look.utc_ms <= TIME_MS_MAX:
            return []
        known, self_anchor = self.anchor, Anchor(look.utc_ms - look.mono_ms, look.uncertainty_ms)
        if known is None:
            self.anchor = self_anchor
            data = {"boot_utc_ms": self_anchor.boot_utc_ms, "uncertainty_ms": self_anchor.uncertainty_ms}
            return [NewEvent(look.mono_ms, "clock_known", None, data)]
        step_ms = self_anchor.boot_utc_ms - known.boot_utc_ms
        if abs(step_ms) >= max(STEP_MS, look.uncertainty_ms):
            self.anchor = self_anchor
            data = {"step_ms": step_ms, "boot_utc_ms": self_anchor.boot_utc_ms}
            return [NewEvent(look.mono_ms, "clock_step", None, data | {"uncertainty_ms": self_anchor.uncertainty_ms})]
        if look.uncertainty_ms < known.uncertainty_ms:
            self.anchor = self_anchor
        return []

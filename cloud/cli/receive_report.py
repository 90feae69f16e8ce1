"""What `wattpost receive` says while it runs: once per box and per change of state, and a summary now and then."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cloud.ingest.ingest import Outcome, Status

SUMMARY_S = 300.0
BOXES_NAMED_MAX = 100  # of a larger fleet only the summary speaks
KINDS_MAX = 1_000
REFUSED = frozenset({Status.HELD, Status.QUARANTINED})
WORDS = {
    Status.STORED: "stored",
    Status.RESEND: "sent again",
    Status.SUPERSEDED: "replaced by what is stored",
    Status.HELD: "held in quarantine",
    Status.QUARANTINED: "in quarantine, not answered",
}


@dataclass(slots=True)
class Report:
    """`now_s` is monotonic time; nothing here grows with the number of batches."""

    log: logging.Logger
    began_s: float
    _counts: Counter[Status] = field(default_factory=Counter)
    _boxes: set[str] = field(default_factory=set)
    _named: set[str] = field(default_factory=set)
    _refused: set[tuple[str, str]] = field(default_factory=set)
    _failing_s: float | None = None

    def took(self, now_s: float, outcomes: Iterable[tuple[str, Outcome]]) -> None:
        """Devices and what became of their batches."""
        failed = [outcome for _, outcome in self._noted(outcomes)]
        if failed and self._failing_s is None:
            self._failing_s = now_s
            self.log.warning("not stored: %s", failed[0].reason)
        elif not failed and self._failing_s is not None:
            self.log.info("storing again, after %.0f s", now_s - self._failing_s)
            self._failing_s = None

    def _noted(self, outcomes: Iterable[tuple[str, Outcome]]) -> Sequence[tuple[str, Outcome]]:
        """Those that failed; the others are counted, and said where they are news."""
        failed = []
        for device, outcome in outcomes:
            if outcome.status is Status.FAILED:
                failed.append((device, outcome))
                continue
            self._counts[outcome.status] += 1
            self._boxes.add(device)
            if outcome.status in REFUSED:
                self._say_refused(device, outcome)
            elif device not in self._named and len(self._named) < BOXES_NAMED_MAX:
                self._named.add(device)
                self.log.info("%s: storing its batches", device)
        return failed

    def _say_refused(self, device: str, outcome: Outcome) -> None:
        """Once per box and kind of reason; the summary counts the others."""
        reason = outcome.reason or ""
        kind = (device, reason.partition(":")[0])
        if kind not in self._refused and len(self._refused) < KINDS_MAX:
            self._refused.add(kind)
            self.log.warning("%r: %s: %s", device, outcome.status.value, reason)

    def tick(self, now_s: float, *, last: bool = False) -> None:
        """Sum up what came since the last summary, if it is time for one; nothing where nothing came."""
        if not last and now_s - self.began_s < SUMMARY_S:
            return
        if self._counts:
            parts = ", ".join(
                f"{self._counts[status]} {word}" for status, word in WORDS.items() if self._counts[status]
            )
            boxes = "1 box" if len(self._boxes) == 1 else f"{len(self._boxes)} boxes"
            self.log.info("in %.0f s from %s, batches: %s", now_s - self.began_s, boxes, parts)
        self.began_s = now_s
        self._counts.clear()
        self._boxes.clear()

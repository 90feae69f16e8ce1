"""What `wattpost receive` logs: once per box and per change of state, and a summary every five minutes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from cloud.ingest.outcome import IngestOutcome, IngestStatus

SUMMARY_S = 300.0
BOXES_NAMED_MAX = 100  # the boxes of a larger fleet appear only in the summary
KINDS_MAX = 1_000
REFUSED = frozenset({IngestStatus.HELD, IngestStatus.QUARANTINED})
WORDS = {
    IngestStatus.STORED: "stored",
    IngestStatus.RESEND: "sent again",
    IngestStatus.SUPERSEDED: "replaced by what is stored",
    IngestStatus.HELD: "held in quarantine",
    IngestStatus.QUARANTINED: "in quarantine, not answered",
}


@dataclass(slots=True)
class ReceiveReport:
    """`now_s` is monotonic time. Nothing here grows with the number of batches."""

    log: logging.Logger
    began_s: float
    _counts: Counter[IngestStatus] = field(default_factory=Counter)
    _boxes: set[str] = field(default_factory=set)
    _named: set[str] = field(default_factory=set)
    _refused: set[tuple[str, str]] = field(default_factory=set)
    _failing_s: float | None = None

    def took(self, now_s: float, outcomes: Iterable[tuple[str, IngestOutcome]]) -> None:
        """Each device with what became of its batch."""
        failed = None
        for device, outcome in outcomes:
            if outcome.status is not IngestStatus.FAILED:
                self._took_one(device, outcome)
            elif failed is None:
                failed = outcome
        if failed and self._failing_s is None:
            self._failing_s = now_s
            self.log.warning("not stored: %s", failed.reason)
        elif not failed and self._failing_s is not None:
            self.log.info("storing again, after %.0f s", now_s - self._failing_s)
            self._failing_s = None

    def _took_one(self, device: str, outcome: IngestOutcome) -> None:
        """Count it, and log it if it is news."""
        self._counts[outcome.status] += 1
        self._boxes.add(device)
        if outcome.status in REFUSED:
            self._log_refused(device, outcome)
        elif device not in self._named and len(self._named) < BOXES_NAMED_MAX:
            self._named.add(device)
            self.log.info("%s: storing its batches", device)

    def _log_refused(self, device: str, outcome: IngestOutcome) -> None:
        """Once per box and kind of reason; the summary counts the others."""
        reason = outcome.reason or ""
        kind = (device, reason.partition(":")[0])
        if kind not in self._refused and len(self._refused) < KINDS_MAX:
            self._refused.add(kind)
            self.log.warning("%r: %s: %s", device, outcome.status.value, reason)

    def tick(self, now_s: float, *, last: bool = False) -> None:
        """Log the summary if it is time for one and anything came."""
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

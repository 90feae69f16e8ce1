"""Readings that were taken and could not be kept: counted by meter, then stated as gaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from agent.core.metering.slots import GapSpan
from agent.core.records import NewEvent, NewReading, NewRecord


@dataclass(slots=True)
class Losses:
    """`events` counts lost events by kind; a lost gap stays a gap, as its slots are added to the loss."""

    spans: dict[str, GapSpan] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.spans or self.events)

    def add(self, record: NewRecord, meter_of: Callable[[int], str]) -> None:
        """Note that `record` is given up."""
        if isinstance(record, NewReading):
            self._extend(meter_of(record.layout), record.mono_ms, record.mono_ms + 1, 1)
        elif record.kind == "gap" and record.meter:
            data = record.data
            from_ms, to_ms = data.get("from_ms", record.mono_ms), data.get("to_ms", record.mono_ms)
            self._extend(record.meter, from_ms, to_ms, data.get("slots") or 0)
        else:
            self.events[record.kind] = self.events.get(record.kind, 0) + 1

    def _extend(self, meter: str, from_ms: int, to_ms: int, slots: int) -> None:
        span = self.spans.get(meter)
        if span is None:
            self.spans[meter] = GapSpan("not_kept", from_ms, to_ms, slots)
        else:
            span.from_ms, span.to_ms = min(span.from_ms, from_ms), max(span.to_ms, to_ms)
            span.slots += slots

    def take(self, now_ms: int) -> list[NewEvent]:
        """The gaps and the `dropped` event that state the losses, once."""
        stated = [
            NewEvent(
                now_ms, "gap", meter, {"reason": s.reason, "from_ms": s.from_ms, "to_ms": s.to_ms, "slots": s.slots}
            )
            for meter, s in sorted(self.spans.items())
        ]
        if self.events:
            stated.append(NewEvent(now_ms, "dropped", None, {"events": dict(self.events), "reason": "not_kept"}))
        self.spans.clear()
        self.events.clear()
        return stated

"""What the events of a batch say about other records: numbers that will never come, and the date of a boot. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cloud.core.ledger import Span
from wire.batch import Anchor, Batch, Event
from wire.limits import TIME_MS_MAX

_ACCOUNTING_KINDS = frozenset({"dropped", "numbers_skipped"})


def accounted_spans(batch: Batch) -> list[Span]:
    """Numbers of this epoch that will never come, as a later event says (`dropped`, `numbers_skipped`)."""
    spans = []
    for event in batch.events:
        if event.kind not in _ACCOUNTING_KINDS:
            continue
        first, last = _integer(event.data, "first"), _integer(event.data, "last")
        if first is not None and last is not None and 1 <= first <= last <= batch.key.last:
            spans.append(Span(first, last))
    return spans


def anchors_of(batches: Sequence[Batch]) -> dict[bytes, Anchor]:
    """Boot -> the best anchor that a `clock_known` event of that boot gives."""
    best: dict[bytes, Anchor] = {}
    for batch in batches:
        for anchor in _known_clocks(batch.events):
            best[batch.boot] = better_anchor(best.get(batch.boot), anchor)
    return best


def better_anchor(one: Anchor | None, other: Anchor) -> Anchor:
    """The less uncertain anchor, of equals the earlier one, so that the order of arrival does not matter."""
    if one is None:
        return other
    return min(one, other, key=lambda anchor: (anchor.uncertainty_ms, anchor.boot_utc_ms))


def _known_clocks(events: Sequence[Event]) -> Iterator[Anchor]:
    for event in events:
        if event.kind != "clock_known":
            continue
        boot_utc_ms = _integer(event.data, "boot_utc_ms")
        uncertainty_ms = _integer(event.data, "uncertainty_ms")
        if boot_utc_ms is None or uncertainty_ms is None:
            continue
        if 0 <= boot_utc_ms <= TIME_MS_MAX and 0 <= uncertainty_ms <= TIME_MS_MAX:
            yield Anchor(boot_utc_ms, uncertainty_ms)


def _integer(data: Mapping[str, Any], name: str) -> int | None:
    value = data.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None

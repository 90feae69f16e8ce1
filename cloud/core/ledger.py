"""The intervals of record numbers that are durably stored, of one epoch of one box. Pure: values in, values out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from cloud.core.invariants import InvariantError, check_ledger

SPANS_MAX = 1000
HELD_MAX = 100


@dataclass(frozen=True, slots=True)
class Span:
    """Records `first..last`. `digest` and `rev` are of the batch that ends at `last`; None if no stored batch does."""

    first: int
    last: int
    rev: int = 0
    digest: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Held:
    """A batch in quarantine: its range, the reason, and the digest of its bytes."""

    first: int
    last: int
    reason: str
    digest: str


@dataclass(frozen=True, slots=True)
class Ledger:
    """Spans ascend, are disjoint and never adjacent. They depend only on the set of spans merged in, not on the order.

    `asked` is the highest record number up to which the box asked for a receipt. Raises `InvariantError`.
    """

    spans: tuple[Span, ...] = ()
    held: tuple[Held, ...] = ()
    asked: int = 0

    def __post_init__(self) -> None:
        check_ledger(self.ranges, self.asked)

    @property
    def ranges(self) -> list[tuple[int, int]]:
        return [(span.first, span.last) for span in self.spans]

    @property
    def through(self) -> int:
        """All records from 1 to this one are stored or accounted for; 0 if record 1 is not."""
        return self.spans[0].last if self.spans and self.spans[0].first == 1 else 0

    @property
    def through_digest(self) -> str | None:
        return self.spans[0].digest if self.through else None

    @property
    def beyond(self) -> tuple[Span, ...]:
        """The spans after the first gap."""
        return self.spans[1:] if self.through else self.spans

    def touches(self, first: int, last: int) -> bool:
        """Whether any number of `first..last` is in the ledger."""
        return any(span.first <= last and first <= span.last for span in self.spans)

    def covers(self, first: int, last: int) -> bool:
        """Whether every number of `first..last` is in the ledger."""
        return any(span.first <= first and last <= span.last for span in self.spans)

    def settles(self, before: Ledger) -> bool:
        """Whether a receipt that was asked for, and not yet possible `before`, is possible now."""
        return before.through < self.asked <= self.through

    def merged(
        self, spans: Iterable[Span], held: Iterable[Held] = (), accepted: Iterable[str] = (), asked: int = 0
    ) -> Ledger:
        """With `spans` and `held` added. The digests in `accepted` are stored now and no longer held.

        Beyond `SPANS_MAX` spans the highest are forgotten: the box sends them again, and the store recognises them.
        """
        released = set(accepted)
        kept = {entry.digest: entry for entry in sorted((*self.held, *held), reverse=True)}
        return Ledger(
            spans=_union((*self.spans, *spans))[:SPANS_MAX],
            held=tuple(sorted(entry for entry in kept.values() if entry.digest not in released))[:HELD_MAX],
            asked=max(self.asked, asked),
        )

    def to_json(self) -> str:
        """Compact and canonical, for the stores."""
        return json.dumps(
            {
                "spans": [[span.first, span.last, span.rev, span.digest] for span in self.spans],
                "held": [[entry.first, entry.last, entry.reason, entry.digest] for entry in self.held],
                "asked": self.asked,
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> Ledger:
        """Raises `InvariantError` if the text is not what `to_json` writes."""
        try:
            document = json.loads(text)
            return cls(
                spans=tuple(Span(*span) for span in document["spans"]),
                held=tuple(Held(*entry) for entry in document["held"]),
                asked=document["asked"],
            )
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise InvariantError("ledger-content", f"{text[:80]!r}: {error}") from error


def _union(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Disjoint, joined where they touch, ascending. Of spans with one end, the lowest rev with a digest names it."""
    merged: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.first, one.last)):
        if merged and span.first <= merged[-1].last + 1:
            merged[-1] = _joined(merged[-1], span)
        else:
            merged.append(span)
    return tuple(merged)


def _joined(left: Span, right: Span) -> Span:
    """`left.first <= right.first`, and they overlap or touch."""
    end = min((left, right), key=_end_preference)
    return Span(left.first, end.last, end.rev, end.digest)


def _end_preference(span: Span) -> tuple[int, bool, int, str]:
    return (-span.last, span.digest is None, span.rev, span.digest or "")

"""What a receipt lets the box delete: only what this database sealed and handed out for sending, and only if it fits.

A receipt that does not fit (a restored backup, another box's, a fault at the far end) deletes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wire.receipt import Receipt


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A sealed batch in the buffer. `digests` holds that of each revision sent; `sent`: it may have left the box."""

    id: int
    first: int
    last: int
    sent: bool
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`delete` and `held` are ids; `stored_to` the highest number named; `misfit` says why nothing is deleted."""

    delete: tuple[int, ...] = ()
    held: tuple[tuple[int, str], ...] = ()
    stored_to: int = 0
    misfit: str | None = None


def judge(receipt: Receipt, assigned: int, batches: Sequence[Unconfirmed]) -> Verdict:
    """Hold `receipt` against the epoch it names: `assigned` numbers and its unconfirmed `batches`, ascending.

    Held goes before stored: in a conflict other content is stored under the numbers, and ours lies in quarantine.
    """
    spans = [(1, receipt.through), *receipt.ranges] if receipt.through else list(receipt.ranges)
    claims = spans + [(first, last) for first, last, _ in receipt.held]
    stored_to = max((last for _, last in spans), default=0)
    highest = max((last for _, last in claims), default=0)
    if highest > assigned:
        return Verdict(misfit=f"it claims number {highest}, but only {assigned} were given")
    in_quarantine = {(first, last) for first, last, _ in receipt.held}
    covered = [
        batch
        for batch in batches
        if (batch.first, batch.last) not in in_quarantine
        and any(a <= batch.first and batch.last <= b for a, b in spans)
    ]
    misfit = _misfit(receipt, batches, covered)
    if misfit:
        return Verdict(misfit=misfit)
    held = tuple(
        (batch.id, reason)
        for first, last, reason in receipt.held
        for batch in batches
        if (batch.first, batch.last) == (first, last) and batch.sent
    )
    return Verdict(tuple(batch.id for batch in covered), held, stored_to)


def _misfit(receipt: Receipt, batches: Sequence[Unconfirmed], covered: Sequence[Unconfirmed]) -> str | None:
    for batch in batches:
        if batch.first <= receipt.through < batch.last:
            return f"it ends at {receipt.through}, inside the batch {batch.first}..{batch.last}"
    for batch in covered:
        if not batch.sent:
            return f"it confirms {batch.first}..{batch.last}, which was never sent"
        if batch.last == receipt.through and receipt.digest not in (None, *batch.digests):
            return f"its digest {receipt.digest} is not that of the batch {batch.first}..{batch.last}"
    return None

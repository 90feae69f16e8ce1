"""What a receipt lets the box delete: only what this database sealed and handed out for sending, and only if it fits.

A receipt that does not fit (a restored backup, another box's, a fault at the far end) deletes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.core.invariants import require
from wire.receipt import Receipt

DAMAGED = "damaged on the box"  # why a batch is held here that the cloud has nothing to do with


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A sealed batch in the buffer. `digests` holds that of each revision sent; `sent`: it may have left the box.

    `taken`: the broker took it, or an earlier run sent it. `damaged`: its bytes are no longer what was sealed, so its
    numbers were told as dropped.
    """

    id: int
    first: int
    last: int
    sent: bool
    digests: tuple[str, ...]
    taken: bool = True
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class ReceiptVerdict:
    """`delete` and `held` are ids; `stored_to` the highest number named; with a `misfit`, ranges count nothing."""

    delete: tuple[int, ...] = ()
    held: tuple[tuple[int, str], ...] = ()
    stored_to: int = 0
    misfit: str | None = None


def judge(
    receipt: Receipt, sealed_through: int, batches: Sequence[Unconfirmed], *, retired: bool = False
) -> ReceiptVerdict:
    """Hold `receipt` against the epoch it names: sealed up to `sealed_through`, its unconfirmed `batches` ascending.

    Held goes before stored: in a conflict other content is stored under the numbers, and ours lies in quarantine.
    So a range counts only for what the broker has taken: what is still on its way may yet come to be such a conflict.
    `retired` is an epoch no longer in use: there, numbers beyond what was sealed are another history's (a restored
    backup), and only batches that the receipt answers one by one count. So it is with a damaged one: ranges cover its
    numbers because it was told as dropped, and what is left of it may be all that there is.
    """
    spans = [(1, receipt.through), *receipt.ranges] if receipt.through else list(receipt.ranges)
    claims = spans + [(first, last) for first, last, _ in receipt.held]
    highest = max((last for _, last in claims), default=0)
    reasons = {(first, last): reason for first, last, reason in receipt.held}
    ours = [batch for batch in batches if batch.sent]
    answered = [batch for batch in ours if not set(batch.digests).isdisjoint(receipt.answers)]
    whole = [batch for batch in batches if not batch.damaged]
    held = [b for b in whole if b.sent and (b.first, b.last) in reasons and b not in answered]
    covered = [b for b in whole if b not in held and any(first <= b.first and b.last <= last for first, last in spans)]
    misfit = None
    if highest > sealed_through:
        covered = []
        misfit = None if retired else f"it claims number {highest}, but only {sealed_through} were sealed"
    elif misfit := _misfit(receipt, batches, covered):
        covered = []
    delete = tuple(sorted({batch.id for batch in (*(b for b in covered if b.taken), *answered)}))
    if misfit:
        return ReceiptVerdict(delete, misfit=misfit)
    stored_to = max((last for _, last in spans), default=0)
    return ReceiptVerdict(delete, tuple((b.id, reasons[b.first, b.last]) for b in held), stored_to)


def check_verdict(
    verdict: ReceiptVerdict, sealed_through: int, batches: Sequence[Unconfirmed], *, retired: bool
) -> None:
    """Hold a verdict against what was sent, before anything is deleted."""
    sent, held = {batch.id for batch in batches if batch.sent}, {batch_id for batch_id, _ in verdict.held}
    unsent = sorted(({*verdict.delete} | held) - sent)
    require("only what was sent is confirmed", not unsent, unsent=unsent)
    require("what is held is not deleted", held.isdisjoint(verdict.delete), held=sorted(held))
    known = retired or verdict.stored_to <= sealed_through
    require("nothing unsealed is confirmed", known, stored_to=verdict.stored_to, sealed_through=sealed_through)


def _misfit(receipt: Receipt, batches: Sequence[Unconfirmed], covered: Sequence[Unconfirmed]) -> str | None:
    ends = {receipt.through: receipt.digest}
    ends |= {last: digest for (_, last), digest in zip(receipt.ranges, receipt.range_digests, strict=False)}
    for batch in batches:
        for end in (receipt.through, *(last for _, last in receipt.ranges)):
            if batch.first <= end < batch.last:
                return f"it ends at {end}, inside the batch {batch.first}..{batch.last}"
    for batch in covered:
        if not batch.sent:
            return f"it confirms {batch.first}..{batch.last}, which was never sent"
        digest = ends.get(batch.last)
        if digest is not None and digest not in batch.digests:
            return f"its digest {digest} is not that of the batch {batch.first}..{batch.last}"
    return None

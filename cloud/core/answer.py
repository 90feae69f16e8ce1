"""From a ledger to a receipt. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloud.core.ledger import HELD_MAX, RECEIPT_RANGES_MAX, Held, Ledger
from wire.receipt import Receipt


@dataclass(frozen=True, slots=True)
class AddressedReceipt:
    device: str
    receipt: Receipt


def receipt_of(epoch: bytes, ledger: Ledger, answers: Sequence[str] = (), held: Sequence[Held] = ()) -> Receipt:
    """What the ledger allows to say; of more ranges than fit, the lowest, so that each receipt brings `through` on.

    `answers` are digests of batches that came just now and are stored, now or before; `held` came just now, and goes
    before what was held earlier: the box waits for it.
    """
    beyond = ledger.beyond[:RECEIPT_RANGES_MAX]
    told = sorted(list(dict.fromkeys((*held, *ledger.held)))[:HELD_MAX])
    return Receipt(
        epoch=epoch,
        through=ledger.through,
        digest=ledger.through_digest,
        ranges=tuple((span.first, span.last) for span in beyond),
        held=tuple((entry.first, entry.last, entry.reason) for entry in told),
        pace=None,
        range_digests=tuple(span.digest for span in beyond),
        answers=tuple(answers),
    )

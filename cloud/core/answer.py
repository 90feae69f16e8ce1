"""From a ledger to a receipt. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloud.core.invariants import check_receipt
from cloud.core.ledger import Held, Ledger
from wire.receipt import RANGES_MAX, Receipt


@dataclass(frozen=True, slots=True)
class AddressedReceipt:
    device: str
    receipt: Receipt


def receipt_of(epoch: bytes, ledger: Ledger, answers: Sequence[str] = (), held: Sequence[Held] = ()) -> Receipt:
    """What the ledger proves. If there are too many ranges, the lowest are told, so that `through` can go on.

    `answers` are digests of batches that have just arrived and are stored, now or before. `held` has just arrived too
    and is told before what was held earlier, because the box is waiting for it. Raises `InvariantError`.
    """
    beyond = ledger.beyond[:RANGES_MAX]
    told = sorted(list(dict.fromkeys((*held, *ledger.held)))[:RANGES_MAX])
    receipt = Receipt(
        epoch=epoch,
        through=ledger.through,
        digest=ledger.through_digest,
        ranges=tuple((span.first, span.last) for span in beyond),
        held=tuple((entry.first, entry.last, entry.reason) for entry in told),
        pace=None,
        range_digests=tuple(span.digest for span in beyond),
        answers=tuple(answers),
    )
    check_receipt(receipt, ledger.ranges)
    return receipt

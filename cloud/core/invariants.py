"""What must always be true, checked while the receiver runs. A broken invariant stops the step that found it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from wire.batch import Batch
from wire.receipt import Receipt


class InvariantError(Exception):
    """The invariant `name` is broken. Nothing that depends on it may be acknowledged or confirmed."""

    def __init__(self, name: str, found: str) -> None:
        super().__init__(
            f"invariant {name} is broken: {found}; the box keeps its batches: see Invariants in docs/cloud.md"
        )
        self.name = name


def check_batch(batch: Batch) -> None:
    """The range of a batch ascends from at least 1, and no count of slots is negative."""
    key = batch.key
    if not 1 <= key.first <= key.last:
        raise InvariantError("batch-range", f"{key.device}: first {key.first}, last {key.last}")
    for series in batch.series:
        slots = series.slots
        if min(slots.due, slots.read, slots.explained) < 0:
            raise InvariantError("slot-counts", f"{key.device}, meter {series.meter}: {slots}")


def check_ledger(ranges: Sequence[tuple[int, int]], asked: int) -> None:
    """Ranges ascend from at least 1, are disjoint and not adjacent; `asked` is not negative."""
    before = -1
    for first, last in ranges:
        if not before + 2 <= first <= last:
            raise InvariantError("ledger-ranges", f"range {first}..{last} follows a range that ends at {before}")
        before = last
    if asked < 0:
        raise InvariantError("ledger-asked", f"asked is {asked}")


def check_receipt(receipt: Receipt, ranges: Sequence[tuple[int, int]]) -> None:
    """`through` is the end of the ledger's first range, if that begins at 1, else 0; every other range is beyond it."""
    through = next((last for first, last in ranges if first == 1), 0)
    if receipt.through != through:
        raise InvariantError("receipt-through", f"through is {receipt.through}, the ledger says {through}")
    if any(first <= through + 1 for first, _ in receipt.ranges):
        raise InvariantError("receipt-ranges", f"ranges {receipt.ranges[:3]} are not beyond {through}")

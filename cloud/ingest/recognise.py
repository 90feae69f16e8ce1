"""Step 3: recognise batches that are already stored, by key and digest, before anything is written."""

from __future__ import annotations

from cloud.ingest.invocation import Invocation, failing
from cloud.ports import Put, StoredHead


def recognise_stored(run: Invocation) -> None:
    """Only batches whose record numbers are in the ledger are looked up."""
    known = [
        (message, key)
        for message in run.having(None)
        if (key := message.key) and run.ledger_of(message).touches(key.first, key.last)
    ]
    if not known:
        return
    heads: list[StoredHead | None] = []
    with failing([message for message, _ in known]):
        heads = run.stores.batches.overlapping([key for _, key in known])
    for (message, key), head in zip(known, heads, strict=False):  # no heads if the store failed
        if head is None:
            continue
        verdict = head.verdict(key, message.digest)
        # If a batch is stored and not in the ledger, an earlier try stopped in between. Another invocation may have
        # stored an overlapping batch since, so the batch goes through all steps again.
        if verdict is not Put.SAME or run.ledger_of(message).covers(key.first, key.last):
            message.settle(verdict, head)

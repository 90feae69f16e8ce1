"""Steps 2 and 7: load the ledgers of the messages, and note in them what was stored or held.

Every ledger that a device has in this invocation is written once, under a version: if another invocation was faster,
the ledger is loaded and merged again.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloud.core.claims import accounted_spans
from cloud.core.ledger import Ledger, Span
from cloud.ingest.invocation import Invocation, PendingMessage, VersionedLedger, failing
from cloud.ingest.keep import put_in_quarantine
from cloud.ingest.outcome import IngestStatus
from cloud.ports import LedgerKey, Put, StoredLedger, StoreError, Stores

SAVE_ATTEMPTS = 30  # while a box drains a backlog, every concurrent invocation changes its ledger
ACCEPTED = frozenset({IngestStatus.STORED, IngestStatus.RESEND, IngestStatus.SUPERSEDED})


def load_ledgers(run: Invocation) -> None:
    """A ledger that cannot be loaded fails the messages of all; one that cannot be read, only its own messages."""
    found = {key for message in run.messages if (key := message.ledger_key)}
    keys = sorted(found, key=lambda one: (one.device, one.epoch))
    if not keys:
        return
    with failing([message for message in run.messages if message.ledger_key]):
        for key, stored in zip(keys, run.stores.ledgers.load(keys), strict=True):
            with failing(run.of_ledger(key)):
                run.ledgers[key] = _read(stored)


def _read(stored: StoredLedger) -> VersionedLedger:
    return VersionedLedger(Ledger.from_json(stored.text), stored.version) if stored.version else VersionedLedger()


def note_in_ledgers(run: Invocation) -> None:
    """One update per ledger; it also shows whether a receipt that was asked for earlier has become possible."""
    for key, before in list(run.ledgers.items()):
        messages = run.of_ledger(key)
        with failing(messages):
            after = _noted(run.stores, key, before, messages)
            run.ledgers[key] = after
            if after.ledger.settles(before.ledger):
                run.settled.add(key)


def _noted(
    stores: Stores, key: LedgerKey, versioned: VersionedLedger, messages: Sequence[PendingMessage]
) -> VersionedLedger:
    """The ledger with `messages` noted in it, saved."""
    for attempt in range(SAVE_ATTEMPTS):
        _withdraw_overlaps(stores, versioned.ledger, messages)
        ledger = _merged(versioned.ledger, messages)
        if ledger == versioned.ledger:
            return versioned
        if stores.ledgers.save(key, ledger.to_json(), versioned.version):
            return VersionedLedger(ledger, versioned.version + 1)
        stores.ledgers.yield_to_others(attempt)
        versioned = _read(*stores.ledgers.load([key]))
    raise StoreError(
        f"note in the ledger of {key.device}: others changed it {SAVE_ATTEMPTS} times; it will be tried again"
    )


def _withdraw_overlaps(stores: Stores, ledger: Ledger, messages: Sequence[PendingMessage]) -> None:
    """If two invocations put overlapping batches, no write sees it: the batch that is first in the ledger stays."""
    for message in messages:
        item = message.item
        if item is None or not message.unnoted or not ledger.touches(item.key.first, item.key.last):
            continue
        head = stores.batches.other(item.key)
        if head is not None:
            message.settle(Put.CONFLICT, head)
            put_in_quarantine(stores, message)
            stores.batches.withdraw(item)
            message.unnoted = False


def _merged(ledger: Ledger, messages: Sequence[PendingMessage]) -> Ledger:
    asked = 0
    spans: list[Span] = []
    accepted: list[str] = []
    for message in messages:
        batch = message.batch
        if batch is None or message.status not in ACCEPTED:
            continue
        spans += [Span(batch.key.first, batch.key.last, batch.key.rev, message.digest), *accounted_spans(batch)]
        accepted.append(message.digest)
        if batch.confirm_wanted:
            asked = max(asked, batch.key.last)
    held = [entry for message in messages if (entry := message.held)]
    return ledger.merged(spans, held, accepted, asked)

"""Step 8: write the receipts that are due, at most one per device and epoch."""

from __future__ import annotations

from cloud.core.answer import AddressedReceipt, receipt_of
from cloud.ingest.invocation import Invocation, PendingMessage, failing
from cloud.ingest.ledgers import ACCEPTED
from cloud.ingest.outcome import IngestStatus
from cloud.ports import LedgerKey

ALWAYS_ANSWERED = frozenset({IngestStatus.RESEND, IngestStatus.SUPERSEDED, IngestStatus.HELD})


def write_receipts(run: Invocation) -> list[AddressedReceipt]:
    """A receipt is due if a batch asks for it, was stored before, or is held, or if an earlier one was waited for."""
    wanted = {message.ledger_key for message in run.messages if _wants_receipt(message)} | run.settled
    receipts: list[AddressedReceipt] = []
    for key in run.ledgers:
        if key in wanted:
            with failing(run.of_ledger(key)):
                receipts.append(_receipt(run, key))
    return receipts


def _wants_receipt(message: PendingMessage) -> bool:
    if message.status is IngestStatus.STORED and message.batch:
        return message.batch.confirm_wanted or message.copies > 1
    return message.status in ALWAYS_ANSWERED


def _receipt(run: Invocation, key: LedgerKey) -> AddressedReceipt:
    messages = run.of_ledger(key)
    receipt = receipt_of(
        key.epoch,
        run.ledgers[key].ledger,
        answers=[message.digest for message in messages if message.status in ACCEPTED],
        held=[entry for message in messages if (entry := message.held)],
    )
    return AddressedReceipt(key.device, receipt)

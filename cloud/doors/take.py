"""What every door does with the messages it received: ingest them, send the receipts, count what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloud.core.answer import AddressedReceipt
from cloud.ingest.ingest import ingest
from cloud.ingest.outcome import IngestOutcome, IngestStatus
from cloud.ports import InboundMessage, ReceiptSender, StoreError, Stores

Acknowledge = Callable[[Sequence[IngestOutcome]], None]


@dataclass(frozen=True, slots=True)
class UnsentReceipt:
    device: str
    cause: str


@dataclass(frozen=True, slots=True)
class TakeResult:
    """`outcomes` in the order of the messages."""

    outcomes: tuple[IngestOutcome, ...]
    receipts_sent: int
    unsent: tuple[UnsentReceipt, ...] = ()

    def counts(self) -> dict[str, int]:
        """How many messages had each status that occurred."""
        return dict(Counter(outcome.status.value for outcome in self.outcomes))


def is_done(outcome: IngestOutcome) -> bool:
    """Whether the sender may forget the message: it is stored, recognised or in quarantine."""
    return outcome.status is not IngestStatus.FAILED


def take(
    messages: Sequence[InboundMessage], stores: Stores, receipts: ReceiptSender, acknowledge: Acknowledge | None = None
) -> TakeResult:
    """Ingest and answer. `acknowledge` is called between the two; `is_done` says which messages it may acknowledge.

    A receipt that cannot be sent fails nothing: what is stored stays stored, and the box asks again.
    """
    ingested = ingest(messages, stores)
    if acknowledge is not None:
        acknowledge(ingested.outcomes)
    unsent = tuple(failure for addressed in ingested.receipts if (failure := _send(receipts, addressed)))
    return TakeResult(ingested.outcomes, len(ingested.receipts) - len(unsent), unsent)


def _send(receipts: ReceiptSender, addressed: AddressedReceipt) -> UnsentReceipt | None:
    try:
        receipts.send(addressed.device, addressed.receipt.to_json())
    except StoreError as error:
        return UnsentReceipt(addressed.device, str(error))
    return None

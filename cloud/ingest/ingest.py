"""The way of every batch, whichever door it came through. The steps are in the files of this folder.

If a step fails for a message, the message is not answered: the box keeps the batch, and trying again is harmless.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloud.ingest.examine import examine
from cloud.ingest.keep import archive, quarantine, store
from cloud.ingest.ledgers import load_ledgers, note_in_ledgers
from cloud.ingest.outcome import Ingested
from cloud.ingest.receipts import write_receipts
from cloud.ingest.recognise import recognise_stored
from cloud.ports import InboundMessage, Stores


def ingest(messages: Sequence[InboundMessage], stores: Stores) -> Ingested:
    """Store what came and say what to answer. Never raises, whatever a message contains and whichever store fails."""
    examined, run = examine(messages, stores)
    load_ledgers(run)
    recognise_stored(run)
    archive(run)
    store(run)
    quarantine(run)
    note_in_ledgers(run)
    receipts = write_receipts(run)
    return Ingested(tuple(message.outcome for message in examined), tuple(receipts))

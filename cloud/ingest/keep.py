"""Steps 4 to 6: archive the new batches, store them, and put what was refused into quarantine."""

from __future__ import annotations

from cloud.core.claims import anchors_of
from cloud.core.conflicts import proven
from cloud.ingest import archive_object
from cloud.ingest.invocation import Invocation, PendingMessage, failing
from cloud.ingest.outcome import IngestStatus
from cloud.ports import BatchItem, Put, Quarantined, StoreError, Stores


def archive(run: Invocation) -> None:
    """All new batches of the invocation go into one object."""
    new = run.having(None)
    if not new:
        return
    with failing(new):
        content = archive_object.pack([message.inbound for message in new])
        run.stores.archive.put(archive_object.name_of(content), content)


def store(run: Invocation) -> None:
    """The verdict of the batch store decides the status of each message."""
    new = [(message, item) for message in run.having(None) if (item := message.item)]
    if not new:
        return
    verdicts: list[Put] = []
    with failing([message for message, _ in new]):
        verdicts = _put(run.stores, [item for _, item in new])
    for (message, _), put in zip(new, verdicts, strict=False):
        _judge(message, put)


def _put(stores: Stores, items: list[BatchItem]) -> list[Put]:
    """The batches, and the anchors that their events give."""
    verdicts = stores.batches.put(items)
    for device in sorted({item.key.device for item in items}):
        if anchors := anchors_of([item.batch for item in items if item.key.device == device]):
            stores.anchors.put(device, anchors)
    return verdicts


def _judge(message: PendingMessage, put: Put) -> None:
    message.unnoted = put in {Put.STORED, Put.SAME}
    if put is Put.STORED:
        message.status = IngestStatus.STORED
    elif put is Put.FAILED:
        message.fail(StoreError("store a batch: the batch store did not take it; it will be tried again"))
    else:
        message.settle(put)


def quarantine(run: Invocation) -> None:
    """Keep every message that was refused, with the reason."""
    for message in run.having(IngestStatus.HELD, IngestStatus.QUARANTINED):
        with failing([message]):
            put_in_quarantine(run.stores, message)


def put_in_quarantine(stores: Stores, message: PendingMessage) -> None:
    """A conflict is first compared with all that is stored beside it: the reason says if no record is stored."""
    if message.conflict and message.batch:
        stored = stores.batches.beside(message.batch.key)
        message.reason = proven(message.reason or "", message.batch, message.inbound.data, stored)
    stores.quarantine.put(Quarantined(message.inbound, message.digest, message.reason or ""))

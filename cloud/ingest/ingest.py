"""One way in, behind every door: look at the ledger, archive, store, note in the ledger, answer.

A failure anywhere leaves that message failed and unanswered: the box keeps it, and trying again is harmless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from cloud.core.answer import AddressedReceipt, receipt_of
from cloud.core.claims import accounted_spans, anchors_of
from cloud.core.conflicts import proven
from cloud.core.ledger import Held, Ledger, Span
from cloud.ingest import archive
from cloud.ports import (
    BatchItem,
    Delivery,
    LedgerKey,
    Put,
    Quarantined,
    StoredHead,
    StoreError,
    Stores,
    VersionedLedger,
)
from wire.batch import Batch, BatchKey
from wire.codec import decode, digest, peek
from wire.errors import WireError
from wire.receipt import REASON_CHARS_MAX

SAVE_ATTEMPTS = 30  # a box that drains a backlog has its ledger changed by every concurrent invocation


class Status(Enum):
    STORED = "stored"
    RESEND = "resend"  # these bytes were stored before
    SUPERSEDED = "superseded"  # a lower rev is stored, which says more
    HELD = "held"  # in quarantine, and the box is told so
    QUARANTINED = "quarantined"  # in quarantine, and nobody can be told
    FAILED = "failed"  # a store failed: try again


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one delivery; `key` is None where it could not be read."""

    status: Status
    digest: str
    key: BatchKey | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Ingested:
    """`outcomes` in the order of the deliveries; at most one receipt per device and epoch."""

    outcomes: tuple[Outcome, ...]
    receipts: tuple[AddressedReceipt, ...]


@dataclass(slots=True)
class _Message:
    """One delivery on its way: `status` is None until decided."""

    delivery: Delivery
    digest: str
    batch: Batch | None = None
    key: BatchKey | None = None  # only where it is genuinely the device's
    reason: str | None = None
    status: Status | None = None
    copies: int = 1  # deliveries of these very bytes in this invocation
    conflict: bool = False
    unnoted: bool = False  # the readings store has it, and maybe no ledger knows of it yet

    @property
    def ledger_key(self) -> LedgerKey | None:
        return LedgerKey(self.key.device, self.key.epoch) if self.key else None

    @property
    def held(self) -> Held | None:
        if self.key is None or self.status is not Status.HELD:
            return None
        return Held(self.key.first, self.key.last, (self.reason or "")[:REASON_CHARS_MAX], self.digest)

    def fail(self, error: StoreError) -> None:
        self.status, self.reason = Status.FAILED, str(error)

    def refuse(self, reason: str) -> None:
        self.status, self.reason = (Status.HELD if self.key else Status.QUARANTINED), reason


@dataclass(slots=True)
class _Run:
    messages: list[_Message]
    stores: Stores
    ledgers: dict[LedgerKey, VersionedLedger] = field(default_factory=dict)
    settled: set[LedgerKey] = field(default_factory=set)  # a receipt asked for earlier has become possible

    def having(self, *statuses: Status | None) -> list[_Message]:
        return [message for message in self.messages if message.status in statuses]


def ingest(deliveries: Sequence[Delivery], stores: Stores) -> Ingested:
    """Store what came and say what to answer; never raises for what is in a delivery or for a failing store."""
    messages: dict[tuple[str, str, str | None], _Message] = {}
    mine = [_enter(messages, delivery) for delivery in deliveries]
    run = _Run(list(messages.values()), stores)
    _look_at_ledgers(run)
    _compare_with_stored(run)
    _archive(run)
    _store(run)
    _quarantine(run)
    _note_in_ledgers(run)
    return Ingested(
        outcomes=tuple(
            Outcome(message.status or Status.FAILED, message.digest, message.key, message.reason) for message in mine
        ),
        receipts=tuple(_receipts(run)),
    )


def _enter(messages: dict[tuple[str, str, str | None], _Message], delivery: Delivery) -> _Message:
    """The message of a delivery; copies of one delivery in an invocation share it, and so their fate."""
    identity = (digest(delivery.data), delivery.device, delivery.client_id)
    if identity in messages:
        messages[identity].copies += 1
    else:
        messages[identity] = _examined(delivery, identity[0])
    return messages[identity]


def _examined(delivery: Delivery, content_digest: str) -> _Message:
    """Decoded, or refused with the reason; its key is kept only if it names the device that the door vouches for."""
    message = _Message(delivery, content_digest)
    try:
        key = peek(delivery.data).key
    except WireError as error:
        message.refuse(f"undecodable: {error}")
        return message
    if delivery.client_id is not None and delivery.client_id != delivery.device:
        message.refuse(f"identity: client id {delivery.client_id!r} sent to the topic of {delivery.device!r}")
        return message
    if key.device != delivery.device:
        message.refuse(f"identity: the batch says device {key.device!r}, its door says {delivery.device!r}")
        return message
    message.key = key
    try:
        message.batch = decode(delivery.data)
    except WireError as error:
        message.refuse(f"undecodable: {error}")
    return message


def _look_at_ledgers(run: _Run) -> None:
    keys = sorted(
        {key for message in run.messages if (key := message.ledger_key)}, key=lambda one: (one.device, one.epoch)
    )
    if not keys:
        return
    try:
        run.ledgers = dict(zip(keys, run.stores.ledgers.load(keys), strict=True))
    except StoreError as error:
        for message in run.messages:
            if message.ledger_key:
                message.fail(error)


def _compare_with_stored(run: _Run) -> None:
    """A resend is known by its key and digest before anything is written."""
    known = [
        (message, message.key)
        for message in run.having(None)
        if message.key
        and message.ledger_key
        and run.ledgers[message.ledger_key].ledger.touches(message.key.first, message.key.last)
    ]
    if not known:
        return
    try:
        heads = run.stores.readings.overlapping([key for _, key in known])
    except StoreError as error:
        for message, _ in known:
            message.fail(error)
        return
    for (message, key), head in zip(known, heads, strict=True):
        if head is not None and message.ledger_key:
            verdict = head.verdict(key, message.digest)
            # Stored, but not noted: an earlier try came no further, and meanwhile others may have been at it.
            if verdict is not Put.SAME or run.ledgers[message.ledger_key].ledger.covers(key.first, key.last):
                _settle(message, verdict, head)


def _settle(message: _Message, put: Put, head: StoredHead | None = None) -> None:
    """The status that follows from a verdict; STORED leaves it open, for the store has the last word."""
    match put:
        case Put.SAME:
            message.status = Status.RESEND
        case Put.SUPERSEDED:
            message.status = Status.SUPERSEDED
        case Put.CONFLICT:
            beside = f" (stored: {head.first}..{head.last} rev {head.rev} {head.digest})" if head else ""
            message.refuse(f"conflict: other content is stored under these record numbers{beside}")
            message.conflict = True
        case Put.STORED | Put.FAILED:
            pass


def _archive(run: _Run) -> None:
    fresh = run.having(None)
    if not fresh:
        return
    content = archive.pack([message.delivery for message in fresh])
    try:
        run.stores.archive.put(archive.name_of(content), content)
    except StoreError as error:
        for message in fresh:
            message.fail(error)


def _store(run: _Run) -> None:
    fresh = run.having(None)
    items = [BatchItem(message.batch, message.delivery.data, message.digest) for message in fresh if message.batch]
    if not items:
        return
    try:
        verdicts = run.stores.readings.put(items)
        for device in sorted({item.key.device for item in items}):
            if anchors := anchors_of([item.batch for item in items if item.key.device == device]):
                run.stores.readings.put_anchors(device, anchors)
    except StoreError as error:
        for message in fresh:
            message.fail(error)
        return
    for message, put in zip(fresh, verdicts, strict=True):
        message.unnoted = put in {Put.STORED, Put.SAME}
        match put:
            case Put.STORED:
                message.status = Status.STORED
            case Put.FAILED:
                message.fail(StoreError("store a batch: the readings store did not take it; it will be tried again"))
            case Put.SAME | Put.SUPERSEDED | Put.CONFLICT:
                _settle(message, put)


def _quarantine(run: _Run) -> None:
    for message in run.having(Status.HELD, Status.QUARANTINED):
        try:
            _put_aside(run.stores, message)
        except StoreError as error:
            message.fail(error)


def _put_aside(stores: Stores, message: _Message) -> None:
    if message.conflict and message.batch:
        stored = stores.readings.beside(message.batch.key)
        message.reason = proven(message.reason or "", message.batch, message.delivery.data, stored)
    stores.quarantine.put(Quarantined(message.delivery, message.digest, message.reason or ""))


def _note_in_ledgers(run: _Run) -> None:
    for key, versioned in run.ledgers.items():
        mine = [message for message in run.messages if message.ledger_key == key]
        try:
            before, run.ledgers[key] = _save(run.stores, key, versioned, mine)
        except StoreError as error:
            for message in mine:
                message.fail(error)
        else:
            if run.ledgers[key].ledger.settles(before.ledger):
                run.settled.add(key)


def _save(
    stores: Stores, key: LedgerKey, versioned: VersionedLedger, messages: list[_Message]
) -> tuple[VersionedLedger, VersionedLedger]:
    """The ledger before and after."""
    for attempt in range(SAVE_ATTEMPTS):
        _yield_to_noted(stores, versioned.ledger, messages)
        ledger = _merged(versioned.ledger, messages)
        if ledger == versioned.ledger:
            return versioned, versioned
        if stores.ledgers.save(key, ledger, versioned.version):
            return versioned, VersionedLedger(ledger, versioned.version + 1)
        stores.ledgers.yield_to_others(attempt)
        (versioned,) = stores.ledgers.load([key])
    raise StoreError(
        f"note in the ledger of {key.device}: others changed it {SAVE_ATTEMPTS} times meanwhile; it will be tried again"
    )


def _yield_to_noted(stores: Stores, ledger: Ledger, messages: Sequence[_Message]) -> None:
    """Where two invocations put batches that overlap, no write sees it: the first that is noted in the ledger stays."""
    for message in messages:
        batch, key = message.batch, message.key
        if batch is None or key is None or not message.unnoted or not ledger.touches(key.first, key.last):
            continue
        head = stores.readings.other(key)
        if head is not None:
            _settle(message, Put.CONFLICT, head)
            _put_aside(stores, message)
            stores.readings.withdraw(BatchItem(batch, message.delivery.data, message.digest))
            message.unnoted = False


def _merged(ledger: Ledger, messages: Sequence[_Message]) -> Ledger:
    asked = 0
    spans: list[Span] = []
    held = [entry for message in messages if (entry := message.held)]
    accepted: list[str] = []
    for message in messages:
        if message.key is None:
            continue
        match message.status:
            case Status.STORED | Status.RESEND | Status.SUPERSEDED if message.batch:
                spans += [Span(message.key.first, message.key.last, message.key.rev, message.digest)]
                spans += accounted_spans(message.batch)
                accepted.append(message.digest)
                if message.batch.confirm_wanted:
                    asked = max(asked, message.key.last)
            case _:
                pass
    return ledger.merged(spans, held, accepted, asked)


def _receipts(run: _Run) -> list[AddressedReceipt]:
    wanted = {
        message.ledger_key
        for message in run.messages
        if message.status in {Status.RESEND, Status.SUPERSEDED, Status.HELD}
        or (message.status is Status.STORED and message.batch and (message.batch.confirm_wanted or message.copies > 1))
    }
    stored = run.having(Status.STORED, Status.RESEND, Status.SUPERSEDED)
    return [
        AddressedReceipt(
            key.device,
            receipt_of(
                key.epoch,
                versioned.ledger,
                answers=[message.digest for message in stored if message.ledger_key == key],
                held=[entry for message in run.messages if message.ledger_key == key and (entry := message.held)],
            ),
        )
        for key, versioned in run.ledgers.items()
        if key in wanted | run.settled
    ]

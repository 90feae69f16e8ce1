"""Carries out what the delivery machine decides, and keeps the connection."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agent.adapters.buffer.buffer import BufferFileError
from agent.adapters.mqtt.uplink import Connected, Disconnected, Published, Received
from agent.adapters.system.clock import Clock
from agent.adapters.system.logs import Changes
from agent.core.delivery.actions import Action, Confirmed, Load, Publish, PublishOutcome, Reconnect, Sealed
from agent.core.delivery.machine import DeliveryMachine
from agent.core.delivery.receipts import DAMAGED, ReceiptVerdict
from agent.core.invariants import BrokenInvariantError
from agent.core.system.watchdog import Watchdog
from agent.core.time_units import HOUR_MS, MINUTE_MS
from agent.services.buffer.journal import Journal
from agent.services.buffer.room import BufferRoom
from agent.services.buffer.thread import BufferThread
from agent.services.delivery.connection import Connection
from agent.services.delivery.inbox import DeliveryEvent, DeliveryInbox, Reconfigured
from agent.services.progress import Progress
from agent.settings import UplinkSettings
from wire.codec import peek
from wire.errors import WireError
from wire.receipt import Receipt, parse_receipt

log = logging.getLogger(__name__)

NAP_MS = MINUTE_MS
STUCK_MS = 3 * MINUTE_MS
EPOCH_PAUSE_MS = HOUR_MS  # a far end that sends nonsense costs one epoch an hour, not one a message
BACKLOG = "backlog"


@dataclass(slots=True)
class Courier:
    """One loop: events of the uplink and of the recorder in, publishes and deletions out."""

    settings: UplinkSettings
    box_id: str
    delivery: DeliveryMachine
    store: BufferThread
    room: BufferRoom
    journal: Journal
    begin_epoch: Callable[[str], Awaitable[bool]]
    inbox: DeliveryInbox
    clock: Clock
    progress: Progress
    watchdog: Watchdog
    random: random.Random = field(default_factory=random.Random)
    _changes: Changes = field(init=False)
    _connection: Connection = field(init=False)
    _epoch_at_ms: int | None = None

    def __post_init__(self) -> None:
        self._changes = Changes(log, self.progress.troubles)
        about = (self.clock, self.progress, self._changes, self.random)
        self._connection = Connection(self.settings, self.box_id, self.inbox.emit, *about)
        self._configure_delivery()

    def reconfigure(self, settings: UplinkSettings) -> None:
        """Take new settings. A connection that would be made the same way again is left in peace."""
        self.inbox.emit(Reconfigured(settings))

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            while True:
                if await self._connection.step():
                    self.delivery.on_disconnected()
                self.watchdog.beat("delivery", self.clock.mono_ms() + NAP_MS + STUCK_MS)
                event = await self._next_event()
                try:
                    with self.room.naming_broken():
                        await self._handle(event)
                except BufferFileError as error:
                    # Nothing is lost: what could not be read or deleted now is still there.
                    self.room.failed(error)
                except BrokenInvariantError as error:  # said; the next connection begins with what is in the buffer
                    await self._disconnected(Disconnected(error.name))
        finally:
            await self._connection.drop()

    async def _next_event(self) -> DeliveryEvent | None:
        """The next event, or None when it is time to do something."""
        if self.inbox.take_sealed_lost():
            self.delivery.on_news_lost()
        if not self.inbox.is_empty():
            return await self.inbox.next(0)
        now_ms = self.clock.mono_ms()
        wake_ms, due = self.delivery.wake_ms(now_ms), self._connection.due_ms()
        due += [] if wake_ms is None else [wake_ms]
        return await self.inbox.next(min(max(min(due, default=now_ms + NAP_MS) - now_ms, 0), NAP_MS))

    async def _handle(self, event: DeliveryEvent | None) -> None:
        now_ms, delivery = self.clock.mono_ms(), self.delivery
        match event:
            case None:
                await self._do(delivery.tick(now_ms))
            case Sealed():
                await self._do(delivery.on_sealed(now_ms, event))
            case Published():
                if event.outcome is PublishOutcome.ACCEPTED:
                    await self.store.run(lambda: self.store.buffer.outbox.sending.taken(event.batch_id))
                self._say_published(event)
                await self._do(delivery.on_published(now_ms, event.batch_id, event.outcome))
            case Connected():
                if self._connection.connected(event):
                    await self._do(delivery.on_connected(self.clock.mono_ms()))
            case Disconnected():
                await self._disconnected(event)
            case Reconfigured():
                await self._reconfigured(event.settings)
            case Received():
                await self._received(event.payload)

    async def _do(self, actions: list[Action]) -> None:
        queue = list(actions)
        while queue:
            action = queue.pop(0)
            match action:
                case Publish(batch_id):
                    queue += await self._publish(batch_id)
                case Load():
                    queue += await self._load(action)
                case Confirmed(batch_id):
                    queue += await self._delete_by_puback(batch_id)
                case Reconnect(reason):
                    await self._disconnected(Disconnected(reason))

    # A buffer that cannot be read or written now loses nothing: the machine hears of it, and asks again later. None of
    # these may raise, but for a damaged file: what else the machine has asked for would not be done.

    async def _load(self, asked: Load) -> list[Action]:
        outbox = self.store.buffer.outbox
        try:
            batches = await self.room.run(lambda: outbox.load(asked.below_id, asked.limit))
        except BufferFileError as error:
            self.room.failed(error, reading=BACKLOG)
            return self.delivery.on_load_failed(self.clock.mono_ms())
        self.room.was_read(BACKLOG)
        return self.delivery.on_loaded(self.clock.mono_ms(), asked, batches)

    async def _publish(self, batch_id: int) -> list[Action]:
        what = f"batch {batch_id}"
        try:
            body = await self.store.run(lambda: self.store.buffer.outbox.body(batch_id))
        except BufferFileError as error:
            self.room.failed(error, reading=what)
            return self.delivery.on_unreadable(self.clock.mono_ms(), batch_id)
        self.room.was_read(what)
        if body is None:
            return self.delivery.on_withdrawn(self.clock.mono_ms(), batch_id)
        if self._connection.uplink is None:
            self.delivery.forget([batch_id])
        elif _is_whole(body):
            self._connection.uplink.publish(batch_id, body)
        else:
            return await self._set_aside(batch_id)
        return []

    async def _set_aside(self, batch_id: int) -> list[Action]:
        """The bytes of a batch are no longer what was sealed: nobody could read them, so they are kept, not sent."""
        outbox = self.store.buffer.outbox
        try:
            batch, records = await self.store.run(lambda: outbox.set_aside(batch_id, DAMAGED))
        except BufferFileError as error:
            self.room.failed(error)
            return self.delivery.on_unreadable(self.clock.mono_ms(), batch_id)
        numbers = f"{batch.first}..{batch.last}"
        log.error("buffer: the bytes of batch %s are damaged; it is kept, not sent; the card fails: see dmesg", numbers)
        self.progress.held_batches += 1
        told: dict[str, object] = {"first": batch.first, "last": batch.last}
        if batch.epoch != self.store.buffer.epoch:  # there, `first` and `last` would account for others' numbers
            told = {"epoch": batch.epoch.hex(), "old_first": batch.first, "old_last": batch.last}
        self.journal.event("dropped", **told, records=records, reason=DAMAGED)
        return self.delivery.on_withdrawn(self.clock.mono_ms(), batch_id)

    def _say_published(self, event: Published) -> None:
        if event.outcome is PublishOutcome.ACCEPTED:
            self.progress.published += 1
            self._changes.say("publishing", "accepted by the broker", logging.DEBUG)
        elif event.outcome is PublishOutcome.DENIED:
            step = f"allow iot:Publish on {self.settings.topic} in the policy of this certificate"
            self._changes.say(
                "publishing", f"{event.detail}; {step}; nothing is lost, it is tried again", logging.ERROR
            )
        elif event.outcome is not PublishOutcome.LOST:
            self._changes.say("publishing", f"{event.detail}; nothing is lost, it is tried again", logging.WARNING)

    async def _disconnected(self, event: Disconnected) -> None:
        self.delivery.on_disconnected()
        await self._connection.disconnected(event)

    async def _reconfigured(self, settings: UplinkSettings) -> None:
        self.settings = settings
        self._configure_delivery()
        if await self._connection.reconfigure(settings):
            self.delivery.on_disconnected()

    def _configure_delivery(self) -> None:
        by_puback, interval_ms = self.settings.confirm == "puback", self.settings.confirm_interval_ms
        self.delivery.configure(confirm_by_puback=by_puback, confirm_interval_ms=interval_ms)

    # Receipts

    async def _received(self, payload: bytes) -> None:
        try:
            receipt = parse_receipt(payload)
        except WireError as error:
            if self._changes.say("receipt", f"not understood and ignored: {error}", logging.WARNING):
                self.journal.event("receipt_misfit", reason=str(error)[:200], through=None)
            return
        buffer = self.store.buffer
        result = await self.room.run(lambda: buffer.outbox.confirm(receipt, buffer.epoch, buffer.sealed_through))
        if result is None:
            self._changes.say("receipt", f"for epoch {receipt.epoch.hex()}, unknown here, ignored", logging.WARNING)
            return
        verdict, records = result
        await self._apply(receipt, verdict, records)
        if verdict.misfit:
            await self._misfit(receipt, verdict.misfit)

    async def _apply(self, receipt: Receipt, verdict: ReceiptVerdict, records: int) -> None:
        now_ms, progress = self.clock.mono_ms(), self.progress
        progress.receipt_ms = now_ms
        progress.confirmed_records += records
        for _, reason in verdict.held:
            self._changes.say(
                "held by the cloud", f"{reason}; its bytes are kept, see `wattpost buffer`", logging.ERROR
            )
        if not verdict.misfit:
            self._changes.say("receipt", "the cloud confirms", logging.DEBUG)
        gone = [*verdict.delete, *(batch_id for batch_id, _ in verdict.held)]
        await self._do(self.delivery.on_receipt(now_ms, receipt.epoch, gone, verdict.stored_to, receipt.pace))
        if verdict.held or progress.held_batches:  # counted anew, since each receipt names all of them again
            progress.held_batches = await self.store.run(self.store.buffer.outbox.count_held)
        await self._deleted(len(verdict.delete), records)

    async def _deleted(self, batches: int, records: int) -> None:
        self.progress.batches -= batches
        self.progress.batch_records -= records
        if batches:
            await self.store.look(self.progress)

    async def _misfit(self, receipt: Receipt, why: str) -> None:
        text = f"does not fit, so its ranges delete nothing: {why}"
        if self._changes.say("receipt", text, logging.ERROR):
            self.journal.event("receipt_misfit", reason=why, through=receipt.through)
        now_ms = self.clock.mono_ms()
        rested = self._epoch_at_ms is None or now_ms - self._epoch_at_ms >= EPOCH_PAUSE_MS
        current = receipt.epoch == self.store.buffer.epoch
        if current and rested and await self.begin_epoch(f"receipt: {why}"):
            self._epoch_at_ms = now_ms

    async def _delete_by_puback(self, batch_id: int) -> list[Action]:
        try:
            records = await self.room.run(lambda: self.store.buffer.outbox.delete([batch_id]))
        except BufferFileError as error:
            self.room.failed(error)
            return self.delivery.on_delete_failed(self.clock.mono_ms(), batch_id)
        self.progress.confirmed_records += records
        try:
            await self._deleted(1, records)
        except BufferFileError as error:  # only what is shown of the buffer is old for it
            self.room.failed(error)
        return []


def _is_whole(body: bytes) -> bool:
    try:
        peek(body)
    except WireError:
        return False
    return True

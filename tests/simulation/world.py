"""A world for the delivery machine: a box with the real buffer and the real decisions, a bad network, a real receiver.

Everything runs on one virtual clock and draws from one seed, so that a failing month can be played again. The box is
`agent.app` without its event loop: the same calls in the same order, one event at a time.
"""

from __future__ import annotations

import heapq
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.adapters.buffer.buffer import Buffer
from agent.core.buffer.numbering import BoxIdentity
from agent.core.buffer.sealing import ConfirmPolicy, SealPolicy
from agent.core.delivery.actions import (
    Action,
    Confirmed,
    Load,
    Publish,
    PublishOutcome,
    Reconnect,
    Sealed,
    SendLimits,
)
from agent.core.delivery.machine import DeliveryMachine
from agent.core.delivery.reconnect import ReconnectDelays
from agent.core.records import Group, Layout, NewEvent, NewReading
from cloud.ingest.ingest import ingest
from cloud.ingest.outcome import IngestStatus
from cloud.ports import InboundMessage, StoreError, Stores
from wire.batch import Anchor, Column
from wire.codec import decode
from wire.receipt import Receipt, parse_receipt
from wire.resolution import Resolution

BOX = "apt-sim"
HOUR_MS = 3_600_000
COLUMNS = (Column("energy_active_import_total", Resolution(1, 0)), Column("voltage_l1_n", Resolution(1, -1)))


@dataclass(frozen=True, slots=True)
class Faults:
    """Probabilities per message, and mean times between the larger faults; 0 means never."""

    lost: float = 0.05
    duplicated: float = 0.05
    delay_max_ms: int = 20_000
    puback_lost: float = 0.03
    receipt_lost: float = 0.2
    store_fails: float = 0.05
    outage_every_ms: int = 3 * HOUR_MS
    outage_max_ms: int = 5 * HOUR_MS
    kill_every_ms: int = 7 * HOUR_MS
    reboot_share: float = 0.3
    restore_every_ms: int = 0


@dataclass
class World:
    """Run with `run`, then `heal` and look at `expected` and the stores."""

    seed: int
    folder: Path
    stores: Stores
    faults: Faults
    now_ms: int = 0
    expected: dict[tuple[bytes, int], tuple[object, ...]] = field(default_factory=dict)
    tracked_most: int = 0
    misfits: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._queue: list[tuple[int, int, str, object]] = []
        self._ticket = 0
        self._boot = 1
        self._boot_at_ms = 0
        self._online = True  # whether the network carries anything
        self._connection = 0  # messages of an earlier connection get no PUBACK
        self._energy = 0
        self._healed = False
        self._backup: Path | None = None
        self._start_box()
        for kind, every_ms in (
            ("outage", self.faults.outage_every_ms),
            ("kill", self.faults.kill_every_ms),
            ("restore", self.faults.restore_every_ms),
        ):
            if every_ms:
                self._later(self._about(every_ms), kind)
        self._later(10_000, "poll")

    # The world

    def run(self, for_ms: int) -> None:
        end_ms = self.now_ms + for_ms
        while self._queue and self._queue[0][0] <= end_ms:
            self.now_ms, _, kind, what = heapq.heappop(self._queue)
            getattr(self, f"_on_{kind}")(what)
            self.tracked_most = max(self.tracked_most, sum(self._delivery.counts().values()))
        self.now_ms = end_ms

    def heal(self) -> None:
        """Everything works from now on; polling stops after a last seal."""
        self.faults = Faults(0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0)
        self._healed = True
        if not self._online:
            self._on_back(None)
        # As a box with silent meters: it accounts for their slots, so that there is a batch that asks for a receipt.
        self._pending.append(NewEvent(self._mono_ms, "meter_silent", "main", {"reason": "silent"}))
        self._commit()
        self._seal(everything=True, urgent=True)

    @property
    def unconfirmed(self) -> int:
        return self.buffer.outbox.counts()["batches"]

    def _later(self, delay_ms: float, kind: str, what: object = None) -> None:
        self._ticket += 1
        heapq.heappush(self._queue, (self.now_ms + int(delay_ms), self._ticket, kind, what))

    def _about(self, mean_ms: int) -> float:
        return self.random.expovariate(1 / mean_ms)

    def _chance(self, probability: float) -> bool:
        return self.random.random() < probability

    # The box

    @property
    def _mono_ms(self) -> int:
        return self.now_ms - self._boot_at_ms

    def _start_box(self) -> None:
        identity = BoxIdentity(BOX, "machine", self._boot.to_bytes(8, "big"))
        self.buffer, self.opening = Buffer.open(self.folder / "buffer.db", identity)
        self._layout = self.buffer.layout_id(Layout("main", COLUMNS))
        self._delivery = DeliveryMachine(SendLimits())
        self._delays = ReconnectDelays()
        self._seals = SealPolicy(max_age_ms=300_000, max_bytes=600)
        self._confirms = ConfirmPolicy(interval_ms=HOUR_MS)
        self._pending: list[NewReading | NewEvent] = [NewEvent(self._mono_ms, "start", None, {"run": self._ticket})]
        self._open = 0
        self._oldest_ms: int | None = None
        self._connected = False
        self._later(0, "connect", self._connection)

    def _stop_box(self) -> None:
        self.buffer.file.close()
        self._connected = False
        self._connection += 1

    def _on_poll(self, _: object) -> None:
        if self._healed:
            return
        self._later(10_000, "poll")
        self._energy += self.random.randrange(5)
        reading = NewReading(self._layout, self._mono_ms, (self._energy, 2300 + self.random.randrange(-20, 20)))
        self._pending.append(reading)
        if len(self._pending) >= self.random.randrange(1, 6):
            self._commit()
            if self._seals.due(self._mono_ms, self._open, self._oldest_ms):
                self._seal(everything=self.random.random() < 0.5)
        self._do(self._delivery.tick(self._mono_ms))

    def _commit(self) -> None:
        if not self._pending:
            return
        last = self.buffer.commit(Group(self._pending, {"main": 1}))
        first = last - len(self._pending) + 1
        for seq, record in enumerate(self._pending, first):
            self.expected[self.buffer.epoch, seq] = _said(record, self._boot)
        if self._oldest_ms is None:
            self._oldest_ms = self._pending[0].mono_ms
        self._open += len(self._pending)
        self._pending = []

    def _seal(self, *, everything: bool, urgent: bool = False) -> None:
        wanted = self._confirms.wanted(self._mono_ms, self.unconfirmed, urgent=urgent)
        anchor = Anchor(self._boot_at_ms, 10)
        result = self.buffer.seal(anchor, 600, everything=everything, confirm_wanted=wanted, handed_out=self._connected)
        self._open, self._oldest_ms = result.open_records, result.oldest_open_ms
        for batch, records in result.sealed:
            self._seals.sealed(records, batch.size)
            self._do(self._delivery.on_sealed(self._mono_ms, batch))

    def _do(self, actions: Sequence[Action]) -> None:
        queue = list(actions)
        while queue:
            match queue.pop(0):
                case Publish(batch_id):
                    self._send(batch_id)
                case Load(below_id, limit) as asked:
                    batches: list[Sealed] = self.buffer.outbox.load(below_id, limit)
                    queue += self._delivery.on_loaded(self._mono_ms, asked, batches)
                case Reconnect(_):
                    self._disconnect()
                case Confirmed(batch_id):
                    self.buffer.outbox.delete([batch_id])
        wake_ms = self._delivery.wake_ms(self._mono_ms)
        if wake_ms is not None:
            assert wake_ms >= self._mono_ms
            self._later(wake_ms - self._mono_ms, "wake", self._connection)

    def _on_wake(self, connection: object) -> None:
        if connection == self._connection and self._connected:
            due = self._delivery.wake_ms(self._mono_ms)
            if due is not None and due <= self._mono_ms + 1:
                self._do(self._delivery.tick(self._mono_ms + 1))

    # The connection

    def _on_connect(self, connection: object) -> None:
        if connection != self._connection or self._connected:
            return
        if not self._online:
            self._later(self._delays.delay_ms(self.now_ms, self.random.random()) + 1, "connect", self._connection)
            return
        self._connected = True
        self._delays.connected()
        self._do(self._delivery.on_connected(self._mono_ms))

    def _disconnect(self) -> None:
        if self._connected:
            self._connected = False
            self._connection += 1
            self._delivery.on_disconnected()
        self._later(self._delays.delay_ms(self.now_ms, self.random.random()) + 1, "connect", self._connection)

    def _send(self, batch_id: int) -> None:
        body = self.buffer.outbox.body(batch_id)
        if body is None:
            self._delivery.forget([batch_id])
            return
        faults, ack = self.faults, (self._connection, batch_id)
        if not self._online or self._chance(faults.lost):
            self._later(20_000, "puback", (*ack, PublishOutcome.TIMEOUT))
            return
        copies = 2 if self._chance(faults.duplicated) else 1
        for _ in range(copies):
            self._later(self.random.randrange(faults.delay_max_ms), "arrive", body)
        outcome = PublishOutcome.TIMEOUT if self._chance(faults.puback_lost) else PublishOutcome.ACCEPTED
        self._later(20_000 if outcome is PublishOutcome.TIMEOUT else 50, "puback", (*ack, outcome))

    def _on_puback(self, what: object) -> None:
        connection, batch_id, outcome = what  # type: ignore[misc]
        if connection == self._connection and self._connected:
            if outcome is PublishOutcome.ACCEPTED:
                self.buffer.outbox.sending.taken(batch_id)
            self._do(self._delivery.on_published(self._mono_ms, batch_id, outcome))

    def _on_receipt(self, payload: object) -> None:
        if not self._connected:
            return
        receipt = parse_receipt(payload)  # type: ignore[arg-type]
        before = self._batches_of(receipt)
        result = self.buffer.outbox.confirm(receipt, self.buffer.epoch, self.buffer.sealed_through)
        if result is None:
            return
        verdict, _ = result
        self._check_stored(verdict.delete, before)
        if verdict.misfit:
            self.misfits += 1
            if receipt.epoch == self.buffer.epoch:
                self._commit()
                self._seal(everything=True)
                self.buffer.begin_epoch()
        gone = [*verdict.delete, *(batch_id for batch_id, _ in verdict.held)]
        self._do(self._delivery.on_receipt(self._mono_ms, receipt.epoch, gone, verdict.stored_to, receipt.pace))

    # The cloud

    def _on_arrive(self, body: object) -> None:
        stores = self.stores
        arrivals = [InboundMessage(BOX, body, "simulation")]  # type: ignore[arg-type]
        failing = self._chance(self.faults.store_fails)
        result = ingest(arrivals, _failing(stores, self.random) if failing else stores)
        if result.outcomes[0].status is IngestStatus.FAILED:
            self._later(30_000, "arrive", body)  # the queue tries again
        for addressed in result.receipts:
            if not self._chance(self.faults.receipt_lost):
                copies = 2 if self._chance(self.faults.duplicated) else 1
                for _ in range(copies):
                    self._later(self.random.randrange(self.faults.delay_max_ms), "receipt", addressed.receipt.to_json())

    def _batches_of(self, receipt: Receipt) -> dict[int, bytes]:
        rows = self.buffer.file.db.execute("SELECT id, body FROM batch WHERE epoch = ?", (receipt.epoch,))
        return dict(rows.fetchall())

    def _check_stored(self, deleted: Sequence[int], before: dict[int, bytes]) -> None:
        """The promise, at the moment of each deletion: what the box deletes is in the store, byte for byte."""
        if not deleted:
            return
        stored = set(self._stored_bytes())
        missing = [decode(before[batch_id]).key for batch_id in deleted if before[batch_id] not in stored]
        assert not missing, f"deleted on the box and not stored: {missing}"

    def _stored_bytes(self) -> list[bytes]:
        return [stored.data for stored in self.stores.batches.of(BOX)]

    # The larger faults

    def _on_outage(self, _: object) -> None:
        if not self.faults.outage_every_ms:
            return
        self._later(self._about(self.faults.outage_every_ms), "outage")
        if self._online:
            self._online = False
            self._later(self.random.randrange(self.faults.outage_max_ms), "back")
            if self._chance(0.5):
                self._disconnect()

    def _on_back(self, _: object) -> None:
        self._online = True

    def _on_kill(self, _: object) -> None:
        if not self.faults.kill_every_ms:
            return
        self._later(self._about(self.faults.kill_every_ms), "kill")
        self._stop_box()
        if self._chance(self.faults.reboot_share):
            self._boot += 1
            self._boot_at_ms = self.now_ms
        self._start_box()

    def _on_restore(self, _: object) -> None:
        """A backup of the buffer comes back, or is taken when there is none."""
        if not self.faults.restore_every_ms:
            return
        self._later(self._about(self.faults.restore_every_ms), "restore")
        self._stop_box()
        live, backup = self.folder / "buffer.db", self.folder / "backup.db"
        if backup.exists():
            committed = {(b.key.epoch, seq) for b in map(decode, self._stored_bytes()) for seq in _numbers(b)}
            self.expected = {key: said for key, said in self.expected.items() if key in committed}
            shutil.copy(backup, live)
            backup.unlink()
        else:
            shutil.copy(live, backup)
        self._start_box()


def stored_records(stores: Stores) -> dict[tuple[bytes, int], list[tuple[object, ...]]]:
    """All records in the store by (epoch, number); more than one entry is a duplicate."""
    found: dict[tuple[bytes, int], list[tuple[object, ...]]] = {}
    for stored in stores.batches.of(BOX):
        batch = decode(stored.data)
        boot = int.from_bytes(batch.boot, "big")
        for series in batch.series:
            for reading in series.readings:
                said = (boot, reading.mono_ms, reading.values)
                found.setdefault((batch.key.epoch, reading.seq), []).append(said)
        for event in batch.events:
            found.setdefault((batch.key.epoch, event.seq), []).append((boot, event.mono_ms, event.kind))
    return found


def _said(record: NewReading | NewEvent, boot: int) -> tuple[object, ...]:
    if isinstance(record, NewReading):
        return (boot, record.mono_ms, record.values)
    return (boot, record.mono_ms, record.kind)


def _numbers(batch: object) -> list[int]:
    readings = [reading.seq for series in batch.series for reading in series.readings]  # type: ignore[attr-defined]
    return readings + [event.seq for event in batch.events]  # type: ignore[attr-defined]


class _FailingPart:
    """Fails at one of its calls, before or after the real one has done its work."""

    def __init__(self, part: object, after: bool) -> None:
        self._part, self._after = part, after

    def __getattr__(self, name: str) -> object:
        method = getattr(self._part, name)

        def call(*args: object) -> object:
            if self._after:
                method(*args)
            raise StoreError(f"{name}: simulated")

        return call


def _failing(stores: Stores, chance: random.Random) -> Stores:
    part = chance.choice(["archive", "batches", "ledgers"])
    return replace(stores, **{part: _FailingPart(getattr(stores, part), chance.random() < 0.5)})

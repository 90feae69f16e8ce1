"""Whatever happens to the delivery machine, and in whatever order: bounded while it lasts, drained when it is over."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

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

EPOCH = b"epoch--1"
LIMITS = SendLimits(in_flight_max=3, tracked_max=24, awaiting_max=12, load_count=4, backlog_per_s=200)
HOUR_MS = 3_600_000


class DeliveryRules(RuleBasedStateMachine):
    """`stored` is the buffer, `arrived` the cloud. The machine never hears of anything but PUBACKs and receipts."""

    def __init__(self) -> None:
        super().__init__()
        self.delivery = DeliveryMachine(LIMITS)
        self.now_ms = 1_000_000
        self.next_id = 1
        self.stored: dict[int, Sealed] = {}
        self.arrived: set[int] = set()
        self.flying: list[int] = []
        self.publishes = 0

    def act(self, actions: Sequence[Action]) -> None:
        queue = list(actions)
        while queue:
            match queue.pop(0):
                case Publish(batch_id):
                    assert batch_id in self.stored, "published what is not in the buffer"
                    assert batch_id not in self.flying, "published twice at once"
                    self.flying.append(batch_id)
                    self.publishes += 1
                case Load(below_id, limit) as asked:
                    older = [b for b in self.stored.values() if below_id is None or b.id < below_id]
                    found = sorted(older, key=lambda b: -b.id)[:limit]
                    queue += self.delivery.on_loaded(self.now_ms, asked, found)
                case Reconnect():
                    self.disconnect()
                case Confirmed():
                    raise AssertionError("a PUBACK confirms nothing here")

    def disconnect(self) -> None:
        self.flying.clear()
        self.delivery.on_disconnected()

    @rule()
    @precondition(lambda self: not self.delivery.connected)
    def connected(self) -> None:
        self.act(self.delivery.on_connected(self.now_ms))

    @rule()
    @precondition(lambda self: self.delivery.connected)
    def connection_lost(self) -> None:
        self.disconnect()

    @rule(wanted=st.booleans(), count=st.integers(1, 12))
    def seals(self, wanted: bool, count: int) -> None:
        for _ in range(count):
            batch = Sealed(self.next_id, EPOCH, 10 * self.next_id - 9, 10 * self.next_id, 3_000, wanted)
            self.stored[self.next_id] = batch
            self.next_id += 1
            self.act(self.delivery.on_sealed(self.now_ms, batch))

    @rule(at=st.integers(0, 2), outcome=st.sampled_from(PublishOutcome), arrives=st.booleans())
    @precondition(lambda self: self.flying)
    def answered(self, at: int, outcome: PublishOutcome, arrives: bool) -> None:
        batch_id = self.flying.pop(at % len(self.flying))
        if arrives:
            self.arrived.add(batch_id)
        self.act(self.delivery.on_published(self.now_ms, batch_id, outcome))

    @rule()
    @precondition(lambda self: self.flying)
    def arrives_behind_our_back(self) -> None:
        self.arrived.add(self.flying[0])

    @rule(pace=st.sampled_from([None, 0.5, 100.0]))
    def receipt(self, pace: float | None) -> None:
        gone = sorted(self.arrived & self.stored.keys())
        for batch_id in gone:
            del self.stored[batch_id]
        stored_to = 10 * max(self.arrived, default=0)
        self.act(self.delivery.on_receipt(self.now_ms, EPOCH, gone, stored_to, pace))

    @rule()
    def load_fails(self) -> None:
        self.act(self.delivery.on_load_failed(self.now_ms))

    @rule(ms=st.sampled_from([1, 20, 1_000, 15_000, 60_000, HOUR_MS]))
    def time_passes(self, ms: int) -> None:
        end_ms = self.now_ms + ms
        for _ in range(10_000):
            wake_ms = self.delivery.wake_ms(self.now_ms)
            if wake_ms is None or wake_ms > end_ms:
                break
            assert wake_ms >= self.now_ms
            before = (self.now_ms, self.publishes, self.delivery.counts())
            self.now_ms = wake_ms
            self.act(self.delivery.tick(self.now_ms))
            assert before != (self.now_ms, self.publishes, self.delivery.counts()), "woke for nothing, and would again"
        else:
            raise AssertionError("it does not come to rest")
        self.now_ms = end_ms

    @invariant()
    def bounded(self) -> None:
        counts = self.delivery.counts()
        assert sum(counts.values()) <= LIMITS.tracked_max
        assert counts["flying"] == len(self.flying) <= LIMITS.in_flight_max

    def teardown(self) -> None:
        """From now on all works: each batch arrives and is answered, and the buffer empties."""
        if not self.delivery.connected:
            self.connected()
        end_ms = self.now_ms + 6 * HOUR_MS
        while self.stored and self.now_ms < end_ms:
            while self.flying:
                self.answered(0, PublishOutcome.ACCEPTED, True)
            self.receipt(None)
            self.time_passes(1_000)
        assert not self.stored, f"{len(self.stored)} batches were never delivered"


DeliveryRules.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestDelivery = DeliveryRules.TestCase

"""The delivery machine with a buffer that always answers and a clock, for timetables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agent.core.delivery.actions import Action, Load, Publish, PublishOutcome, Reconnect, Sealed, SendLimits
from agent.core.delivery.machine import DeliveryMachine
from agent.core.time_units import MINUTE_MS

EPOCH = b"epoch--1"
LIMITS = SendLimits()
FAST = replace(LIMITS, backlog_per_s=1e6)
START_MS = 1_000_000


def sealed(batch_id: int, *, wanted: bool = False, epoch: bytes = EPOCH) -> Sealed:
    """Batch `n` holds records 10n-9 .. 10n."""
    return Sealed(batch_id, epoch, 10 * batch_id - 9, 10 * batch_id, 3000, wanted)


class Box:
    """The machine with a buffer that always answers, and a clock."""

    def __init__(self, *batches: Sealed, limits: SendLimits = LIMITS, puback: bool = False) -> None:
        self.delivery = DeliveryMachine(limits, confirm_by_puback=puback)
        self.stored = list(batches)
        self.now_ms = START_MS
        self.done: list[Action] = []

    def act(self, actions: Sequence[Action]) -> list[int]:
        """Carry out; returns the ids published."""
        queue, sent = list(actions), []
        while queue:
            action = queue.pop(0)
            self.done.append(action)
            if isinstance(action, Load):
                queue += self.delivery.on_loaded(self.now_ms, action, self.below(action))
            elif isinstance(action, Publish):
                sent.append(action.id)
            elif isinstance(action, Reconnect):
                self.delivery.on_disconnected()
        return sent

    def below(self, asked: Load) -> list[Sealed]:
        older = [batch for batch in self.stored if asked.below_id is None or batch.id < asked.below_id]
        return sorted(older, key=lambda batch: -batch.id)[: asked.limit]

    def connect(self) -> list[int]:
        return self.act(self.delivery.on_connected(self.now_ms))

    def seal(self, batch: Sealed) -> list[int]:
        self.stored.append(batch)
        return self.act(self.delivery.on_sealed(self.now_ms, batch))

    def answer(self, batch_id: int, outcome: PublishOutcome = PublishOutcome.ACCEPTED) -> list[int]:
        return self.act(self.delivery.on_published(self.now_ms, batch_id, outcome))

    def receipt(self, *gone: int, to: int, pace: float | None = None, epoch: bytes = EPOCH) -> list[int]:
        self.stored = [batch for batch in self.stored if batch.id not in gone]
        return self.act(self.delivery.on_receipt(self.now_ms, epoch, gone, to, pace))

    def pass_ms(self, span_ms: int) -> list[tuple[int, int]]:
        """Let time pass, ticking when the machine asked for it; returns (after how long, published id)."""
        start_ms, sent = self.now_ms, []
        while (wake_ms := self.delivery.wake_ms(self.now_ms)) is not None and wake_ms <= start_ms + span_ms:
            assert wake_ms >= self.now_ms
            self.now_ms = wake_ms
            sent += [(self.now_ms - start_ms, batch_id) for batch_id in self.act(self.delivery.tick(self.now_ms))]
        self.now_ms = start_ms + span_ms
        return sent

    def sent_next(self, within_ms: int = 120 * MINUTE_MS) -> tuple[int, int]:
        """The next publish: (after how long, id). The clock stands there afterwards."""
        start_ms = self.now_ms
        while True:
            wake_ms = self.delivery.wake_ms(self.now_ms)
            assert wake_ms is not None
            assert self.now_ms <= wake_ms <= start_ms + within_ms
            self.now_ms = wake_ms
            if sent := self.act(self.delivery.tick(self.now_ms)):
                (batch_id,) = sent
                return self.now_ms - start_ms, batch_id

    @property
    def counts(self) -> tuple[int, int, int]:
        counts = self.delivery.counts()
        return counts["ready"], counts["flying"], counts["awaiting"]


def accept_all(box: Box, flying: list[int]) -> list[int]:
    """PUBACKs for everything that is sent, until nothing more is; returns what was."""
    sent = []
    while flying:
        batch_id = flying.pop(0)
        sent.append(batch_id)
        flying += box.answer(batch_id)
        flying += [one for _, one in box.pass_ms(1)]
    return sent


def drained(*batches: Sealed) -> Box:
    """Online, everything sent and accepted by the broker within milliseconds."""
    box = Box(*batches, limits=FAST)
    accept_all(box, box.connect())
    assert box.counts == (0, 0, len(batches))
    return box

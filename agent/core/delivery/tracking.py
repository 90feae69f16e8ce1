"""The batches that are on their way, and which of them asks for a receipt.

READY (loaded, not sent), FLYING (sent, no PUBACK) and AWAITING (PUBACK, no receipt). A batch that wants a receipt and
gets none is sent again to ask for it: the receiver answers whatever it has already.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from agent.core.delivery.actions import Limits, Sealed


class State(Enum):
    READY = 0
    FLYING = 1
    AWAITING = 2


@dataclass(slots=True)
class Entry:
    """One batch. `since_ms` is when its state began, `live` that it is not of the backlog."""

    batch: Sealed
    live: bool
    state: State = State.READY
    since_ms: int = 0
    not_before_ms: int = 0
    failures: int = 0
    asks: int = 0  # times that it was sent again only to be answered
    missed: bool = False  # a receipt did not name it, but came too soon after it was sent to mean anything
    gone: bool = False  # needs no more delivery, but its publish has not ended yet

    def is_ready(self, now_ms: int) -> bool:
        """To be sent, and not parked."""
        return self.state is State.READY and self.not_before_ms <= now_ms

    @property
    def is_asking(self) -> bool:
        """Waits for a receipt that it is entitled to."""
        return self.state is State.AWAITING and (self.batch.confirm_wanted or self.missed or self.asks > 0)


@dataclass(slots=True)
class Tracked:
    """By batch id. `confirm_interval_ms`: how often a batch wants a receipt of its own accord."""

    limits: Limits
    confirm_interval_ms: int
    entries: dict[int, Entry] = field(default_factory=dict)

    def having(self, state: State) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.state is state]

    def counts(self) -> dict[str, int]:
        """By state, for `status`."""
        return {state.name.lower(): len(self.having(state)) for state in State}

    def next_ask_ms(self) -> list[int]:
        """When `ask_again` has something to do."""
        times = [self._ask_ms(entry) for entry in self.entries.values() if entry.is_asking]
        return times if self._anyone_asks() else times + self._late_ask_ms()

    def ask_again(self, now_ms: int) -> None:
        """Make those ready to be sent again that have waited long enough for a receipt."""
        waiting = self.having(State.AWAITING)
        if waiting and not self._anyone_asks():
            if len(waiting) >= self.limits.awaiting_max:
                max(waiting, key=lambda e: e.batch.id).asks += 1
            elif now_ms >= min(self._late_ask_ms()):
                min(waiting, key=lambda e: e.since_ms).asks += 1
        for entry in waiting:
            if entry.is_asking and self._ask_ms(entry) <= now_ms:
                entry.state, entry.since_ms, entry.live = State.READY, now_ms, not entry.missed
                entry.missed = False
                entry.asks += 1

    def send_next_again(self, now_ms: int, epoch: bytes, stored_to: int) -> None:
        """The batch right behind all that is stored was sent well before and did not arrive: make it ready again.

        A receiver that names no ranges confirms nothing beyond it, and batches behind it that ask in vain, as long as
        there are any, would keep it from asking itself.
        """
        for entry in self.having(State.AWAITING):
            if entry.batch.epoch == epoch and entry.batch.first == stored_to + 1:
                wait_ms = self.limits.receipt_grace_ms * 2 ** min(entry.asks, 16)
                if now_ms - entry.since_ms >= min(wait_ms, self.limits.receipt_timeout_max_ms):
                    entry.state, entry.since_ms, entry.live = State.READY, now_ms, True
                    entry.asks += 1

    def _ask_ms(self, entry: Entry) -> int:
        first_ms = self.limits.receipt_grace_ms if entry.missed else self.limits.receipt_timeout_ms
        wait_ms: int = min(first_ms * 2 ** min(entry.asks, 16), self.limits.receipt_timeout_max_ms)
        return entry.since_ms + wait_ms

    def _anyone_asks(self) -> bool:
        """One that asked and was refused does not: it waits with the backlog."""
        return any(
            entry.is_asking or (entry.asks > 0 and (entry.live or entry.state is State.FLYING))
            for entry in self.entries.values()
        )

    def _late_ask_ms(self) -> list[int]:
        """When the longest waiting asks, if nothing else does: no later receipt need ever show that it was lost."""
        waiting = [entry.since_ms for entry in self.having(State.AWAITING)]
        return [min(waiting) + max(self.limits.late_ask_ms, 2 * self.confirm_interval_ms)] if waiting else []

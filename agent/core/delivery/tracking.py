"""The batches in memory, whose states only `machine.TRANSITIONS` changes, and which of them asks for a receipt.

A batch that wants a receipt and gets none is sent again: the receiver answers with what it has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from agent.core.delivery.actions import Sealed, SendLimits
from agent.core.invariants import require


class State(Enum):
    """`machine` says what each means and what leads from one to another."""

    UNTRACKED = auto()
    READY = auto()
    PARKED = auto()
    FLYING = auto()
    FLYING_MISSED = auto()
    FLYING_GONE = auto()
    AWAITING = auto()
    ASKING = auto()
    MISSED = auto()
    UNDELETED = auto()


class BatchEvent(Enum):
    """What can happen to a batch."""

    SEALED = auto()  # it is new
    LOADED = auto()  # the buffer was read, and has it
    SENT = auto()  # its bytes are to be given to the client
    ACCEPTED = auto()  # PUBACK, and a receipt is to follow
    CONFIRMED = auto()  # PUBACK, which is enough
    FAILED = auto()  # its publish ended without PUBACK
    UNREADABLE = auto()  # the buffer could not give its bytes
    PARK = auto()  # it has failed too often, or was refused
    WITHDRAWN = auto()  # it is not published after all
    GONE = auto()  # it needs no more delivery
    OVERTAKEN = auto()  # a receipt names later records, not these
    DRAINED = auto()  # the backlog is sent to its end, and this batch of it is to ask for the receipt
    ASK = auto()  # it wants a receipt, or was chosen to ask for one
    LATE = auto()  # it has waited for its receipt long enough
    NEXT_MISSING = auto()  # it is the first that is not stored
    DISCONNECTED = auto()  # the connection has ended
    DELETE_FAILED = auto()  # the buffer could not delete it
    DELETE_AGAIN = auto()  # the buffer is to try again; or is not, as receipts delete from now on


QUEUED = (State.READY, State.PARKED)
IN_FLIGHT = (State.FLYING, State.FLYING_MISSED, State.FLYING_GONE)
WAITING = (State.AWAITING, State.ASKING, State.MISSED)
OUTSIDE = (State.UNTRACKED, State.UNDELETED)


@dataclass(slots=True)
class Entry:
    """One batch. `since_ms` is when it was sent, then when the broker accepted it; `live`: its lane."""

    batch: Sealed
    live: bool = False
    state: State = State.UNTRACKED
    since_ms: int = 0
    not_before_ms: int = 0
    failures: int = 0
    asks: int = 0  # how often it was sent again only to get a receipt

    def is_ready(self, now_ms: int) -> bool:
        """May be sent now, as far as its own waiting time goes."""
        return self.state in QUEUED and self.not_before_ms <= now_ms

    @property
    def is_asking(self) -> bool:
        """Is sent again unless a receipt names it in time."""
        return self.state is State.ASKING or self.state is State.MISSED


@dataclass(slots=True)
class Tracked:
    """By batch id. `confirm_interval_ms`: how often a batch wants a receipt without being told to."""

    limits: SendLimits
    confirm_interval_ms: int
    entries: dict[int, Entry] = field(default_factory=dict)
    flying: dict[int, Entry] = field(default_factory=dict)  # those of `entries` that are `IN_FLIGHT`
    undeleted: set[int] = field(default_factory=set)

    def state_of(self, batch_id: int) -> State:
        entry = self.entries.get(batch_id)
        if entry is not None:
            return entry.state
        return State.UNDELETED if batch_id in self.undeleted else State.UNTRACKED

    def add(self, batch: Sealed) -> None:
        """Make room in memory for a batch that is about to become `READY`."""
        require("tracked batches are bounded", len(self.entries) < self.limits.tracked_max, batch=batch.id)
        self.entries[batch.id] = Entry(batch)

    def move(self, batch_id: int, state: State) -> None:
        """Put a batch into `state`, which may end its time in memory."""
        entry = self.entries.get(batch_id)
        if state in IN_FLIGHT and batch_id not in self.flying:
            in_flight = len(self.flying) + 1
            require("publishes in flight are bounded", in_flight <= self.limits.in_flight_max, batch=batch_id)
        self.flying.pop(batch_id, None)
        if entry is not None:
            entry.state = state
            if state in IN_FLIGHT:
                self.flying[batch_id] = entry
        if state in OUTSIDE:
            self.entries.pop(batch_id, None)
            (self.undeleted.add if state is State.UNDELETED else self.undeleted.discard)(batch_id)

    def waiting(self) -> list[Entry]:
        """Accepted by the broker, without a receipt."""
        return [entry for entry in self.entries.values() if entry.state in WAITING]

    def unanswered(self) -> int:
        """Sent, without a receipt."""
        return sum(entry.state not in QUEUED for entry in self.entries.values())

    def counts(self) -> dict[str, int]:
        """How many are to be sent, on their way to the broker, and without a receipt."""
        flying, awaiting = len(self.flying), len(self.waiting())
        return {"ready": len(self.entries) - flying - awaiting, "flying": flying, "awaiting": awaiting}

    # Which asks

    def next_ask_ms(self) -> list[int]:
        """When `to_ask` or `late` has something to say."""
        times = [self._ask_ms(entry) for entry in self.entries.values() if entry.is_asking]
        return times if self._anyone_asks() else times + self._late_ask_ms()

    def to_ask(self, now_ms: int) -> Entry | None:
        """The batch that is to ask for a receipt because none of the others does."""
        waiting = self.waiting()
        if not waiting or self._anyone_asks():
            return None
        if len(waiting) >= self.limits.awaiting_max:
            return max(waiting, key=lambda e: e.batch.id)
        return min(waiting, key=lambda e: e.since_ms) if now_ms >= min(self._late_ask_ms()) else None

    def late(self, now_ms: int) -> list[Entry]:
        """Those that have waited long enough for a receipt."""
        return [entry for entry in self.entries.values() if entry.is_asking and self._ask_ms(entry) <= now_ms]

    def next_missing(self, now_ms: int, epoch: bytes, stored_to: int) -> list[Entry]:
        """The batch right behind all that is stored, if it was sent well before: it did not arrive.

        A receiver that names no ranges confirms nothing beyond it; and it would never ask by itself as long as later
        batches ask in vain.
        """
        return [
            entry
            for entry in self.waiting()
            if entry.batch.epoch == epoch
            and entry.batch.first == stored_to + 1
            and now_ms - entry.since_ms >= self._wait_ms(self.limits.receipt_grace_ms, entry)
        ]

    def _ask_ms(self, entry: Entry) -> int:
        missed = entry.state is State.MISSED
        first_ms = self.limits.receipt_grace_ms if missed else self.limits.receipt_timeout_ms
        return entry.since_ms + self._wait_ms(first_ms, entry)

    def _wait_ms(self, first_ms: int, entry: Entry) -> int:
        """Twice as long each time that it asked."""
        return int(min(first_ms * 2 ** min(entry.asks, 16), self.limits.receipt_timeout_max_ms))

    def _anyone_asks(self) -> bool:
        """One that asked and was refused does not: it waits with the backlog."""
        return any(
            entry.is_asking or (entry.asks > 0 and (entry.live or entry.state in IN_FLIGHT))
            for entry in self.entries.values()
        )

    def _late_ask_ms(self) -> list[int]:
        """When the one that waits longest asks if nothing else does: else it might never be known that it was lost."""
        waiting = [entry.since_ms for entry in self.waiting()]
        return [min(waiting) + max(self.limits.late_ask_ms, 2 * self.confirm_interval_ms)] if waiting else []

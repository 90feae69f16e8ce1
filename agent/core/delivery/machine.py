"""Which batch is sent when: a state machine without I/O, (now, event) -> actions.

The buffer on disk is the queue. A batch that is about to be sent, or has no receipt yet, is tracked in memory, at most
`SendLimits.tracked_max` of them. A failed publish means unknown, not undelivered: the batch is sent again. An
accepted one (PUBACK) is only with the broker. A receipt deletes. It is applied to the buffer first, and comes here as
the batches that are gone and the highest number that is stored. The newest batch goes first, so that dashboards are
live at once. Live batches do not wait; the backlog is paced. The table says all that can happen to a batch:

    UNTRACKED      not in memory: only in the buffer, or deleted
    READY          to be sent; after a failure in some seconds
    PARKED         to be sent, but was refused or failed too often: in an hour, with the backlog
    FLYING         sent, neither PUBACK nor time-out yet
    FLYING_MISSED  flying, and a receipt names later records but not these
    FLYING_GONE    flying, but needs no more delivery: it still holds its place with the client
    AWAITING       accepted, waits for a receipt
    ASKING         accepted, will be sent again if no receipt names it in time
    MISSED         accepted, but a receipt names later records and not these: will be sent again after a grace
    UNDELETED      confirmed by PUBACK (`confirm = "puback"`), but the buffer could not delete it yet
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import InitVar, dataclass, field
from typing import NamedTuple

from agent.core.delivery.actions import Action, Confirmed, Load, Publish, PublishOutcome, Reconnect, Sealed, SendLimits
from agent.core.delivery.backlog import Backlog, BacklogRead
from agent.core.delivery.pacing import BacklogPace, DenialPause
from agent.core.delivery.tracking import IN_FLIGHT, OUTSIDE, QUEUED, WAITING, BatchEvent, Entry, State, Tracked
from agent.core.invariants import require
from agent.core.time_units import MINUTE_MS, SECOND_MS


class Transition(NamedTuple):
    events: Collection[BatchEvent]
    states: Collection[State]
    after: State | None  # None: the state stays
    live: bool | None = None  # None: the lane stays


S, E = State, BatchEvent
TRACKED, STAYS, LIVE, BACKLOG = (*QUEUED, *IN_FLIGHT, *WAITING), None, True, False
ENDS = (E.ACCEPTED, E.CONFIRMED, E.FAILED, E.UNREADABLE)  # of a publish, perhaps on a connection that has ended
# fmt: off
TRANSITIONS = (
    #          what happens              to a batch that is             which is then    in lane
    Transition((E.SEALED,),              (S.UNTRACKED,),                S.READY,         LIVE),
    Transition((E.SEALED,),              TRACKED,                       STAYS,           LIVE),
    Transition((E.SEALED,),              (S.UNDELETED,),                STAYS),
    Transition((E.LOADED,),              (S.UNTRACKED,),                S.READY,         BACKLOG),
    Transition((E.LOADED,),              (*TRACKED, S.UNDELETED),       STAYS),
    Transition((E.SENT,),                QUEUED,                        S.FLYING),
    Transition((E.ACCEPTED,),            (S.FLYING,),                   S.AWAITING),
    Transition((E.ACCEPTED,),            (S.FLYING_MISSED,),            S.MISSED),
    Transition((E.ACCEPTED,),            (S.FLYING_GONE,),              S.UNTRACKED),
    Transition((E.CONFIRMED,),           IN_FLIGHT,                     S.UNTRACKED),
    Transition((E.FAILED, E.UNREADABLE), (S.FLYING, S.FLYING_MISSED),   S.READY),
    Transition((E.FAILED, E.UNREADABLE), (S.FLYING_GONE,),              S.UNTRACKED),
    Transition(ENDS,                     (*OUTSIDE, *QUEUED, *WAITING), STAYS),
    Transition((E.PARK,),                (S.READY,),                    S.PARKED,        BACKLOG),
    Transition((E.WITHDRAWN,),           TRACKED,                       S.UNTRACKED),
    Transition((E.GONE,),                (*QUEUED, *WAITING),           S.UNTRACKED),
    Transition((E.GONE,),                IN_FLIGHT,                     S.FLYING_GONE),
    Transition((E.GONE, E.WITHDRAWN),    OUTSIDE,                       STAYS),
    Transition((E.OVERTAKEN,),           (S.FLYING, S.FLYING_MISSED),   S.FLYING_MISSED),
    Transition((E.OVERTAKEN,),           (*QUEUED, S.FLYING_GONE),      STAYS),
    Transition((E.OVERTAKEN, E.DRAINED), WAITING,                       S.MISSED),
    Transition((E.ASK,),                 (S.AWAITING,),                 S.ASKING),
    Transition((E.LATE,),                (S.ASKING,),                   S.READY,         LIVE),
    Transition((E.LATE,),                (S.MISSED,),                   S.READY,         BACKLOG),
    Transition((E.NEXT_MISSING,),        WAITING,                       S.READY,         LIVE),
    Transition((E.DISCONNECTED,),        (*QUEUED, *IN_FLIGHT),         S.UNTRACKED),
    Transition((E.DISCONNECTED,),        (*WAITING, *OUTSIDE),          STAYS),
    Transition((E.DELETE_FAILED,),       (*OUTSIDE, *QUEUED),           S.UNDELETED),
    Transition((E.DELETE_FAILED,),       (*IN_FLIGHT, *WAITING),        STAYS),
    Transition((E.DELETE_AGAIN,),        (S.UNDELETED,),                S.UNTRACKED),
)
# fmt: on
STEPS = {(event, state): row for row in TRANSITIONS for event in row.events for state in row.states}


@dataclass(slots=True)
class DeliveryMachine:
    """One per uplink. Call with what happened; carry out what it returns; call `tick` at `wake_ms()`."""

    limits: SendLimits = field(default_factory=SendLimits)
    confirm_by_puback: bool = False
    confirm_interval_ms: InitVar[int] = 0
    connected: bool = False
    _tracked: Tracked = field(init=False)
    _pace: BacklogPace = field(init=False)
    _denial: DenialPause = field(init=False)
    _backlog: Backlog = field(default_factory=Backlog)
    _ack_timeouts: int = 0
    _delete_from_ms: int = 0
    _drained: bool = True  # False after a backlog batch is first sent, until the end of the backlog was asked after

    def __post_init__(self, confirm_interval_ms: int) -> None:
        self._tracked = Tracked(self.limits, confirm_interval_ms)
        self._pace = BacklogPace(self.limits.backlog_per_s)
        self._denial = DenialPause(self.limits)

    def configure(self, *, confirm_by_puback: bool, confirm_interval_ms: int) -> None:
        """What a reload of the configuration can change."""
        self.confirm_by_puback, self._tracked.confirm_interval_ms = confirm_by_puback, confirm_interval_ms
        if not confirm_by_puback:
            for batch_id in list(self._tracked.undeleted):
                self._step(E.DELETE_AGAIN, batch_id)

    # What happened

    def on_connected(self, now_ms: int) -> list[Action]:
        """The last connection has ended, also if nobody said so: what failed on it is not parked on this one."""
        self.on_disconnected()
        self.connected, self._ack_timeouts = True, 0
        self._denial.connected(now_ms)
        return self.tick(now_ms)

    def on_disconnected(self) -> None:
        self.connected = False
        for batch_id in list(self._tracked.entries):
            self._step(E.DISCONNECTED, batch_id)
        self._backlog.rewind()

    def on_sealed(self, now_ms: int, batch: Sealed) -> list[Action]:
        """A batch was sealed. Offline, or with no room in memory, it is read from the buffer later."""
        if not self.connected:
            return []
        if len(self._tracked.entries) >= self.limits.tracked_max:
            self._backlog.rewind()
        else:
            self._found(E.SEALED, batch)  # it may have been loaded, and sent, before this news of it came
        return self.tick(now_ms)

    def on_news_lost(self) -> None:
        """Batches were sealed that nobody told of: the next `tick` begins to read the buffer from the newest."""
        self._backlog.rewind()

    def on_loaded(self, now_ms: int, asked: Load, batches: Sequence[Sealed]) -> list[Action]:
        """The answer to `Load`. Fewer than asked for means that the buffer has no older ones."""
        if self.connected and self._backlog.answered(asked, batches):
            for batch in batches:
                self._found(E.LOADED, batch)
        return self.tick(now_ms)

    def on_load_failed(self, now_ms: int) -> list[Action]:
        """The buffer could not answer `Load`: it is asked again later."""
        self._backlog.failed(now_ms + self.limits.load_retry_ms)
        return self.tick(now_ms)

    def on_delete_failed(self, now_ms: int, batch_id: int) -> list[Action]:
        """The buffer could not delete a `Confirmed` batch: it is asked again later, until then the batch is not sent.

        If there are too many of these to remember, the others are sent again on the next connection.
        """
        if len(self._tracked.undeleted) < self.limits.tracked_max:
            self._step(E.DELETE_FAILED, batch_id)
        self._delete_from_ms = now_ms + self.limits.load_retry_ms
        return self.tick(now_ms)

    def on_unreadable(self, now_ms: int, batch_id: int) -> list[Action]:
        """The buffer could not give the bytes of a batch to be published: tried again later."""
        entry = self._step(E.UNREADABLE, batch_id)
        if entry is not None:
            entry.not_before_ms = now_ms + self.limits.load_retry_ms
        return self.tick(now_ms)

    def on_withdrawn(self, now_ms: int, batch_id: int) -> list[Action]:
        """A batch to be published never will be: it was not given to the client, and holds no place with it."""
        self._step(E.WITHDRAWN, batch_id)
        return self.tick(now_ms)

    def on_published(self, now_ms: int, batch_id: int, outcome: PublishOutcome) -> list[Action]:
        """A publish has ended; what ended on an earlier connection is ignored."""
        if outcome is PublishOutcome.ACCEPTED:
            return [*self._accepted(now_ms, batch_id), *self.tick(now_ms)]
        entry = self._step(E.FAILED, batch_id)
        if entry is not None:
            self._failed(now_ms, entry, outcome)
            if outcome is PublishOutcome.TIMEOUT and self._ack_timeouts >= self.limits.ack_timeouts_max:
                self._ack_timeouts = 0
                return [Reconnect(f"{self.limits.ack_timeouts_max} publishes got no PUBACK")]
        return self.tick(now_ms)

    def on_receipt(
        self, now_ms: int, epoch: bytes, gone: Iterable[int], stored_to: int, pace_per_s: float | None
    ) -> list[Action]:
        """A receipt was applied: batches `gone` need no more delivery; `stored_to` is the highest number it names.

        What was sent well before and lies below `stored_to` without being gone did not arrive: it is sent again. What
        was sent shortly before, or is on its way, is sent again when the grace is over and no receipt has named it.
        """
        self._pace.asked_per_s = pace_per_s
        self.forget(gone)
        for entry in self._tracked.next_missing(now_ms, epoch, stored_to):
            entry.asks += 1
            self._step(E.NEXT_MISSING, entry.batch.id)
        for batch in [entry.batch for entry in self._tracked.entries.values()]:
            if batch.epoch == epoch and batch.last < stored_to:
                self._step(E.OVERTAKEN, batch.id)
        return self.tick(now_ms)

    def forget(self, batch_ids: Iterable[int]) -> None:
        """These batches need no more delivery. One that is on its way still holds its place with the client."""
        for batch_id in batch_ids:
            self._step(E.GONE, batch_id)

    # What to do

    def tick(self, now_ms: int) -> list[Action]:
        """All that is due now."""
        if not self.connected:
            return []
        if any(now_ms - entry.since_ms >= self.limits.flying_max_ms for entry in self._tracked.flying.values()):
            return [Reconnect("a publish got neither PUBACK nor time-out")]
        self._ask_again(now_ms)
        actions = self._deletes(now_ms)
        if now_ms >= self._denial.until_ms:
            actions += self._publishes(now_ms)
        if self._wants_load(now_ms) and now_ms >= self._backlog.from_ms:
            actions.append(self._backlog.ask(self.limits.load_count))
        self._ask_after_drain(now_ms)
        return actions

    def wake_ms(self, now_ms: int) -> int | None:
        """When `tick` has something to do at the latest; None while only an event can bring work."""
        if not self.connected:
            return None
        times: list[float] = [entry.since_ms + self.limits.flying_max_ms for entry in self._tracked.flying.values()]
        if self._room() > 0:
            halted = self._halted()
            for entry in self._tracked.entries.values():
                if entry.state in QUEUED and (entry.live or not halted):
                    paced = 0 if entry.live else self._pace.next_ms
                    times.append(max(entry.not_before_ms, self._denial.until_ms, paced))
        times += self._tracked.next_ask_ms()
        if self._tracked.undeleted:
            times.append(self._delete_from_ms)
        if self._wants_load(now_ms):
            times.append(self._backlog.from_ms)
        return None if not times else max(now_ms, int(min(times)) + 1)

    def counts(self) -> dict[str, int]:
        return self._tracked.counts()

    # Inside

    def _found(self, event: BatchEvent, batch: Sealed) -> None:
        if self._tracked.state_of(batch.id) is S.UNTRACKED:
            self._tracked.add(batch)
        self._step(event, batch.id)

    def _step(self, event: BatchEvent, batch_id: int) -> Entry | None:
        """Do to a batch what the table says; returns its entry unless its state stays."""
        entry, before = self._tracked.entries.get(batch_id), self._tracked.state_of(batch_id)
        fits = (event, before) in STEPS
        require("delivery has a transition for what happens", fits, batch=batch_id, state=before, event=event)
        row = STEPS[event, before]
        if row.after is not None:
            self._tracked.move(batch_id, row.after)
        if entry is not None and row.live is not None:
            entry.live = row.live
        return None if row.after is None else entry

    def _wants_load(self, now_ms: int) -> bool:
        if self._backlog.state is not BacklogRead.MORE:
            return False
        room = len(self._tracked.entries) + self.limits.load_count <= self.limits.tracked_max
        return room and sum(e.is_ready(now_ms) for e in self._tracked.entries.values()) < self.limits.in_flight_max

    def _deletes(self, now_ms: int) -> list[Action]:
        if now_ms < self._delete_from_ms:
            return []
        due = sorted(self._tracked.undeleted)[: self.limits.load_count]
        for batch_id in due:
            self._step(E.DELETE_AGAIN, batch_id)
        return [Confirmed(batch_id) for batch_id in due]

    def _publishes(self, now_ms: int) -> list[Action]:
        room = self._room()
        ready = [entry for entry in self._tracked.entries.values() if entry.is_ready(now_ms)]
        actions: list[Action] = []
        for entry in sorted(ready, key=lambda e: e.batch.id, reverse=True):
            if room <= 0:
                break
            if not entry.live and (self._halted() or not self._pace.may_send(now_ms)):
                continue
            self._step(E.SENT, entry.batch.id)
            entry.since_ms = now_ms
            self._drained = self._drained and (entry.live or entry.asks > 0)
            actions.append(Publish(entry.batch.id))
            room -= 1
        return actions

    def _room(self) -> int:
        """Publishes that may start now."""
        return self._denial.in_flight_max() - len(self._tracked.flying)

    def _halted(self) -> bool:
        """So many are without a receipt that the backlog waits for the cloud to answer."""
        return not self.confirm_by_puback and self._tracked.unanswered() >= self.limits.awaiting_max

    def _accepted(self, now_ms: int, batch_id: int) -> list[Action]:
        was_gone = self._tracked.state_of(batch_id) is S.FLYING_GONE
        entry = self._step(E.CONFIRMED if self.confirm_by_puback else E.ACCEPTED, batch_id)
        if entry is None:
            return []
        self._ack_timeouts = entry.failures = 0
        self._denial.accepted()
        entry.since_ms = now_ms
        if entry.state is S.AWAITING and (entry.batch.confirm_wanted or entry.asks):
            self._step(E.ASK, batch_id)
        return [Confirmed(batch_id)] if self.confirm_by_puback and not was_gone else []

    def _failed(self, now_ms: int, entry: Entry, outcome: PublishOutcome) -> None:
        entry.failures += 1
        if outcome is PublishOutcome.TIMEOUT:
            self._ack_timeouts += 1
        if outcome in (PublishOutcome.DENIED, PublishOutcome.BUSY):
            self._denial.denied(now_ms)
        elif entry.failures >= self.limits.park_after or outcome is PublishOutcome.REFUSED:
            entry.failures, entry.not_before_ms = 0, now_ms + self.limits.park_ms
            if entry.state is S.READY:
                self._step(E.PARK, entry.batch.id)
        else:
            entry.not_before_ms = now_ms + min(SECOND_MS * 2**entry.failures, MINUTE_MS)

    def _ask_again(self, now_ms: int) -> None:
        """Send again what has waited long enough for a receipt."""
        chosen = self._tracked.to_ask(now_ms)
        if chosen is not None:
            chosen.asks += 1
            self._step(E.ASK, chosen.batch.id)
        for entry in self._tracked.late(now_ms):
            entry.asks += 1
            self._step(E.LATE, entry.batch.id)

    def _ask_after_drain(self, now_ms: int) -> None:
        """The backlog is sent to its end: one batch of it asks for the receipt that none of them may have wanted."""
        if self._drained or self._backlog.state is not BacklogRead.END or self._tracked.flying:
            return
        backlog = [entry for entry in self._tracked.entries.values() if not entry.live]
        if any(entry.is_ready(now_ms) for entry in backlog):
            return
        self._drained = True
        waiting = [entry for entry in backlog if entry.state in WAITING]
        if waiting:
            self._step(E.DRAINED, max(waiting, key=lambda e: e.since_ms).batch.id)

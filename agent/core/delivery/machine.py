"""Which batch is sent when: a state machine without I/O, (now, event) -> actions.

The buffer on disk is the queue. In memory are only the batches that are on their way, at most
`Limits.tracked_max`: READY (loaded, not sent), FLYING (sent, no PUBACK) and AWAITING (PUBACK, no receipt). On a
disconnect all but AWAITING is forgotten and read again later: a failed publish means unknown, not undelivered.
A PUBACK deletes nothing: it only says that the broker has the message. The receipt deletes, in the buffer.

Newest first, so that dashboards are live at once; the backlog is paced; a batch that never gets an answer is parked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import InitVar, dataclass, field

from agent.core.delivery.actions import (
    MINUTE_MS,
    Action,
    Confirmed,
    Limits,
    Load,
    Outcome,
    Publish,
    Reconnect,
    Sealed,
)
from agent.core.delivery.tracking import Entry, State, Tracked


@dataclass(slots=True)
class Delivery:
    """One per uplink. Call with what happened; carry out what it returns; call `tick` at `wake_ms()`."""

    limits: Limits = field(default_factory=Limits)
    confirm_by_puback: bool = False
    confirm_interval_ms: InitVar[int] = 0
    connected: bool = False
    _tracked: Tracked = field(init=False)
    _cursor: int | None = None
    _loading: bool = False
    _exhausted: bool = False
    _load_from_ms: int = 0
    _pace_per_s: float | None = None
    _next_backlog_ms: float = 0.0
    _paused_until_ms: int = 0
    _denied: int = 0
    _ack_timeouts: int = 0
    _undeleted: set[int] = field(default_factory=set)  # `Confirmed`, but the buffer could not
    _delete_from_ms: int = 0
    _drained: bool = True  # False from a backlog batch first sent until the end of the backlog was asked after

    def __post_init__(self, confirm_interval_ms: int) -> None:
        self._tracked = Tracked(self.limits, confirm_interval_ms)

    def configure(self, *, confirm_by_puback: bool, confirm_interval_ms: int) -> None:
        """What a reload of the configuration can change."""
        self.confirm_by_puback, self._tracked.confirm_interval_ms = confirm_by_puback, confirm_interval_ms
        if not confirm_by_puback:
            self._undeleted.clear()

    # What happened

    def on_connected(self, now_ms: int) -> list[Action]:
        """The last connection has ended, told or not: what failed on it is not parked on this one."""
        self.on_disconnected()
        self.connected, self._ack_timeouts = True, 0
        self._paused_until_ms = now_ms if not self._denied else self._paused_until_ms
        return self.tick(now_ms)

    def on_disconnected(self) -> None:
        self.connected = False
        self._tracked.entries = {entry.batch.id: entry for entry in self._tracked.having(State.AWAITING)}
        self._rewind()

    def on_sealed(self, now_ms: int, batch: Sealed) -> list[Action]:
        """A batch was sealed. Offline it just stays in the buffer."""
        if not self.connected:
            return []
        if len(self._tracked.entries) >= self.limits.tracked_max:
            self._rewind()
            return self.tick(now_ms)
        known = self._tracked.entries.setdefault(batch.id, Entry(batch, live=True))
        known.live = True  # it may have been loaded, and be on its way, before the news of it came
        return self.tick(now_ms)

    def on_news_lost(self) -> None:
        """Batches were sealed that nobody told of: the next `tick` begins to read the buffer from the newest."""
        self._rewind()

    def on_loaded(self, now_ms: int, asked: Load, batches: Sequence[Sealed]) -> list[Action]:
        """The answer to `Load`. Fewer than asked for means that the buffer has no older ones."""
        self._loading = False
        if not self.connected or asked.below_id != self._cursor:
            return self.tick(now_ms)
        self._exhausted = len(batches) < asked.limit
        if batches:
            self._cursor = batches[-1].id
        for batch in batches:
            if batch.id not in self._tracked.entries and batch.id not in self._undeleted:
                self._tracked.entries[batch.id] = Entry(batch, live=False)
        return self.tick(now_ms)

    def on_load_failed(self, now_ms: int) -> list[Action]:
        """The buffer could not answer `Load`: asked again after a while."""
        self._loading, self._load_from_ms = False, now_ms + self.limits.load_retry_ms
        return self.tick(now_ms)

    def on_delete_failed(self, now_ms: int, batch_id: int) -> list[Action]:
        """The buffer could not delete a `Confirmed` batch: asked to again after a while, and not sent again till then.

        So many that they do not fit in memory are sent again with the next connection.
        """
        if len(self._undeleted) < self.limits.tracked_max:
            self._undeleted.add(batch_id)
        self._delete_from_ms = now_ms + self.limits.load_retry_ms
        return self.tick(now_ms)

    def on_unreadable(self, now_ms: int, batch_id: int) -> list[Action]:
        """The buffer could not give the bytes of a batch to be published: tried again after a while."""
        entry = self._tracked.entries.get(batch_id)
        if entry is not None and entry.state is State.FLYING:
            entry.state, entry.not_before_ms = State.READY, now_ms + self.limits.load_retry_ms
        return self.tick(now_ms)

    def on_withdrawn(self, now_ms: int, batch_id: int) -> list[Action]:
        """A batch to be published never will be: it was not given to the client, and holds no place with it."""
        self._tracked.entries.pop(batch_id, None)
        return self.tick(now_ms)

    def on_published(self, now_ms: int, batch_id: int, outcome: Outcome) -> list[Action]:
        entry = self._tracked.entries.get(batch_id)
        if entry is None or entry.state is not State.FLYING:
            return self.tick(now_ms)
        if outcome is Outcome.ACCEPTED:
            return self._accepted(now_ms, entry)
        if entry.gone:
            del self._tracked.entries[batch_id]
        entry.state, entry.since_ms = State.READY, now_ms
        self._failed(now_ms, entry, outcome)
        if outcome is Outcome.TIMEOUT and self._ack_timeouts >= self.limits.ack_timeouts_max:
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
        self._pace_per_s = pace_per_s
        self.forget(gone)
        self._tracked.send_next_again(now_ms, epoch, stored_to)
        for entry in self._tracked.entries.values():
            if entry.state is not State.READY and entry.batch.epoch == epoch and entry.batch.last < stored_to:
                entry.missed = True
        return self.tick(now_ms)

    def forget(self, batch_ids: Iterable[int]) -> None:
        """These batches need no more delivery. One that is on its way still holds its place with the client."""
        for batch_id in batch_ids:
            entry = self._tracked.entries.get(batch_id)
            if entry is not None and entry.state is State.FLYING:
                entry.gone = True
            elif entry is not None:
                del self._tracked.entries[batch_id]

    # What to do

    def tick(self, now_ms: int) -> list[Action]:
        """All that is due now."""
        if not self.connected:
            return []
        if any(now_ms - entry.since_ms >= self.limits.flying_max_ms for entry in self._tracked.having(State.FLYING)):
            return [Reconnect("a publish got neither PUBACK nor time-out")]
        self._tracked.ask_again(now_ms)
        actions = self._deletes(now_ms)
        if now_ms >= self._paused_until_ms:
            actions += self._publishes(now_ms)
        if self._wants_load(now_ms) and now_ms >= self._load_from_ms:
            self._loading = True
            actions.append(Load(self._cursor, self.limits.load_count))
        self._ask_after_drain(now_ms)
        return actions

    def wake_ms(self, now_ms: int) -> int | None:
        """When `tick` has something to do at the latest; None while only an event can bring work."""
        if not self.connected:
            return None
        times: list[float] = [
            entry.since_ms + self.limits.flying_max_ms for entry in self._tracked.having(State.FLYING)
        ]
        if self._room() > 0:
            halted = self._halted()
            for entry in self._tracked.entries.values():
                if entry.state is State.READY and (entry.live or not halted):
                    paced = 0 if entry.live else self._next_backlog_ms
                    times.append(max(entry.not_before_ms, self._paused_until_ms, paced))
        times += self._tracked.next_ask_ms()
        if self._undeleted:
            times.append(self._delete_from_ms)
        if self._wants_load(now_ms):
            times.append(self._load_from_ms)
        return None if not times else max(now_ms, int(min(times)) + 1)

    def counts(self) -> dict[str, int]:
        """Tracked batches by state, for `status`."""
        return self._tracked.counts()

    # Inside

    def _rewind(self) -> None:
        self._cursor, self._exhausted, self._loading, self._load_from_ms = None, False, False, 0

    def _wants_load(self, now_ms: int) -> bool:
        ready = sum(entry.is_ready(now_ms) for entry in self._tracked.entries.values())
        room = len(self._tracked.entries) + self.limits.load_count <= self.limits.tracked_max
        return not (self._loading or self._exhausted) and room and ready < self.limits.in_flight_max

    def _deletes(self, now_ms: int) -> list[Action]:
        if now_ms < self._delete_from_ms:
            return []
        due = sorted(self._undeleted)[: self.limits.load_count]
        self._undeleted.difference_update(due)
        return [Confirmed(batch_id) for batch_id in due]

    def _publishes(self, now_ms: int) -> list[Action]:
        room = self._room()
        ready = [entry for entry in self._tracked.entries.values() if entry.is_ready(now_ms)]
        actions: list[Action] = []
        for entry in sorted(ready, key=lambda e: e.batch.id, reverse=True):
            if room <= 0:
                break
            if not entry.live and not self._may_send_backlog(now_ms):
                continue
            entry.state, entry.since_ms, entry.missed = State.FLYING, now_ms, False
            self._drained = self._drained and (entry.live or entry.asks > 0)
            actions.append(Publish(entry.batch.id))
            room -= 1
        return actions

    def _room(self) -> int:
        """Publishes that may start now; after a denial one at a time, as a probe."""
        return (1 if self._denied else self.limits.in_flight_max) - len(self._tracked.having(State.FLYING))

    def _halted(self) -> bool:
        """So much is without a receipt that the backlog waits for the cloud to answer."""
        unanswered = sum(entry.state is not State.READY for entry in self._tracked.entries.values())
        return not self.confirm_by_puback and unanswered >= self.limits.awaiting_max

    def _may_send_backlog(self, now_ms: int) -> bool:
        if self._halted() or now_ms < self._next_backlog_ms:
            return False
        rate = self.limits.backlog_per_s
        if self._pace_per_s is not None:
            rate = min(rate, max(self._pace_per_s, 0.001))
        self._next_backlog_ms = max(self._next_backlog_ms + 1000 / rate, now_ms - 1000 / rate)
        return True

    def _accepted(self, now_ms: int, entry: Entry) -> list[Action]:
        self._denied = self._ack_timeouts = entry.failures = 0
        if entry.gone:
            del self._tracked.entries[entry.batch.id]
            return self.tick(now_ms)
        if self.confirm_by_puback:
            del self._tracked.entries[entry.batch.id]
            return [Confirmed(entry.batch.id), *self.tick(now_ms)]
        entry.state, entry.since_ms = State.AWAITING, now_ms
        return self.tick(now_ms)

    def _failed(self, now_ms: int, entry: Entry, outcome: Outcome) -> None:
        entry.failures += 1
        if outcome is Outcome.TIMEOUT:
            self._ack_timeouts += 1
        if outcome in (Outcome.DENIED, Outcome.BUSY):
            self._denied += 1
            pause_ms = min(
                self.limits.denied_pause_ms * 2 ** min(self._denied - 1, 16), self.limits.denied_pause_max_ms
            )
            self._paused_until_ms = now_ms + pause_ms
        elif entry.failures >= self.limits.park_after or outcome is Outcome.REFUSED:
            entry.failures, entry.not_before_ms, entry.live = 0, now_ms + self.limits.park_ms, False
        else:
            entry.not_before_ms = now_ms + min(1000 * 2**entry.failures, MINUTE_MS)

    def _ask_after_drain(self, now_ms: int) -> None:
        """The backlog is sent to its end: one batch of it asks for the receipt that none of them may have wanted."""
        if self._drained or not self._exhausted or self._tracked.having(State.FLYING):
            return
        backlog = [entry for entry in self._tracked.entries.values() if not entry.live]
        if any(entry.is_ready(now_ms) for entry in backlog):
            return
        self._drained = True
        waiting = [entry for entry in backlog if entry.state is State.AWAITING]
        if waiting:
            max(waiting, key=lambda e: e.since_ms).missed = True

"""Which batch is sent when: a state machine without I/O, (now, event) -> actions.

The buffer on disk is the queue. In memory are only the batches that are on their way, at most
`Limits.tracked_max`: READY (loaded, not sent), FLYING (sent, no PUBACK) and AWAITING (PUBACK, no receipt). On a
disconnect all but AWAITING is forgotten and read again later: a failed publish means unknown, not undelivered.
A PUBACK deletes nothing: it only says that the broker has the message. The receipt deletes, in the buffer.

Newest first, so that dashboards are live at once; the backlog is paced; a batch that never gets an answer is parked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from agent.core.delivery_actions import (
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


class _State(Enum):
    READY = 0
    FLYING = 1
    AWAITING = 2


@dataclass(slots=True)
class _Entry:
    batch: Sealed
    live: bool
    state: _State = _State.READY
    since_ms: int = 0
    not_before_ms: int = 0
    failures: int = 0
    asks: int = 0  # times that it was sent again only to be answered
    missed: bool = False  # a receipt did not name it, but came too soon after it was sent to mean anything
    gone: bool = False  # needs no more delivery, but its publish has not ended yet


@dataclass(slots=True)
class Delivery:
    """One per uplink. Call with what happened; carry out what it returns; call `tick` at `wake_ms()`."""

    limits: Limits = field(default_factory=Limits)
    confirm_by_puback: bool = False
    connected: bool = False
    _entries: dict[int, _Entry] = field(default_factory=dict)
    _cursor: int | None = None
    _loading: bool = False
    _exhausted: bool = False
    _load_from_ms: int = 0
    _pace_per_s: float | None = None
    _next_backlog_ms: float = 0.0
    _paused_until_ms: int = 0
    _denied: int = 0
    _ack_timeouts: int = 0
    _drained: bool = True  # False from a backlog batch first sent until the end of the backlog was asked after

    # What happened

    def on_connected(self, now_ms: int) -> list[Action]:
        self.connected, self._ack_timeouts = True, 0
        self._paused_until_ms = now_ms if not self._denied else self._paused_until_ms
        self._rewind()
        return self.tick(now_ms)

    def on_disconnected(self) -> None:
        self.connected = False
        self._entries = {key: entry for key, entry in self._entries.items() if entry.state is _State.AWAITING}
        self._rewind()

    def on_sealed(self, now_ms: int, batch: Sealed) -> list[Action]:
        """A batch was sealed. Offline it just stays in the buffer."""
        if not self.connected:
            return []
        if len(self._entries) >= self.limits.tracked_max:
            self._rewind()
            return self.tick(now_ms)
        known = self._entries.setdefault(batch.id, _Entry(batch, live=True))
        known.live = True  # it may have been loaded, and be on its way, before the news of it came
        return self.tick(now_ms)

    def on_loaded(self, now_ms: int, asked: Load, batches: Sequence[Sealed]) -> list[Action]:
        """The answer to `Load`. Fewer than asked for means that the buffer has no older ones."""
        self._loading = False
        if not self.connected or asked.below_id != self._cursor:
            return self.tick(now_ms)
        self._exhausted = len(batches) < asked.limit
        if batches:
            self._cursor = batches[-1].id
        for batch in batches:
            if batch.id not in self._entries:
                self._entries[batch.id] = _Entry(batch, live=False)
        return self.tick(now_ms)

    def on_load_failed(self, now_ms: int) -> list[Action]:
        """The buffer could not answer `Load`: asked again after a while."""
        self._loading, self._load_from_ms = False, now_ms + self.limits.load_retry_ms
        return self.tick(now_ms)

    def on_unreadable(self, now_ms: int, batch_id: int) -> list[Action]:
        """The buffer could not give the bytes of a batch to be published: tried again after a while."""
        entry = self._entries.get(batch_id)
        if entry is not None and entry.state is _State.FLYING:
            entry.state, entry.not_before_ms = _State.READY, now_ms + self.limits.load_retry_ms
        return self.tick(now_ms)

    def on_withdrawn(self, now_ms: int, batch_id: int) -> list[Action]:
        """A batch to be published never will be: it was not given to the client, and holds no place with it."""
        self._entries.pop(batch_id, None)
        return self.tick(now_ms)

    def on_published(self, now_ms: int, batch_id: int, outcome: Outcome) -> list[Action]:
        entry = self._entries.get(batch_id)
        if entry is None or entry.state is not _State.FLYING:
            return self.tick(now_ms)
        if outcome is Outcome.ACCEPTED:
            return self._accepted(now_ms, entry)
        if entry.gone:
            del self._entries[batch_id]
        entry.state, entry.since_ms = _State.READY, now_ms
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
        for entry in self._entries.values():
            if entry.state is not _State.READY and entry.batch.epoch == epoch and entry.batch.last < stored_to:
                entry.missed = True
        return self.tick(now_ms)

    def forget(self, batch_ids: Iterable[int]) -> None:
        """These batches need no more delivery. One that is on its way still holds its place with the client."""
        for batch_id in batch_ids:
            entry = self._entries.get(batch_id)
            if entry is not None and entry.state is _State.FLYING:
                entry.gone = True
            elif entry is not None:
                del self._entries[batch_id]

    # What to do

    def tick(self, now_ms: int) -> list[Action]:
        """All that is due now."""
        if not self.connected:
            return []
        if any(now_ms - since_ms >= self.limits.flying_max_ms for since_ms in self._flying_since()):
            return [Reconnect("a publish got neither PUBACK nor time-out")]
        self._ask_again(now_ms)
        actions: list[Action] = []
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
        times: list[float] = [since_ms + self.limits.flying_max_ms for since_ms in self._flying_since()]
        if self._room() > 0:
            halted = self._halted()
            for entry in self._entries.values():
                if entry.state is _State.READY and (entry.live or not halted):
                    paced = 0 if entry.live else self._next_backlog_ms
                    times.append(max(entry.not_before_ms, self._paused_until_ms, paced))
        times += [self._ask_at(entry) for entry in self._entries.values() if self._asks(entry)]
        if not self._anyone_asks():
            times += self._late_ask_at()
        if self._wants_load(now_ms):
            times.append(self._load_from_ms)
        return None if not times else max(now_ms, int(min(times)) + 1)

    def counts(self) -> dict[str, int]:
        """Tracked batches by state, for `status`."""
        tally = dict.fromkeys((state.name.lower() for state in _State), 0)
        for entry in self._entries.values():
            tally[entry.state.name.lower()] += 1
        return tally

    # Inside

    def _rewind(self) -> None:
        self._cursor, self._exhausted, self._loading, self._load_from_ms = None, False, False, 0

    def _flying(self) -> int:
        return len(self._flying_since())

    def _flying_since(self) -> list[int]:
        return [entry.since_ms for entry in self._entries.values() if entry.state is _State.FLYING]

    def _awaiting(self) -> int:
        return sum(entry.state is _State.AWAITING for entry in self._entries.values())

    def _wants_load(self, now_ms: int) -> bool:
        ready = sum(self._is_ready(entry, now_ms) for entry in self._entries.values())
        room = len(self._entries) + self.limits.load_count <= self.limits.tracked_max
        return not (self._loading or self._exhausted) and room and ready < self.limits.in_flight_max

    @staticmethod
    def _is_ready(entry: _Entry, now_ms: int) -> bool:
        """To be sent, and not parked."""
        return entry.state is _State.READY and entry.not_before_ms <= now_ms

    def _publishes(self, now_ms: int) -> list[Action]:
        room = self._room()
        ready = [entry for entry in self._entries.values() if self._is_ready(entry, now_ms)]
        actions: list[Action] = []
        for entry in sorted(ready, key=lambda e: e.batch.id, reverse=True):
            if room <= 0:
                break
            if not entry.live and not self._may_send_backlog(now_ms):
                continue
            entry.state, entry.since_ms, entry.missed = _State.FLYING, now_ms, False
            self._drained = self._drained and (entry.live or entry.asks > 0)
            actions.append(Publish(entry.batch.id))
            room -= 1
        return actions

    def _room(self) -> int:
        """Publishes that may start now; after a denial one at a time, as a probe."""
        return (1 if self._denied else self.limits.in_flight_max) - self._flying()

    def _halted(self) -> bool:
        """So much is without a receipt that the backlog waits for the cloud to answer."""
        return not self.confirm_by_puback and self._awaiting() + self._flying() >= self.limits.awaiting_max

    def _may_send_backlog(self, now_ms: int) -> bool:
        if self._halted() or now_ms < self._next_backlog_ms:
            return False
        rate = self.limits.backlog_per_s
        if self._pace_per_s is not None:
            rate = min(rate, max(self._pace_per_s, 0.001))
        self._next_backlog_ms = max(self._next_backlog_ms + 1000 / rate, now_ms - 1000 / rate)
        return True

    def _accepted(self, now_ms: int, entry: _Entry) -> list[Action]:
        self._denied = self._ack_timeouts = entry.failures = 0
        if entry.gone:
            del self._entries[entry.batch.id]
            return self.tick(now_ms)
        if self.confirm_by_puback:
            del self._entries[entry.batch.id]
            return [Confirmed(entry.batch.id), *self.tick(now_ms)]
        entry.state, entry.since_ms = _State.AWAITING, now_ms
        return self.tick(now_ms)

    def _failed(self, now_ms: int, entry: _Entry, outcome: Outcome) -> None:
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

    # A batch that wants a receipt and gets none is sent again: the receiver answers whatever it has already.

    def _asks(self, entry: _Entry) -> bool:
        return entry.state is _State.AWAITING and (entry.batch.confirm_wanted or entry.missed or entry.asks > 0)

    def _ask_at(self, entry: _Entry) -> int:
        first_ms = self.limits.receipt_grace_ms if entry.missed else self.limits.receipt_timeout_ms
        wait_ms: int = min(first_ms * 2 ** min(entry.asks, 16), self.limits.receipt_timeout_max_ms)
        return entry.since_ms + wait_ms

    def _ask_after_drain(self, now_ms: int) -> None:
        """The backlog is sent to its end: one batch of it asks for the receipt that none of them may have wanted."""
        if self._drained or not self._exhausted or self._flying():
            return
        backlog = [entry for entry in self._entries.values() if not entry.live]
        if any(self._is_ready(entry, now_ms) for entry in backlog):
            return
        self._drained = True
        waiting = [entry for entry in backlog if entry.state is _State.AWAITING]
        if waiting:
            max(waiting, key=lambda e: e.since_ms).missed = True

    def _anyone_asks(self) -> bool:
        """One that asked and was refused does not: it waits with the backlog."""
        return any(
            self._asks(entry) or (entry.asks > 0 and (entry.live or entry.state is _State.FLYING))
            for entry in self._entries.values()
        )

    def _late_ask_at(self) -> list[int]:
        """When the longest waiting asks, if nothing else does: no later receipt need ever show that it was lost."""
        waiting = [entry.since_ms for entry in self._entries.values() if entry.state is _State.AWAITING]
        return [min(waiting) + self.limits.late_ask_ms] if waiting else []

    def _ask_again(self, now_ms: int) -> None:
        waiting = [entry for entry in self._entries.values() if entry.state is _State.AWAITING]
        if waiting and not self._anyone_asks():
            if len(waiting) >= self.limits.awaiting_max:
                max(waiting, key=lambda e: e.batch.id).asks += 1
            elif now_ms >= min(self._late_ask_at()):
                min(waiting, key=lambda e: e.since_ms).asks += 1
        for entry in waiting:
            if self._asks(entry) and self._ask_at(entry) <= now_ms:
                entry.state, entry.since_ms, entry.live = _State.READY, now_ms, not entry.missed
                entry.missed = False
                entry.asks += 1

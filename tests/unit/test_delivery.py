"""The delivery machine as timetables: what happens at which moment, and what it then does."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest

from agent.core.delivery import Delivery
from agent.core.delivery_actions import MINUTE_MS, Action, Confirmed, Limits, Load, Outcome, Publish, Reconnect, Sealed

EPOCH = b"epoch--1"
LIMITS = Limits()
FAST = replace(LIMITS, backlog_per_s=1e6)
START_MS = 1_000_000


def sealed(batch_id: int, *, wanted: bool = False, epoch: bytes = EPOCH) -> Sealed:
    """Batch `n` holds records 10n-9 .. 10n."""
    return Sealed(batch_id, epoch, 10 * batch_id - 9, 10 * batch_id, 3000, wanted)


class Box:
    """The machine with a buffer that always answers, and a clock."""

    def __init__(self, *batches: Sealed, limits: Limits = LIMITS, puback: bool = False) -> None:
        self.delivery = Delivery(limits, confirm_by_puback=puback)
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
        return sent

    def below(self, asked: Load) -> list[Sealed]:
        older = [batch for batch in self.stored if asked.below_id is None or batch.id < asked.below_id]
        return sorted(older, key=lambda batch: -batch.id)[: asked.limit]

    def connect(self) -> list[int]:
        return self.act(self.delivery.on_connected(self.now_ms))

    def seal(self, batch: Sealed) -> list[int]:
        self.stored.append(batch)
        return self.act(self.delivery.on_sealed(self.now_ms, batch))

    def answer(self, batch_id: int, outcome: Outcome = Outcome.ACCEPTED) -> list[int]:
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


# Offline


def test_offline_nothing_is_done_and_nothing_remembered() -> None:
    box = Box()
    assert box.seal(sealed(1)) == []
    assert box.delivery.tick(5) == []
    assert box.delivery.wake_ms(5) is None
    assert box.counts == (0, 0, 0)


# What is sent, and when


def test_a_batch_sealed_while_connected_is_sent_at_once() -> None:
    box = Box()
    box.connect()
    assert box.seal(sealed(1)) == [1]
    assert box.counts == (0, 1, 0)


def test_on_connecting_the_backlog_is_loaded_newest_first() -> None:
    box = Box(*map(sealed, range(1, 101)))
    assert box.connect() == [100, 99, 98]
    assert box.done[0] == Load(None, LIMITS.load_count)


def test_the_backlog_is_paced_and_never_more_than_a_few_are_in_flight() -> None:
    box = Box(*map(sealed, range(1, 101)))
    box.connect()
    sent = box.pass_ms(10_000)
    assert [batch_id for _, batch_id in sent] == [97, 96, 95, 94, 93]
    assert all(20 <= later - sooner <= 21 for (sooner, _), (later, _) in itertools.pairwise(sent))
    assert box.counts[1] == LIMITS.in_flight_max


def test_a_long_backlog_takes_as_long_as_its_rate_says() -> None:
    """1,000 batches, each confirmed at once: 20 seconds."""
    box = Box(*map(sealed, range(1, 1_001)))
    flying = box.connect()
    while box.stored:
        flying = flying or [box.sent_next()[1]]
        flying += box.answer(flying[0])
        flying += box.receipt(flying.pop(0), to=0)
    assert 19_000 <= box.now_ms - START_MS <= 21_000


def test_live_batches_do_not_wait_for_the_backlogs_pace() -> None:
    box = Box(*map(sealed, range(1, 101)))
    box.connect()
    assert box.seal(sealed(101)) == [101]
    assert box.seal(sealed(102)) == [102]


def test_the_cloud_can_slow_the_backlog_down_and_let_it_go_again() -> None:
    box = Box(*map(sealed, range(1, 11)))
    box.connect()
    box.receipt(to=0, pace=0.5)
    sent = box.pass_ms(7_000)
    assert [batch_id for _, batch_id in sent] == [7, 6, 5, 4]
    assert [later - sooner for (sooner, _), (later, _) in itertools.pairwise(sent)] == pytest.approx([2_000] * 3, abs=2)
    box.receipt(to=0, pace=None)
    assert box.pass_ms(2_001) == [(pytest.approx(1_000, abs=50), 3)]


def test_a_pace_beyond_the_limit_is_not_followed() -> None:
    box = Box(*map(sealed, range(1, 101)))
    box.connect()
    box.receipt(to=0, pace=1e6)
    assert len(box.pass_ms(60)) == 2


def test_loading_goes_on_where_it_stopped_until_the_end() -> None:
    box = Box(*map(sealed, range(1, 8)), limits=replace(FAST, load_count=3, in_flight_max=2))
    assert accept_all(box, box.connect()) == [7, 6, 5, 4, 3, 2, 1]
    assert [action.below_id for action in box.done if isinstance(action, Load)] == [None, 5, 2]


def test_a_stale_answer_to_a_load_is_not_taken() -> None:
    box = Box()
    (asked,) = box.delivery.on_connected(0)
    assert isinstance(asked, Load)
    box.delivery.on_disconnected()
    assert box.delivery.on_loaded(0, asked, [sealed(1)]) == []
    assert box.counts == (0, 0, 0)


def test_a_load_that_fails_is_tried_again_later_and_at_once_after_a_reconnect() -> None:
    box = Box(sealed(1))
    box.delivery.on_connected(box.now_ms)
    assert box.delivery.on_load_failed(box.now_ms) == []
    assert box.sent_next() == (LIMITS.load_retry_ms + 1, 1)
    box.delivery.on_disconnected()
    box.delivery.on_connected(box.now_ms)
    box.delivery.on_load_failed(box.now_ms)
    box.delivery.on_disconnected()
    assert isinstance(box.delivery.on_connected(box.now_ms)[0], Load)


def test_a_batch_that_was_loaded_before_the_news_of_it_came_is_not_sent_twice() -> None:
    box = Box(sealed(1))
    assert box.connect() == [1]
    assert box.act(box.delivery.on_sealed(0, sealed(1))) == []
    assert box.counts == (0, 1, 0)
    box.answer(1)
    assert box.act(box.delivery.on_sealed(0, sealed(1))) == []
    assert box.counts == (0, 0, 1)


def test_memory_is_bounded_and_what_did_not_fit_is_read_from_the_buffer_later() -> None:
    limits = replace(LIMITS, tracked_max=40, awaiting_max=20, load_count=8)
    box = Box(limits=limits)
    box.connect()
    for batch_id in range(1, 101):
        for one in box.seal(sealed(batch_id)):
            box.answer(one)
        assert sum(box.counts) <= limits.tracked_max
    assert sum(box.counts) > limits.tracked_max - limits.load_count
    sent = box.receipt(*range(1, 31), to=300)
    assert set(sent) <= set(range(31, 101))
    assert sent
    assert sum(box.counts) <= limits.tracked_max


# Answers of the broker


def test_a_puback_deletes_nothing_and_only_a_receipt_ends_a_batch() -> None:
    box = Box()
    box.connect()
    box.seal(sealed(1))
    assert box.answer(1) == []
    assert box.counts == (0, 0, 1)
    assert not [action for action in box.done if isinstance(action, Confirmed)]
    box.receipt(1, to=10)
    assert box.counts == (0, 0, 0)


def test_where_the_brokers_word_is_enough_a_puback_ends_it() -> None:
    box = Box(puback=True)
    box.connect()
    box.seal(sealed(1))
    box.answer(1)
    assert box.done[-1] == Confirmed(1)
    assert box.counts == (0, 0, 0)


def test_an_answer_for_something_unknown_or_already_answered_changes_nothing() -> None:
    box = Box()
    box.connect()
    assert box.answer(7) == []
    box.seal(sealed(1))
    box.answer(1)
    assert box.answer(1, Outcome.TIMEOUT) == []
    assert box.counts == (0, 0, 1)


def test_after_three_publishes_without_puback_the_connection_is_renewed() -> None:
    """Each leaks a slot of the client's receive maximum."""
    box = Box()
    box.connect()
    for batch_id in (1, 2, 3):
        box.seal(sealed(batch_id))
    box.answer(1, Outcome.TIMEOUT)
    box.answer(2, Outcome.TIMEOUT)
    assert not [action for action in box.done if isinstance(action, Reconnect)]
    box.answer(3, Outcome.TIMEOUT)
    assert box.done[-1] == Reconnect("3 publishes got no PUBACK")


def test_a_puback_between_them_starts_the_count_anew() -> None:
    box = Box()
    box.connect()
    for batch_id in range(1, 7):
        box.seal(sealed(batch_id))
    for batch_id, outcome in ((1, "timeout"), (2, "timeout"), (3, "accepted"), (4, "timeout"), (5, "timeout")):
        box.answer(batch_id, Outcome(outcome))
    assert not [action for action in box.done if isinstance(action, Reconnect)]


@pytest.mark.parametrize("outcome", [Outcome.DENIED, Outcome.BUSY])
def test_a_denial_pauses_everything_then_one_batch_probes_and_the_pause_doubles(outcome: Outcome) -> None:
    box = Box()
    box.connect()
    box.seal(sealed(1))
    box.seal(sealed(2))
    box.answer(1, outcome)
    assert box.seal(sealed(3)) == []
    box.answer(2, outcome)
    waits = []
    for _ in range(7):
        wait_ms, batch_id = box.sent_next()
        waits.append(wait_ms // 1_000)
        box.answer(batch_id, outcome)
    assert waits == [60, 120, 240, 480, 600, 600, 600]


def test_when_the_probe_is_accepted_all_goes_on_at_once() -> None:
    box = Box()
    box.connect()
    box.seal(sealed(1))
    box.answer(1, Outcome.DENIED)
    box.seal(sealed(2))
    assert box.sent_next() == (LIMITS.denied_pause_ms + 1, 2)
    assert box.answer(2) == [1]


def test_a_denial_outlasts_a_reconnect() -> None:
    box = Box(sealed(1))
    box.connect()
    box.answer(1, Outcome.DENIED)
    box.delivery.on_disconnected()
    assert box.connect() == []
    assert box.sent_next() == (LIMITS.denied_pause_ms + 1, 1)


def test_a_batch_that_fails_is_tried_again_ever_later_and_parked_after_five_times() -> None:
    box = Box()
    box.connect()
    box.seal(sealed(1))
    waits = []
    for _ in range(6):
        box.answer(1, Outcome.LOST)
        waits.append(box.sent_next()[0] // 1_000)
    assert waits == [2, 4, 8, 16, LIMITS.park_ms // 1_000, 2]


def test_a_refused_batch_is_parked_at_once_and_the_others_go_on() -> None:
    box = Box(*map(sealed, range(1, 4)))
    assert box.connect() == [3, 2, 1]
    box.answer(3, Outcome.REFUSED)
    box.answer(2)
    box.answer(1)
    assert box.counts == (1, 0, 2)
    assert (LIMITS.park_ms + 1, 3) in box.pass_ms(LIMITS.park_ms + 1)


def test_however_many_are_parked_the_rest_of_the_backlog_is_sent() -> None:
    """Twenty batches that the broker refuses must not keep the hundred behind them for an hour."""
    box = Box(*map(sealed, range(1, 121)), limits=FAST)
    flying, accepted = box.connect(), []
    while flying:
        batch_id = flying.pop(0)
        flying += box.answer(batch_id, Outcome.ACCEPTED if batch_id <= 100 else Outcome.REFUSED)
        flying += [one for _, one in box.pass_ms(1)]
        accepted.append(batch_id)
    assert sorted(accepted) == list(range(1, 121))


# Disconnecting


def test_a_disconnect_forgets_what_the_broker_has_not_taken_and_it_is_loaded_again() -> None:
    box = Box(*map(sealed, range(1, 5)), limits=replace(LIMITS, in_flight_max=2))
    assert box.connect() == [4, 3]
    assert box.answer(4) == [2]
    box.delivery.on_disconnected()
    assert box.counts == (0, 0, 1)
    box.now_ms += 1_000
    assert box.connect() == [3, 2]


# Receipts


def test_what_a_receipt_passes_over_was_lost_and_is_sent_again_when_its_grace_is_over() -> None:
    box = drained(sealed(1), sealed(2), sealed(3))
    box.pass_ms(5_000)
    assert box.receipt(1, 3, to=30) == []
    wait_ms, batch_id = box.sent_next()
    assert batch_id == 2
    assert wait_ms == pytest.approx(LIMITS.receipt_grace_ms - 5_000, abs=10)


def test_what_is_passed_over_again_and_again_is_sent_ever_more_rarely() -> None:
    box = drained(sealed(1), sealed(2))
    waits = []
    for _ in range(10):
        box.receipt(2, to=20)
        waits.append(box.sent_next()[0] // 1_000)
        box.answer(1)
    assert waits[0] in {14, 15}
    assert waits[1:] == [30, 60, 120, 240, 480, 960, 1800, 1800, 1800]


def test_what_lies_beyond_a_receipt_or_in_another_epoch_was_not_passed_over() -> None:
    box = Box()
    box.connect()
    for batch in (sealed(1), sealed(2), sealed(3, epoch=b"epoch--2")):
        accept_all(box, box.seal(batch))
    box.receipt(1, to=10)
    box.receipt(to=9_999, epoch=b"epoch--3")
    assert box.counts == (0, 0, 2)
    assert box.delivery.wake_ms(box.now_ms) is None


def test_a_receipt_that_names_it_after_all_stops_the_sending_again() -> None:
    box = drained(sealed(1), sealed(2))
    box.receipt(2, to=20)
    box.pass_ms(1_000)
    box.receipt(1, to=20)
    assert box.delivery.wake_ms(box.now_ms) is None


def test_a_batch_that_wants_a_receipt_is_sent_again_ever_more_rarely_until_it_has_one() -> None:
    box = Box()
    box.connect()
    accept_all(box, box.seal(sealed(1, wanted=True)))
    waits = []
    for _ in range(10):
        waits.append(box.sent_next()[0] // 1_000)
        box.answer(1)
    assert waits[0] in {29, 30}
    assert waits[1:] == [60, 120, 240, 480, 960, 1800, 1800, 1800, 1800]
    box.receipt(1, to=10)
    assert box.delivery.wake_ms(box.now_ms) is None


def test_what_goes_again_for_want_of_a_receipt_does_not_wait_behind_the_backlog() -> None:
    box = Box(*map(sealed, range(1, 100)), limits=replace(FAST, awaiting_max=3))
    accept_all(box, box.connect())
    accept_all(box, box.seal(sealed(100, wanted=True)))
    assert 100 in [batch_id for _, batch_id in box.pass_ms(LIMITS.receipt_timeout_ms + 1)]


def test_the_backlog_halts_while_much_is_unanswered_and_one_batch_asks() -> None:
    box = Box(*map(sealed, range(1, 101)), limits=replace(FAST, awaiting_max=20))
    sent = accept_all(box, box.connect())
    assert sent == list(range(100, 80, -1))
    assert box.seal(sealed(101)) == [101]  # what is live goes on
    box.answer(101)
    assert box.sent_next(within_ms=2 * MINUTE_MS)[1] in {100, 101}
    assert box.receipt(*sent, 101, to=0)


def test_without_any_receipt_live_batches_go_on_until_memory_is_full() -> None:
    box = Box()
    box.connect()
    for batch_id in range(1, 1_000):
        for one in box.seal(sealed(batch_id)):
            box.answer(one)
    assert 400 < sum(box.counts) <= LIMITS.tracked_max


def test_at_the_end_of_the_backlog_one_batch_asks_for_the_receipt() -> None:
    box = drained(*map(sealed, range(1, 6)))
    wait_ms, batch_id = box.sent_next()
    assert wait_ms == pytest.approx(LIMITS.receipt_grace_ms, abs=10)
    assert box.answer(batch_id) == []
    box.receipt(1, 2, 3, 4, 5, to=50)
    assert box.delivery.wake_ms(box.now_ms) is None


def test_a_cloud_that_never_answers_is_asked_ever_more_rarely() -> None:
    """Else each box would send a batch every few seconds for as long as the receiver is down."""
    box = drained(*map(sealed, range(1, 6)))
    asked = []
    while box.now_ms < START_MS + 24 * 60 * MINUTE_MS:
        wait_ms, batch_id = box.sent_next()
        asked.append((wait_ms, batch_id))
        box.answer(batch_id)
    assert len({batch_id for _, batch_id in asked}) == 1
    assert 48 <= len(asked) <= 60


def test_a_parked_batch_does_not_keep_the_end_of_the_backlog_from_asking() -> None:
    box = Box(sealed(1), sealed(2))
    box.connect()
    box.answer(2, Outcome.REFUSED)
    box.answer(1)
    assert box.sent_next() == (LIMITS.receipt_grace_ms + 1, 1)


def test_nothing_is_asked_after_when_all_of_the_backlog_was_confirmed_on_the_way() -> None:
    box = Box(sealed(1))
    box.connect()
    box.receipt(1, to=10)
    assert box.delivery.wake_ms(box.now_ms) is None


def test_batches_dropped_or_replaced_are_forgotten() -> None:
    box = drained(sealed(1, wanted=True), sealed(2))
    box.delivery.forget([1, 99])
    assert box.counts == (0, 0, 1)

"""The delivery machine as timetables: what happens at which moment, and what it then does."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from delivery_box import FAST, LIMITS, START_MS, Box, accept_all, sealed

from agent.core.delivery.actions import Confirmed, Load, PublishOutcome, Reconnect

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


def test_after_news_were_lost_the_backlog_is_loaded_again_from_the_newest_and_nothing_sent_twice() -> None:
    box = Box(sealed(1), limits=FAST)
    box.connect()
    box.answer(1)
    box.stored.append(sealed(2))
    assert box.pass_ms(1_000) == []
    box.delivery.on_news_lost()
    assert box.sent_next()[1] == 2
    assert box.pass_ms(1_000) == []


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


def test_a_batch_that_cannot_be_read_is_tried_again_later_and_never_parked_for_it() -> None:
    box = Box(sealed(1))
    assert box.connect() == [1]
    for _ in range(10):
        assert box.act(box.delivery.on_unreadable(box.now_ms, 1)) == []
        assert box.sent_next() == (LIMITS.load_retry_ms + 1, 1)
    box.answer(1)
    assert box.act(box.delivery.on_unreadable(box.now_ms, 1)) == []
    assert box.act(box.delivery.on_unreadable(box.now_ms, 99)) == []
    assert box.counts == (0, 0, 1)


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


def test_what_could_not_be_deleted_is_deleted_later_and_not_sent_again() -> None:
    box = Box(sealed(1), limits=FAST, puback=True)
    box.connect()
    box.answer(1)
    box.delivery.on_delete_failed(box.now_ms, 1)
    box.delivery.on_disconnected()
    assert box.connect() == []
    assert box.done.count(Confirmed(1)) == 1
    assert box.pass_ms(LIMITS.load_retry_ms) == []
    assert box.done.count(Confirmed(1)) == 1
    assert box.pass_ms(LIMITS.load_retry_ms) == []
    assert box.done.count(Confirmed(1)) == 2
    assert box.counts == (0, 0, 0)


def test_a_great_many_that_cannot_be_deleted_are_neither_all_remembered_nor_all_tried_at_once() -> None:
    box = Box(limits=FAST, puback=True)
    for batch_id in range(1, FAST.tracked_max + 100):
        box.delivery.on_delete_failed(box.now_ms, batch_id)
    box.connect()
    box.now_ms += FAST.load_retry_ms
    first = [action for action in box.delivery.tick(box.now_ms) if isinstance(action, Confirmed)]
    assert len(first) == FAST.load_count
    for action in first:
        box.delivery.on_delete_failed(box.now_ms, action.id)
    assert not [action for action in box.delivery.tick(box.now_ms) if isinstance(action, Confirmed)]
    box.pass_ms(FAST.load_retry_ms + 1_000)
    assert len([action for action in box.done if isinstance(action, Confirmed)]) == FAST.tracked_max


def test_where_receipts_are_to_delete_from_now_on_a_puback_of_before_does_not() -> None:
    box = Box(sealed(1), puback=True)
    box.connect()
    box.answer(1)
    box.delivery.on_delete_failed(box.now_ms, 1)
    box.delivery.configure(confirm_by_puback=False, confirm_interval_ms=0)
    assert box.connect() == [1]


def test_an_answer_for_something_unknown_or_already_answered_changes_nothing() -> None:
    box = Box()
    box.connect()
    assert box.answer(7) == []
    box.seal(sealed(1))
    box.answer(1)
    assert box.answer(1, PublishOutcome.TIMEOUT) == []
    assert box.counts == (0, 0, 1)


def test_after_three_publishes_without_puback_the_connection_is_renewed() -> None:
    """Each leaks a slot of the client's receive maximum."""
    box = Box()
    box.connect()
    for batch_id in (1, 2, 3):
        box.seal(sealed(batch_id))
    box.answer(1, PublishOutcome.TIMEOUT)
    box.answer(2, PublishOutcome.TIMEOUT)
    assert not [action for action in box.done if isinstance(action, Reconnect)]
    box.answer(3, PublishOutcome.TIMEOUT)
    assert box.done[-1] == Reconnect("3 publishes got no PUBACK")


def test_a_publish_that_ends_in_no_way_renews_the_connection() -> None:
    """Once its receive maximum has leaked away, the client neither sends a publish nor times it out."""
    box = Box()
    box.connect()
    box.seal(sealed(1))
    assert box.delivery.wake_ms(box.now_ms) == START_MS + LIMITS.flying_max_ms + 1
    box.pass_ms(LIMITS.flying_max_ms)
    assert not [action for action in box.done if isinstance(action, Reconnect)]
    box.pass_ms(1)
    assert box.done[-1] == Reconnect("a publish got neither PUBACK nor time-out")
    assert not box.delivery.connected
    assert box.connect() == [1]


@pytest.mark.parametrize("outcome", [PublishOutcome.ACCEPTED, PublishOutcome.LOST, PublishOutcome.DENIED])
def test_a_batch_confirmed_while_its_puback_is_under_way_holds_its_place_till_then(outcome: PublishOutcome) -> None:
    box = Box(limits=replace(LIMITS, in_flight_max=1))
    box.connect()
    box.seal(sealed(1))
    box.receipt(1, to=10)
    assert box.counts == (0, 1, 0)
    assert box.seal(sealed(2)) == []
    box.answer(1, outcome)
    assert box.counts[0] + box.counts[1] == 1
    assert [batch_id for _, batch_id in box.pass_ms(LIMITS.denied_pause_ms + 1)] in ([], [2])
    assert box.counts == (0, 1, 0)


def test_time_outs_of_confirmed_batches_leak_slots_as_well() -> None:
    box = Box()
    box.connect()
    for batch_id in (1, 2, 3):
        box.seal(sealed(batch_id))
        box.receipt(batch_id, to=10 * batch_id)
    for batch_id in (1, 2, 3):
        box.answer(batch_id, PublishOutcome.TIMEOUT)
    assert box.done[-1] == Reconnect("3 publishes got no PUBACK")


def test_a_puback_between_them_starts_the_count_anew() -> None:
    box = Box()
    box.connect()
    for batch_id in range(1, 7):
        box.seal(sealed(batch_id))
    for batch_id, outcome in ((1, "timeout"), (2, "timeout"), (3, "accepted"), (4, "timeout"), (5, "timeout")):
        box.answer(batch_id, PublishOutcome(outcome))
    assert not [action for action in box.done if isinstance(action, Reconnect)]


@pytest.mark.parametrize("outcome", [PublishOutcome.DENIED, PublishOutcome.BUSY])
def test_a_denial_pauses_everything_then_one_batch_probes_and_the_pause_doubles(outcome: PublishOutcome) -> None:
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
    box.answer(1, PublishOutcome.DENIED)
    box.seal(sealed(2))
    assert box.sent_next() == (LIMITS.denied_pause_ms + 1, 2)
    assert box.answer(2) == [1]


def test_a_denial_outlasts_a_reconnect() -> None:
    box = Box(sealed(1))
    box.connect()
    box.answer(1, PublishOutcome.DENIED)
    box.delivery.on_disconnected()
    assert box.connect() == []
    assert box.sent_next() == (LIMITS.denied_pause_ms + 1, 1)


def test_a_batch_that_fails_is_tried_again_ever_later_and_parked_after_five_times() -> None:
    box = Box()
    box.connect()
    box.seal(sealed(1))
    waits = []
    for _ in range(6):
        box.answer(1, PublishOutcome.LOST)
        waits.append(box.sent_next()[0] // 1_000)
    assert waits == [2, 4, 8, 16, LIMITS.park_ms // 1_000, 2]


def test_a_refused_batch_is_parked_at_once_and_the_others_go_on() -> None:
    box = Box(*map(sealed, range(1, 4)))
    assert box.connect() == [3, 2, 1]
    box.answer(3, PublishOutcome.REFUSED)
    box.answer(2)
    box.answer(1)
    assert box.counts == (1, 0, 2)
    box.receipt(1, 2, to=20)
    assert box.sent_next() == (LIMITS.park_ms + 1, 3)


def test_however_many_are_parked_the_rest_of_the_backlog_is_sent() -> None:
    """Twenty batches that the broker refuses must not keep the hundred behind them for an hour."""
    box = Box(*map(sealed, range(1, 121)), limits=FAST)
    flying, accepted = box.connect(), []
    while flying:
        batch_id = flying.pop(0)
        flying += box.answer(batch_id, PublishOutcome.ACCEPTED if batch_id <= 100 else PublishOutcome.REFUSED)
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


def test_a_new_connection_forgets_what_failed_on_the_last_even_if_its_end_was_never_told() -> None:
    box = Box(sealed(1))
    box.connect()
    for _ in range(LIMITS.park_after - 1):
        box.answer(1, PublishOutcome.LOST)
        box.sent_next()
    box.answer(1, PublishOutcome.LOST)
    assert box.connect() == [1]


def test_a_batch_that_is_not_published_after_all_holds_no_place() -> None:
    box = Box(*map(sealed, range(1, 40)), limits=FAST)
    flying = [*box.connect(), *(batch_id for _, batch_id in box.pass_ms(100))]
    assert len(flying) == FAST.in_flight_max
    (next_,) = box.act(box.delivery.on_withdrawn(box.now_ms, flying[0]))
    assert next_ not in flying
    assert box.counts[1] == FAST.in_flight_max

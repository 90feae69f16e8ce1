"""The delivery machine and receipts, as timetables: what is sent again, when, and what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from delivery_box import FAST, LIMITS, START_MS, Box, accept_all, drained, sealed

from agent.core.delivery.actions import PublishOutcome
from agent.core.time_units import MINUTE_MS


def test_what_a_receipt_passes_over_was_lost_and_is_sent_again_when_its_grace_is_over() -> None:
    box = drained(sealed(1), sealed(2), sealed(3))
    box.pass_ms(5_000)
    assert box.receipt(1, 3, to=30) == []
    wait_ms, batch_id = box.sent_next()
    assert batch_id == 2
    assert wait_ms == pytest.approx(LIMITS.receipt_grace_ms - 5_000, abs=10)


def test_the_first_that_is_missing_is_sent_again_though_no_receipt_names_what_lies_beyond_it() -> None:
    """A receiver that names no ranges, and batches that ask it in vain all the time; ever more rarely."""
    box = drained(sealed(1), sealed(2))
    waits, batch_id, since_ms = [], 2, box.now_ms
    while len(waits) < 4:
        batch_id += 1
        sent = box.seal(sealed(batch_id, wanted=True)) + [each for _, each in box.pass_ms(1_000)]
        sent += box.receipt(1, to=10)
        for each in sent:
            box.answer(each)
        if 2 in sent:
            waits.append((box.now_ms - since_ms) // 1_000)
            since_ms = box.now_ms
    assert waits == pytest.approx([15, 30, 60, 120], abs=1)


def test_what_is_passed_over_again_and_again_is_sent_ever_more_rarely() -> None:
    box = drained(sealed(1), sealed(2))
    waits = []
    for _ in range(10):
        box.receipt(2, to=20)
        waits.append(box.sent_next()[0] // 1_000)
        box.answer(1)
    assert waits[0] in {14, 15}
    assert waits[1:] == [30, 60, 120, 240, 480, 960, 1800, 1800, 1800]


def test_what_a_receipt_passes_over_while_its_puback_is_awaited_is_sent_again_too() -> None:
    """Nothing else would ask for it once no further batch is sealed."""
    box = Box()
    box.connect()
    box.seal(sealed(1))
    accept_all(box, box.seal(sealed(2, wanted=True)))
    box.receipt(2, to=20)
    box.answer(1)
    assert box.sent_next() == (LIMITS.receipt_grace_ms + 1, 1)
    box.answer(1)
    box.receipt(1, to=20)
    assert box.counts == (0, 0, 0)


def test_what_lies_beyond_a_receipt_or_in_another_epoch_was_not_passed_over() -> None:
    box = Box()
    box.connect()
    for batch in (sealed(1), sealed(2), sealed(3, epoch=b"epoch--2")):
        accept_all(box, box.seal(batch))
    box.receipt(1, to=10)
    box.receipt(to=9_999, epoch=b"epoch--3")
    assert box.counts == (0, 0, 2)
    assert box.pass_ms(LIMITS.late_ask_ms - MINUTE_MS) == []


def test_the_last_batch_asks_in_the_end_for_a_receipt_that_no_later_batch_will_bring() -> None:
    box = Box()
    box.connect()
    accept_all(box, box.seal(sealed(1)))  # and was lost behind the PUBACK
    assert box.sent_next(LIMITS.late_ask_ms) == (LIMITS.late_ask_ms, 1)
    box.answer(1)
    box.receipt(1, to=10)
    assert box.delivery.wake_ms(box.now_ms) is None


def test_who_wants_receipts_seldom_is_not_asked_after_in_between() -> None:
    box = Box()
    interval_ms = 3 * LIMITS.late_ask_ms
    box.delivery.configure(confirm_by_puback=False, confirm_interval_ms=interval_ms)
    box.connect()
    accept_all(box, box.seal(sealed(1)))
    assert box.sent_next(2 * interval_ms) == (2 * interval_ms, 1)


def test_what_was_lost_without_a_trace_is_asked_after_one_by_one() -> None:
    box = Box()
    box.connect()
    for batch in (sealed(1), sealed(2), sealed(3)):
        accept_all(box, box.seal(batch))
    assert [batch_id for _, batch_id in box.pass_ms(LIMITS.late_ask_ms + 10)] == [1]
    box.answer(1)
    assert box.receipt(1, to=10) == [2]


def test_what_an_epoch_left_behind_is_asked_after_though_the_next_one_goes_on() -> None:
    box = Box()
    box.connect()
    accept_all(box, box.seal(sealed(1, epoch=b"epoch--0")))
    for batch_id in range(2, 40):
        accept_all(box, box.seal(sealed(batch_id)))
        if box.pass_ms(5 * MINUTE_MS):
            break
        box.receipt(batch_id, to=10 * batch_id)
    assert box.now_ms >= START_MS + LIMITS.late_ask_ms
    assert box.counts == (0, 1, 1)


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


def test_another_batch_asks_where_the_broker_refuses_the_one_that_did() -> None:
    box = Box(*map(sealed, range(1, 101)), limits=replace(FAST, awaiting_max=20))
    accept_all(box, box.connect())
    _, refused = box.sent_next(within_ms=2 * MINUTE_MS)
    accept_all(box, box.answer(refused, PublishOutcome.REFUSED))  # one more of the backlog, which is halted again
    _, asking = box.sent_next(within_ms=2 * MINUTE_MS)
    assert asking != refused


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
    box.answer(2, PublishOutcome.REFUSED)
    box.answer(1)
    assert box.sent_next() == (LIMITS.receipt_grace_ms + 1, 1)


def test_nothing_is_asked_after_when_all_of_the_backlog_was_confirmed_on_the_way() -> None:
    box = Box(sealed(1))
    box.connect()
    box.receipt(1, to=10)
    box.answer(1)
    assert box.delivery.wake_ms(box.now_ms) is None


def test_batches_dropped_or_replaced_are_forgotten() -> None:
    box = drained(sealed(1, wanted=True), sealed(2))
    box.delivery.forget([1, 99])
    assert box.counts == (0, 0, 1)

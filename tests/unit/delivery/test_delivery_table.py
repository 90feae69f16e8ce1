"""The table of the delivery machine: no row contradicts another; what no row allows is a broken invariant."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from delivery_box import LIMITS, Box, sealed

from agent.core.delivery.actions import Load, PublishOutcome
from agent.core.delivery.machine import STEPS, TRANSITIONS
from agent.core.delivery.tracking import BatchEvent, State
from agent.core.invariants import BrokenInvariantError


def test_no_event_in_a_state_is_in_two_rows() -> None:
    pairs = Counter((event, state) for row in TRANSITIONS for event in row.events for state in row.states)
    assert [pair for pair, rows in pairs.items() if rows > 1] == []


def test_every_event_is_in_the_table_and_every_state_is_reached_and_left() -> None:
    assert {event for event, _ in STEPS} == set(BatchEvent)
    reached, before = {State.UNTRACKED}, None
    while reached != before:
        before = set(reached)
        reached |= {row.after for (_, state), row in STEPS.items() if state in reached and row.after is not None}
    assert reached == set(State)
    assert {state for (_, state), row in STEPS.items() if row.after not in (None, state)} == set(State)


def test_every_state_but_those_that_only_a_receipt_ends_is_left_on_a_disconnect() -> None:
    stays = {state for state in State if STEPS[BatchEvent.DISCONNECTED, state].after is None}
    assert stays == {State.UNTRACKED, State.AWAITING, State.ASKING, State.MISSED, State.UNDELETED}


def test_nothing_but_a_receipt_or_a_puback_that_is_enough_takes_an_accepted_batch_out_of_memory() -> None:
    for state in (State.AWAITING, State.ASKING, State.MISSED):
        ends = {event for (event, before), row in STEPS.items() if before is state and row.after is State.UNTRACKED}
        assert ends == {BatchEvent.GONE, BatchEvent.WITHDRAWN}


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (BatchEvent.SENT, State.FLYING),  # it would be on its way twice
        (BatchEvent.SENT, State.AWAITING),
        (BatchEvent.SENT, State.UNTRACKED),
        (BatchEvent.LATE, State.AWAITING),
        (BatchEvent.PARK, State.FLYING),
        (BatchEvent.DELETE_AGAIN, State.AWAITING),
    ],
)
def test_what_cannot_happen_to_a_batch_stops_with_a_name_and_changes_nothing(event: BatchEvent, state: State) -> None:
    box = Box(limits=replace(LIMITS, in_flight_max=1))
    box.connect()
    box.seal(sealed(1))
    if state is State.AWAITING:
        box.answer(1)
    elif state is State.UNTRACKED:
        box.delivery.on_withdrawn(box.now_ms, 1)
    before = box.counts
    with pytest.raises(
        BrokenInvariantError, match=f"for what happens .*state=<State.{state.name}: .*<BatchEvent.{event.name}"
    ):
        box.delivery._step(event, 1)
    assert box.counts == before


def test_more_tracked_batches_than_the_limit_are_a_broken_invariant() -> None:
    limits = replace(LIMITS, tracked_max=4, load_count=2)
    box = Box(limits=limits)
    box.connect()
    for batch_id in range(1, 5):
        box.seal(sealed(batch_id))
    with pytest.raises(BrokenInvariantError, match="tracked batches are bounded") as broken:
        box.delivery._tracked.add(sealed(5))
    assert (broken.value.name, broken.value.facts) == ("tracked batches are bounded", {"batch": 5})
    assert sum(box.counts) == limits.tracked_max


def test_more_publishes_in_flight_than_the_limit_are_a_broken_invariant() -> None:
    box = Box(limits=replace(LIMITS, in_flight_max=2))
    box.connect()
    for batch_id in (1, 2, 3):
        box.seal(sealed(batch_id))
    assert box.counts == (1, 2, 0)
    with pytest.raises(BrokenInvariantError, match="publishes in flight are bounded"):
        box.delivery._step(BatchEvent.SENT, 1 if (1 not in box.delivery._tracked.flying) else 3)
    assert box.counts == (1, 2, 0)


def test_bytes_that_cannot_be_read_of_a_batch_that_is_gone_are_not_asked_for_again() -> None:
    box = Box()
    box.connect()
    box.seal(sealed(1))
    box.receipt(1, to=10)
    assert box.act(box.delivery.on_unreadable(box.now_ms, 1)) == []
    assert box.counts == (0, 0, 0)


def test_late_news_of_a_batch_that_could_not_be_deleted_does_not_send_it_again() -> None:
    box = Box(puback=True)
    box.connect()
    box.seal(sealed(1))
    box.answer(1)
    box.delivery.on_delete_failed(box.now_ms, 1)
    assert box.act(box.delivery.on_sealed(box.now_ms, sealed(1))) == []
    assert box.answer(1, PublishOutcome.ACCEPTED) == []
    assert box.counts == (0, 0, 0)


def test_a_page_of_the_backlog_is_not_longer_than_asked_for() -> None:
    box = Box(limits=replace(LIMITS, load_count=2))
    (asked,) = box.delivery.on_connected(box.now_ms)
    assert isinstance(asked, Load)
    with pytest.raises(BrokenInvariantError, match=r"a page of the backlog is bounded \(found=3, limit=2\)"):
        box.delivery.on_loaded(box.now_ms, asked, [sealed(3), sealed(2), sealed(1)])
    assert box.counts == (0, 0, 0)

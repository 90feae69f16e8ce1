"""Who is read next on a line, and for how long at the others' expense: pure, as timetables."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from agent.core.metering.backoff import MeterBackoff
from agent.core.metering.sharing import budget_ms, deadline_ms, learnt_ms, turn
from agent.core.metering.slots import MeterSlots


@dataclass
class Meter:
    """A meter whose next slot begins at `next_ms`."""

    next_ms: int
    interval_ms: int = 1_000
    need_ms: int = 100
    failures: int = 0
    asked_ms: int = 0
    slots: MeterSlots = field(init=False)
    backoff: MeterBackoff = field(init=False)

    def __post_init__(self) -> None:
        self.slots = MeterSlots("meter", self.interval_ms, self.next_ms)
        self.slots.next_ms = self.next_ms
        self.backoff = MeterBackoff(self.interval_ms, failures=self.failures)


def first(now_ms: int, *meters: Meter) -> int:
    return meters.index(min(meters, key=lambda meter: turn(meter, now_ms)))


@pytest.mark.parametrize(
    ("now_ms", "meters", "expected"),
    [
        (500, [Meter(2_000), Meter(1_000)], 1),  # none has begun: the next to begin
        (1_000, [Meter(0, 60_000), Meter(1_000)], 1),  # the earlier deadline, not the earlier beginning
        (59_500, [Meter(0, 60_000), Meter(59_000)], 0),  # equal ones: who was asked longer ago
        (59_700, [Meter(0, 60_000, asked_ms=5), Meter(59_500)], 0),
        (1_000, [Meter(1_000, failures=1), Meter(1_000, asked_ms=900)], 1),  # who answers goes first
        (3_500, [Meter(1_000), Meter(3_000, asked_ms=3_100)], 0),  # what was missed has no deadline any more
        (3_500, [Meter(1_000, asked_ms=3_200), Meter(3_000, asked_ms=3_100)], 1),
    ],
)
def test_whose_turn_it_is(now_ms: int, meters: list[Meter], expected: int) -> None:
    assert first(now_ms, *meters) == expected


def test_the_deadline_is_the_end_of_the_slot_that_can_still_be_read() -> None:
    assert [deadline_ms(Meter(1_000), now_ms) for now_ms in (0, 1_000, 1_999, 2_000, 4_500)] == [
        2_000,
        2_000,
        2_000,
        3_000,
        5_000,
    ]


@pytest.mark.parametrize(
    ("mine", "others", "expected"),
    [
        (Meter(0), [], 1_000),  # alone: the whole interval
        (Meter(0, 60_000), [], 5_000),  # but not for ever
        (Meter(0), [Meter(1_000)] * 3, 700),  # three tenths are the others'
        (Meter(0, failures=9), [Meter(1_000)] * 3, 700),
        (Meter(0), [Meter(1_000, failures=1)] * 3, 1_000),  # those that fail wait
        (Meter(0, need_ms=0), [Meter(1_000)] * 3, 1_000),  # not read yet: who knows how long it takes
        (Meter(0, need_ms=0, failures=1), [Meter(1_000)] * 3, 700),
        (Meter(0), [Meter(1_000, need_ms=0)] * 3, 250),
        (Meter(0), [Meter(1_000, need_ms=400)] * 3, 200),  # too much is wanted: twice its usual time all the same
        (Meter(0, failures=3), [Meter(1_000, need_ms=400)] * 3, 200),
        (Meter(0, need_ms=700), [Meter(1_000, need_ms=700)], 1_000),  # but no longer than its interval
        (Meter(0, 100, need_ms=160), [], 200),  # unless it takes longer than that anyhow
        (Meter(0, 10_000), [Meter(1_000), Meter(5_000, 10_000)], 890),
        (Meter(0, 10_000), [Meter(-950)], 200),  # its slot ends in 50 ms
        (Meter(0, 10_000, need_ms=0, failures=1), [Meter(-200), Meter(-200)], 699),
    ],
)
def test_how_long_a_read_may_take(mine: Meter, others: list[Meter], expected: int) -> None:
    assert budget_ms(mine, others, 0, 5_000) == expected


def test_what_a_meter_needs_is_learnt_upwards_at_once_and_downwards_slowly() -> None:
    assert learnt_ms(0, 150) == 150
    assert learnt_ms(150, 400) == 400
    need_ms = 400
    for _ in range(100):
        need_ms = learnt_ms(need_ms, 150)
    assert 150 <= need_ms < 160

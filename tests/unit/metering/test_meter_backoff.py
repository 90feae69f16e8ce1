"""A meter that does not answer is asked less and less, and again at once when it is back."""

from __future__ import annotations

import pytest

from agent.core.metering.backoff import MeterBackoff


def asked_slots(backoff: MeterBackoff, slots: int, took_ms: int = 100) -> list[int]:
    """The slots in which a dead meter is asked."""
    asked = []
    for slot in range(slots):
        now_ms = slot * backoff.interval_ms + 3
        if not backoff.resting(now_ms):
            asked.append(slot)
            backoff.failed(now_ms + took_ms, "silent")
    return asked


def test_the_slots_left_out_double_up_to_a_minute() -> None:
    asked = asked_slots(MeterBackoff(1_000), 400)
    assert asked == [0, 1, 2, 4, 8, 16, 32, 64, 124, 184, 244, 304, 364]


@pytest.mark.parametrize(
    ("interval_ms", "expected"),
    [
        (10_000, [0, 1, 2, 4, 8, 14, 20, 26]),  # the limit is a minute
        (60_000, list(range(30))),  # a slow meter is asked in each slot: it costs nothing
        (900_000, list(range(30))),
    ],
)
def test_a_meter_is_asked_at_least_once_a_minute(interval_ms: int, expected: list[int]) -> None:
    assert asked_slots(MeterBackoff(interval_ms), 30) == expected


def test_only_the_failure_that_makes_it_silent_is_news() -> None:
    backoff = MeterBackoff(1_000)
    assert [backoff.failed(at, "silent") for at in (0, 1_000, 2_000, 4_000, 8_000)] == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_another_reason_is_news_once_it_is_silent() -> None:
    backoff = MeterBackoff(1_000)
    assert not backoff.failed(0, "silent")
    assert not backoff.failed(1_000, "garbage")
    assert backoff.failed(2_000, "garbage")
    assert backoff.failed(3_000, "exception")
    assert not backoff.failed(4_000, "exception")


def test_one_or_two_bad_frames_delay_nothing_and_are_no_silence() -> None:
    backoff = MeterBackoff(1_000)
    backoff.failed(0, "garbage")
    backoff.failed(1_000, "garbage")
    assert not backoff.resting(1_001)
    assert backoff.answered(2_000) is None


def test_when_it_answers_it_says_since_when_it_was_silent_and_starts_anew() -> None:
    backoff = MeterBackoff(1_000)
    for at in (500, 1_500, 2_500, 4_500):
        backoff.failed(at, "silent")
    assert backoff.resting(5_000)
    assert backoff.answered(9_500) == 9_000
    assert not backoff.resting(9_500)
    assert (backoff.failures, backoff.reason) == (0, "")
    assert backoff.answered(10_500) is None


def test_years_of_silence_do_not_overflow() -> None:
    backoff = MeterBackoff(1_000)
    for _ in range(10_000):
        backoff.failed(0, "silent")
    assert backoff.resume_ms <= 60_000

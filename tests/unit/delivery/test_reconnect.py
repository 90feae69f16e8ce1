"""How soon a box tries again: one alone within seconds, a fleet spread out and never more eager than one box."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.delivery.reconnect import ALONE_MAX_MS, REJECTED_MAX_MS, ReconnectDelays

OUTAGE_MS = 120_000
FLEET_MAX = 10_000_000
uniforms = st.floats(0, 1, exclude_max=True)


def attempts_ms(delays: ReconnectDelays, chance: random.Random, until_ms: int, attempt_ms: int) -> list[int]:
    """When a box that lost its connection at 0 tries; each failing attempt takes `attempt_ms`."""
    at_ms, attempts = 0, [0]
    while attempts[-1] < until_ms:
        at_ms += delays.delay_ms(at_ms, chance.random())
        attempts.append(at_ms)
        at_ms += attempt_ms
    return attempts


def test_alone_the_first_try_is_at_once() -> None:
    assert ReconnectDelays().delay_ms(123, 0.999) == 0


@pytest.mark.parametrize("uniform", [0.0, 0.5, 0.999999])
def test_alone_tries_are_never_more_than_twelve_seconds_apart(uniform: float) -> None:
    delays = ReconnectDelays()
    attempt_ms = 2_000
    longest_ms = max(delays.delay_ms(now_ms, uniform) for now_ms in range(1_000))
    assert longest_ms + attempt_ms <= ALONE_MAX_MS + attempt_ms == 12_000


def test_alone_the_median_wait_after_two_minutes_of_outage_is_about_three_seconds() -> None:
    waits = []
    for seed in range(2_000):
        tries = attempts_ms(ReconnectDelays(), random.Random(seed), OUTAGE_MS, attempt_ms=200)
        waits.append(next(at_ms for at_ms in tries if at_ms >= OUTAGE_MS) - OUTAGE_MS)
    assert 2_500 <= statistics.median(waits) <= 3_500
    assert max(waits) <= 12_000


def test_alone_delays_use_the_whole_window() -> None:
    delays = ReconnectDelays(attempts=10)
    assert delays.delay_ms(0, 0.0) == 0
    assert delays.delay_ms(0, 0.5) == 5_000


def test_a_connection_starts_the_delays_anew() -> None:
    delays = ReconnectDelays()
    for _ in range(10):
        delays.delay_ms(0, 0.5, rejected=True)
    delays.connected()
    assert delays.delay_ms(0, 0.9) == 0


@pytest.mark.parametrize(
    ("fleet_size", "window_ms"),
    [(2, 10), (200, 1_000), (1_000, 5_000), (10_000, 50_000), (100_000, 500_000), (10_000_000, 50_000_000)],
)
def test_the_first_try_of_a_fleet_is_spread_evenly_over_its_window(fleet_size: int, window_ms: int) -> None:
    lost_ms = 7 * window_ms
    firsts = [ReconnectDelays(fleet_size, own / 10).delay_ms(lost_ms, 0.999) for own in range(10)]
    assert firsts == [window_ms * own // 10 for own in range(10)]


@given(
    fleet_size=st.integers(2, FLEET_MAX),
    own=uniforms,
    lost_ms=st.integers(0, 10**12),
    failures=st.lists(st.tuples(uniforms, st.integers(0, 30_000)), min_size=1, max_size=30),
)
def test_a_box_of_a_fleet_waits_as_long_as_one_alone_and_then_for_its_moment(
    fleet_size: int, own: float, lost_ms: int, failures: list[tuple[float, int]]
) -> None:
    fleet, alone, now_ms = ReconnectDelays(fleet_size, own), ReconnectDelays(), lost_ms
    moment_ms = int(own * fleet.fleet_ms)
    for uniform, attempt_ms in failures:
        delay_ms, alone_ms = fleet.delay_ms(now_ms, uniform), alone.delay_ms(now_ms, uniform)
        assert alone_ms <= delay_ms < alone_ms + fleet.fleet_ms
        assert (now_ms + delay_ms) % fleet.fleet_ms == moment_ms
        now_ms += delay_ms + attempt_ms


@pytest.mark.parametrize("fleet_size", [1, 2, 200, 10_000])
def test_rejections_double_the_pause_up_to_a_quarter_of_an_hour(fleet_size: int) -> None:
    delays = ReconnectDelays(fleet_size)
    pauses = [delays.delay_ms(0, 0.999999, rejected=True) for _ in range(30)]
    assert pauses == sorted(pauses)
    assert pauses[1] >= 1.9 * pauses[0]
    assert REJECTED_MAX_MS * 0.99 <= pauses[-1] <= REJECTED_MAX_MS == 900_000


def test_a_rejection_never_shortens_the_pause_of_a_huge_fleet() -> None:
    assert ReconnectDelays(1_000_000).delay_ms(0, 0.999999, rejected=True) >= 4_990_000


def test_a_rejected_first_try_is_not_repeated_at_once() -> None:
    assert ReconnectDelays().delay_ms(0, 0.5, rejected=True) > 0


def test_one_failure_that_is_no_rejection_ends_the_growth() -> None:
    delays = ReconnectDelays()
    for _ in range(5):
        delays.delay_ms(0, 0.5, rejected=True)
    assert delays.delay_ms(0, 0.5) == 5_000

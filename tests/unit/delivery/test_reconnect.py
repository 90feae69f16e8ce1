"""How soon a box tries again: one alone within seconds, a fleet spread out, and growing only when told off."""

from __future__ import annotations

import random
import statistics

import pytest

from agent.core.delivery.reconnect import ALONE_MAX_MS, REJECTED_MAX_MS, Reconnect

OUTAGE_MS = 120_000


def attempts_ms(delays: Reconnect, chance: random.Random, until_ms: int, attempt_ms: int) -> list[int]:
    """When a box that lost its connection at 0 tries; each failing attempt takes `attempt_ms`."""
    at_ms, attempts = 0, [0]
    while attempts[-1] < until_ms:
        at_ms += delays.delay_ms(chance.random())
        attempts.append(at_ms)
        at_ms += attempt_ms
    return attempts


def test_alone_the_first_try_is_at_once() -> None:
    assert Reconnect().delay_ms(0.999) == 0


@pytest.mark.parametrize("uniform", [0.0, 0.5, 0.999999])
def test_alone_tries_are_never_more_than_twelve_seconds_apart(uniform: float) -> None:
    delays = Reconnect()
    attempt_ms = 2_000
    assert max(delays.delay_ms(uniform) for _ in range(1_000)) + attempt_ms <= ALONE_MAX_MS + attempt_ms == 12_000


def test_alone_the_median_wait_after_two_minutes_of_outage_is_about_three_seconds() -> None:
    waits = []
    for seed in range(2_000):
        tries = attempts_ms(Reconnect(), random.Random(seed), OUTAGE_MS, attempt_ms=200)
        waits.append(next(at_ms for at_ms in tries if at_ms >= OUTAGE_MS) - OUTAGE_MS)
    assert 2_500 <= statistics.median(waits) <= 3_500
    assert max(waits) <= 12_000


def test_alone_delays_use_the_whole_window() -> None:
    delays = Reconnect(attempts=10)
    assert delays.delay_ms(0.0) == 0
    assert delays.delay_ms(0.5) == 5_000


def test_a_connection_starts_the_delays_anew() -> None:
    delays = Reconnect()
    for _ in range(10):
        delays.delay_ms(0.5, rejected=True)
    delays.connected()
    assert delays.delay_ms(0.9) == 0


@pytest.mark.parametrize(
    ("fleet_size", "window_ms"),
    [(2, 1_000), (200, 1_000), (1_000, 5_000), (10_000, 50_000), (100_000, 500_000), (10_000_000, 50_000_000)],
)
def test_a_fleet_spreads_evenly_over_its_window_and_unreachability_does_not_widen_it(
    fleet_size: int, window_ms: int
) -> None:
    delays = Reconnect(fleet_size)
    for _ in range(50):
        assert delays.delay_ms(0.0) == 0
        assert delays.delay_ms(0.25) == window_ms // 4
        assert window_ms * 0.99 <= delays.delay_ms(0.999) < window_ms


def test_a_fleet_that_comes_back_stays_below_what_the_broker_takes() -> None:
    chance = random.Random(1)
    fleet = [Reconnect(10_000).delay_ms(chance.random()) // 1_000 for _ in range(10_000)]
    assert max(fleet.count(second) for second in set(fleet)) < 300


@pytest.mark.parametrize("fleet_size", [1, 2, 10_000])
def test_rejections_double_the_window_up_to_a_quarter_of_an_hour(fleet_size: int) -> None:
    delays = Reconnect(fleet_size)
    windows = [delays.delay_ms(0.999999, rejected=True) for _ in range(30)]
    assert windows == sorted(windows)
    assert windows[1] >= 1.9 * windows[0]
    assert REJECTED_MAX_MS * 0.99 <= windows[-1] < REJECTED_MAX_MS == 900_000


def test_a_rejection_never_shortens_the_window_of_a_huge_fleet() -> None:
    assert Reconnect(1_000_000).delay_ms(0.999999, rejected=True) >= 4_990_000


def test_a_rejected_first_try_is_not_repeated_at_once() -> None:
    assert Reconnect().delay_ms(0.5, rejected=True) > 0


def test_one_failure_that_is_no_rejection_ends_the_growth() -> None:
    delays = Reconnect(10_000)
    for _ in range(5):
        delays.delay_ms(0.5, rejected=True)
    assert delays.delay_ms(0.5) == 25_000

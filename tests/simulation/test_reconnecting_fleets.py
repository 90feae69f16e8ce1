"""Whole fleets that lose one broker, from 1 to 100,000 boxes: how often they try, how they come back, and when.

Each box is a real `ReconnectDelays`; broker and clock are simulated. SIM_SEED picks the seed (default 1).
"""

from __future__ import annotations

import heapq
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import mean

import pytest

from agent.core.delivery.reconnect import ReconnectDelays

SEED = int(os.environ.get("SIM_SEED", "1"))
SIZES = (1, 2, 5, 20, 50, 100, 200, 201, 500, 1_000, 1_500, 1_999, 2_000, 5_000, 10_000, 30_000, 100_000)
HOUR_MS = 3_600_000
AWS_CONNECTS_PER_S = 500
PER_S_MAX = 275  # 200 boxes a second drawn at random, and five standard deviations
PAUSE_MAX_MS = 10_000


@dataclass
class Fleet:
    """Boxes that were all connected, and lose the broker at `lost_ms`; a failing attempt takes `attempt_ms`."""

    size: int
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))
    attempt_ms: int = 100
    due: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.boxes = [ReconnectDelays(self.size, self.chance.random()) for _ in range(self.size)]

    def lose(self, now_ms: int) -> None:
        for box in range(self.size):
            self.fail(box, now_ms)

    def fail(self, box: int, now_ms: int, *, rejected: bool = False) -> None:
        delay_ms = self.boxes[box].delay_ms(now_ms, self.chance.random(), rejected=rejected)
        heapq.heappush(self.due, (now_ms + delay_ms, box))

    def attempts(self, until_ms: int) -> Iterator[tuple[int, int]]:
        """When which box tries; each is told how its attempt ends before the next one is asked for."""
        while self.due and self.due[0][0] < until_ms:
            yield heapq.heappop(self.due)

    def stay_cut_off(self, until_ms: int) -> Counter[int]:
        """An outage until then; the attempts of each second."""
        seconds = Counter[int]()
        for at_ms, box in self.attempts(until_ms):
            seconds[at_ms // 1_000] += 1
            self.fail(box, at_ms + self.attempt_ms)
        return seconds

    def come_back(self, now_ms: int) -> list[int]:
        """The broker is back and takes everyone; after how long each attempt comes, the last one last."""
        return [at_ms - now_ms for at_ms, _ in self.attempts(now_ms + 10 * HOUR_MS)]


def attempts_in_an_hour(fleet_size: int, attempt_ms: int, boxes: int = 20) -> float:
    """Of one box of such a fleet, the mean of some."""
    chance = random.Random(SEED)
    counts = []
    for _ in range(boxes):
        delays, now_ms, count = ReconnectDelays(fleet_size, chance.random()), chance.randrange(HOUR_MS), 0
        until_ms = now_ms + HOUR_MS
        while (now_ms := now_ms + delays.delay_ms(now_ms, chance.random())) < until_ms:
            now_ms, count = now_ms + attempt_ms, count + 1
        counts.append(count)
    return mean(counts)


@pytest.mark.parametrize("attempt_ms", [0, 500, 2_000])
def test_the_larger_the_fleet_the_fewer_attempts_a_box_makes(attempt_ms: int) -> None:
    attempts = [attempts_in_an_hour(size, attempt_ms) for size in SIZES]
    noise = 1.03
    for (smaller, many), (larger, fewer) in pairwise(zip(SIZES, attempts, strict=True)):
        assert fewer <= many * noise, f"{larger} boxes try more often than {smaller}, seed {SEED}"
    assert attempts[0] < 750, "one box alone"


@pytest.mark.parametrize("size", SIZES)
def test_everyone_is_back_in_time_and_no_second_is_crowded_in_the_outage_or_after_it(size: int) -> None:
    fleet, window_ms = Fleet(size), size * 1_000 // 200
    back_ms = 61_234 + window_ms
    fleet.lose(0)
    outage_seconds = fleet.stay_cut_off(back_ms)
    waits_ms = fleet.come_back(back_ms)
    assert len(waits_ms) == size
    assert waits_ms[-1] <= PAUSE_MAX_MS + fleet.attempt_ms + window_ms
    return_seconds = Counter(wait_ms // 1_000 for wait_ms in waits_ms)
    assert max(outage_seconds.values()) <= PER_S_MAX, f"seed {SEED}"
    assert max(return_seconds.values()) <= PER_S_MAX, f"seed {SEED}"


@pytest.mark.parametrize("size", [200, 2_000, 10_000])
def test_a_broker_that_ends_all_connections_again_and_again_does_not_gather_the_fleet(size: int) -> None:
    """Neither does one that lets every attempt hang and refuses all of them at the same moment."""
    fleet, now_ms = Fleet(size), 0
    for _ in range(3):
        fleet.due.clear()
        fleet.lose(now_ms)
        seconds = Counter(at_ms // 1_000 for at_ms, _ in fleet.attempts(now_ms + HOUR_MS))
        assert max(seconds.values()) <= PER_S_MAX, f"seed {SEED}"
        now_ms += HOUR_MS


@pytest.mark.parametrize("size", [1_000, 10_000])
def test_a_fleet_that_starts_all_at_once_is_taken_in_by_a_broker_that_rejects_what_is_too_much(size: int) -> None:
    fleet = Fleet(size)
    for box in range(size):
        heapq.heappush(fleet.due, (0, box))
    taken, rejected, last_ms = Counter[int](), Counter[int](), 0
    for at_ms, box in fleet.attempts(HOUR_MS):
        second = at_ms // 1_000
        if taken[second] < AWS_CONNECTS_PER_S:
            taken[second] += 1
            last_ms = at_ms
        else:
            rejected[second] += 1
            fleet.fail(box, at_ms + fleet.attempt_ms, rejected=True)
    assert taken.total() == size
    assert set(rejected) <= {0}, f"only the first second is too much, seed {SEED}"
    assert last_ms <= 3 * max(size * 1_000 // 200, PAUSE_MAX_MS)

"""Any truthful meter is never flagged; any one value that is not true is flagged or physically possible, and the
values after it are judged as if it had not been, at the latest from the second one on.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from agent.core.truth.bounds import Ratings, counter_bounds
from agent.core.truth.counter import BACKWARDS, JUMP, Counter
from agent.core.truth.plausibility import MeterTruth
from drivers.meter import Sample
from wire.batch import Column
from wire.resolution import Resolution

CURRENT_A, VOLTAGE_V, PHASES = 100, 230, 3
FULL_W = CURRENT_A * VOLTAGE_V * PHASES
ENERGY = "energy_active_import_total"
OUTAGES_MS = st.sampled_from([60_000, 3_600_000, 86_400_000, 31 * 86_400_000])


@dataclass(frozen=True)
class Life:
    """Readings (ms, steps) of a true counter, in steps of `step` Wh."""

    step: int
    readings: list[tuple[int, int]]

    def counter(self) -> Counter:
        return Counter(counter_bounds(Column(ENERGY, Resolution.parse(self.step)), Ratings(CURRENT_A)))


@st.composite
def lives(draw: st.DrawFn, least: int = 2) -> Life:
    """Jitter, outages, any load up to the rating, steps up to 1 kWh, and registers refreshed every `refresh_ms`."""
    step = draw(st.sampled_from([1, 10, 100, 1_000]))
    interval_ms = draw(st.sampled_from([1_000, 10_000, 60_000, 900_000]))
    refresh_ms = draw(st.sampled_from([100, 1_000, 5_000]))
    waits = draw(
        st.lists(
            st.one_of(st.integers(interval_ms - interval_ms // 10, interval_ms + interval_ms // 10), OUTAGES_MS),
            min_size=least,
            max_size=60,
        )
    )
    loads = draw(st.lists(st.integers(0, 100), min_size=len(waits), max_size=len(waits)))
    begun_wh = draw(st.integers(0, 99_999_999))
    times = list(accumulate(waits))
    grown = list(accumulate(w * FULL_W * load / 100 / 3_600_000 for w, load in zip(waits, loads, strict=True)))

    def shown(at_ms: int) -> int:
        """What the register says: the counter as it was when it was refreshed, rounded down to a step."""
        seen_ms = at_ms - at_ms % refresh_ms
        index = next(i for i, time in enumerate(times) if seen_ms <= time)
        before_ms, before_wh = (times[index - 1], grown[index - 1]) if index else (0, 0.0)
        share = (seen_ms - before_ms) / (times[index] - before_ms)
        return int((begun_wh + before_wh + share * (grown[index] - before_wh)) // step)

    return Life(step, [(ms, shown(ms)) for ms in times])


def judged(counter: Counter, now_ms: int, value: int) -> int:
    return 0 if counter.goes_on(value, now_ms) else counter.judge(value, now_ms).flag


@given(lives())
def test_a_true_counter_is_never_flagged(life: Life) -> None:
    counter = life.counter()
    assert [judged(counter, *reading) for reading in life.readings] == [0] * len(life.readings)


@given(lives(), st.integers(1_000, 60_000))
def test_a_true_counter_that_turns_over_is_never_flagged(life: Life, turns_at: int) -> None:
    """Of a meter that is read at least daily: after a month's silence nobody can tell how often it turned over."""
    modulus = 1_000_000 + turns_at
    bounds = counter_bounds(
        Column(ENERGY, Resolution.parse(life.step)),
        Ratings(CURRENT_A, rollover={ENERGY: Fraction(modulus * life.step)}),
    )
    counter = Counter(bounds)
    last_ms, first = life.readings[0]
    shift = modulus - first - 50
    counter.remember((first + shift) % modulus, last_ms)  # a value that nothing confirms does not turn over
    for now_ms, value in life.readings[1:]:
        if now_ms - last_ms > 86_400_000 or value - first > modulus // 20:
            break
        last_ms = now_ms
        assert judged(counter, now_ms, (value + shift) % modulus) == 0


@given(lives(least=6), st.data())
def test_one_wrong_value_is_flagged_or_possible_and_poisons_nothing(life: Life, data: st.DataObject) -> None:
    at = data.draw(st.integers(2, len(life.readings) - 4), label="at")
    true_value = life.readings[at][1]
    wrong = data.draw(
        st.one_of(
            st.just(0), st.integers(0, 2**40), st.integers(-3_000, 3_000).map(lambda by: max(0, true_value + by))
        ),
        label="wrong",
    )
    counter = life.counter()
    values = [(ms, wrong if i == at else value) for i, (ms, value) in enumerate(life.readings)]
    flags = [judged(counter, *reading) for reading in values]
    assert not any(flags[:at])
    (before_ms, before), (now_ms, _) = life.readings[at - 1], life.readings[at]
    if not flags[at]:
        bounds = counter_bounds(Column(ENERGY, Resolution.parse(life.step)), Ratings(CURRENT_A))
        most = bounds.slack + (wrong >> 22) + bounds.rate * (now_ms - before_ms + 2_000 + 15_000)
        assert 0 <= wrong - before <= most
    # One true value may contradict a possible one; from then on it is known which was wrong.
    assert sum(map(bool, flags[at + 1 :])) <= (0 if flags[at] else 1)
    assert not any(flags[at + 3 :])


@given(lives(), st.integers(0, 2**33))
def test_a_replaced_meter_is_believed_in_the_end(life: Life, begun: int) -> None:
    """Whatever it counted before, and whatever the new one begins with."""
    counter = life.counter()
    for reading in life.readings:
        judged(counter, *reading)
    now_ms, _ = life.readings[-1]
    flags = []
    for second in range(400):
        now_ms += 1_000
        flags.append(judged(counter, now_ms, begun + second))
    assert set(flags[:300]) <= {0, BACKWARDS, JUMP}
    assert not any(flags[302:])


NAMES = ("voltage_l1_n", "current_l1", "power_active_total", "frequency", ENERGY)


@given(st.lists(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=5, max_size=5), max_size=50))
def test_whatever_a_meter_says_is_judged(frames: list[list[int | None]]) -> None:
    """No exception, a flag for each value or none at all, no event that names nothing, and the values as they were."""
    truth = MeterTruth("main", [Column(name, Resolution(1, 0)) for name in NAMES], Ratings(CURRENT_A))
    for number, frame in enumerate(frames):
        flags, events = truth.judge(1_000 * number, Sample(tuple(frame)))
        assert len(flags) in {0, 5}
        assert all(event.data["measurand"] in NAMES for event in events)
        for value, flag, name in zip(frame, flags or [0] * 5, NAMES, strict=True):
            assert value is not None or not flag
            if name == "voltage_l1_n" and value is not None:
                assert bool(flag) == (not 80 <= value <= 300)

"""A counter as a timetable: (second, value) -> flag, and what was found out. Steps of 1 Wh, 100 A on three phases."""

from __future__ import annotations

from fractions import Fraction

import pytest

from agent.core.truth.bounds import Ratings, counter_bounds
from agent.core.truth.counter import BACKWARDS, JUMP, Counter, Ruling
from wire.batch import Column
from wire.resolution import Resolution

ENERGY = Column("energy_active_import_total", Resolution(1, 0))
START = 5_000_000
HOUR_S, DAY_S, MONTH_S = 3_600, 86_400, 31 * 86_400


def counter(modulus: int | None = None, known: int | None = None) -> Counter:
    rollover = {} if modulus is None else {ENERGY.measurand: Fraction(modulus)}
    made = Counter(counter_bounds(ENERGY, Ratings(100, rollover=rollover)))
    if known is not None:
        made.remember(known, 0)
    return made


def rule(tried: Counter, second: float, value: int) -> Ruling:
    now_ms = round(second * 1000)
    return Ruling() if tried.goes_on(value, now_ms) else tried.judge(value, now_ms)


def flags(tried: Counter, *readings: tuple[float, int]) -> list[int]:
    return [rule(tried, *reading).flag for reading in readings]


@pytest.mark.parametrize(
    ("known", "readings", "expected"),
    [
        pytest.param(START, [(1, START), (2, START + 20), (3, START + 20)], [0, 0, 0], id="counts"),
        pytest.param(START, [(1, START - 1), (2, START), (3, START + 9)], [BACKWARDS, 0, 0], id="back by one step"),
        pytest.param(
            START,
            [(1, 0), (2, 0), (3, 0), (4, START + 60)],
            [BACKWARDS, BACKWARDS, BACKWARDS, 0],
            id="zeros for a while",
        ),
        pytest.param(
            START, [(1, START + 53_000_000), (2, START + 1), (3, START + 2)], [JUMP, 0, 0], id="53 MWh and back"
        ),
        pytest.param(
            START,
            [(1, START + 53_000_000), (2, 17), (3, START + 53_000_000), (4, START + 2)],
            [JUMP, BACKWARDS, JUMP, 0],
            id="garbage of several kinds",
        ),
        pytest.param(START, [(HOUR_S, START + 100_000)], [0], id="an hour of full load in silence"),
        pytest.param(START, [(HOUR_S, START + 120_000)], [JUMP], id="more than the fuses carry in an hour"),
        pytest.param(START, [(MONTH_S, START + 70_000_000)], [0], id="a month without a reading"),
        pytest.param(None, [(1, START), (2, START + 1)], [0, 0], id="nothing known"),
        pytest.param(None, [(1, START), (2, 0), (3, START)], [0, BACKWARDS, 0], id="a bad second frame"),
        pytest.param(None, [(1, 0), (2, START), (3, START + 1)], [0, JUMP, 0], id="a bad first frame, too low"),
        pytest.param(
            None, [(1, 99_000_000), (2, START), (3, START + 1)], [0, BACKWARDS, 0], id="a bad first frame, too high"
        ),
    ],
)
def test_flags(known: int | None, readings: list[tuple[float, int]], expected: list[int]) -> None:
    assert flags(counter(known=known), *readings) == expected


def test_what_is_physically_possible_and_wrong_costs_one_good_reading_at_most() -> None:
    """After a month's silence 60 MWh are possible; the readings after it say that they were not true."""
    tried = counter(known=START)
    assert rule(tried, MONTH_S, START + 60_000_000) == Ruling()
    assert rule(tried, MONTH_S + 1, START + 100_000) == Ruling(BACKWARDS)
    retracted = rule(tried, MONTH_S + 2, START + 100_002)
    assert retracted == Ruling(found="retracted", old=START + 60_000_000, old_ms=MONTH_S * 1000)
    assert flags(tried, (MONTH_S + 3, START + 100_004)) == [0]


def test_a_value_once_wrong_within_reason_is_taken_back_by_the_next_two() -> None:
    tried = counter(known=START)
    readings = [(1, START + 1), (2, START + 60), (3, START + 3), (4, START + 4), (5, START + 5)]
    assert flags(tried, *readings) == [0, 0, BACKWARDS, 0, 0]


def test_a_refresh_every_few_seconds_brings_what_was_counted_meanwhile_at_once() -> None:
    """At full load, read each second, from a meter that refreshes its registers every 5 s."""
    tried = counter(known=START)
    watts = 100 * 230 * 3
    assert not any(flags(tried, *((s, START + s // 5 * 5 * watts // 3600) for s in range(1, 600))))


def test_what_was_not_counted_all_night_is_not_allowed_at_once() -> None:
    tried = counter(known=START)
    assert flags(tried, *((s, START) for s in range(1, 2 * HOUR_S, 10)), (2 * HOUR_S, START + 5_000)) == [
        *[0] * 720,
        JUMP,
    ]


def test_a_step_of_a_kilowatt_hour_comes_as_a_whole() -> None:
    coarse = Column("energy_active_import_total", Resolution(1, 3))
    tried = Counter(counter_bounds(coarse, Ratings(5, phases=1)))
    assert flags(tried, (1, 500), (2, 500), (3, 501), (4, 501), (5, 504)) == [0, 0, 0, 0, JUMP]


def test_steps_grow_with_the_current_transformer() -> None:
    """One step of the meter is 40 of the value; the meter has 5 A, the line 200 A."""
    tried = Counter(counter_bounds(ENERGY, Ratings(200, factor=40)))
    assert flags(tried, (1, START), (2, START + 40), (2.1, START + 80), (3, START + 1_000)) == [0, 0, 0, JUMP]


def test_a_float32_of_a_large_number_rounds_coarsely() -> None:
    tried = Counter(counter_bounds(ENERGY, Ratings(1, phases=1)))
    large = 3_000_000_000
    assert flags(tried, (1, large), (2, large + 256), (3, large + 256), (4, large + 9_000)) == [0, 0, 0, JUMP]


def test_a_counter_turns_over() -> None:
    modulus = 10_000_000
    tried = counter(modulus, known=modulus - 5)
    assert rule(tried, 1, 3) == Ruling(found="rollover", old=modulus - 5, old_ms=0)
    assert flags(tried, (2, 4), (3, 20)) == [0, 0]


@pytest.mark.parametrize(
    ("known", "value"),
    [
        pytest.param(5_000_000, 3, id="from the middle"),
        pytest.param(9_999_995, 2_000_000, id="to the middle"),
        pytest.param(9_000_000, 3, id="too far for a second"),
    ],
)
def test_what_goes_back_otherwise_did_not_turn_over(known: int, value: int) -> None:
    assert rule(counter(10_000_000, known=known), 1, value) == Ruling(BACKWARDS)


def test_a_zero_that_looked_like_a_turn_is_taken_back() -> None:
    modulus = 10_000_000
    tried = counter(modulus, known=modulus - 50)
    assert rule(tried, 1, 0).found == "rollover"
    assert rule(tried, 2, modulus - 49) == Ruling(JUMP)
    assert rule(tried, 3, modulus - 48) == Ruling(found="retracted", old=0, old_ms=1_000)
    assert rule(tried, 4, 0) == Ruling(BACKWARDS), "and none turns over again so soon"


def test_an_unproven_value_does_not_turn_over() -> None:
    assert flags(counter(1_000), (1, 999), (2, 0)) == [0, BACKWARDS]


def test_a_reset_is_believed_when_it_stays_and_rises() -> None:
    tried = counter(known=START)
    rulings = [rule(tried, s, s // 10) for s in range(1, 400)]
    assert [r.flag for r in rulings[:300]] == [BACKWARDS] * 300
    assert rulings[300] == Ruling(found="reset", old=START, old_ms=0)
    assert not any(r.flag or r.found for r in rulings[301:])


def test_bad_frames_among_it_do_not_hinder_the_belief() -> None:
    tried = counter(known=START)
    rulings = [rule(tried, s, 77_000_000 if s % 5 == 0 else s) for s in range(1, 400)]
    (found,) = [s for s, ruling in enumerate(rulings, 1) if ruling.found]
    assert 300 < found < 310
    assert found % 5, "and it is never such a frame that is believed"
    assert [r.flag for r in rulings[found:]] == [JUMP if s % 5 == 0 else 0 for s in range(found + 1, 400)]


def test_a_level_that_stands_still_is_not_believed_before_a_day_is_over() -> None:
    tried = counter(known=START)
    rulings = {s: rule(tried, s, 0) for s in range(60, DAY_S + 120, 60)}
    assert [s for s, ruling in rulings.items() if ruling.found] == [DAY_S + 60]


def test_a_slow_meter_is_believed_after_ten_readings() -> None:
    tried = counter(known=START)
    rulings = [rule(tried, 900 * n, 10 * n) for n in range(1, 12)]
    assert [ruling.found for ruling in rulings] == [None] * 9 + ["reset", None]


def test_it_is_reset_with_others_of_the_meter() -> None:
    tried = counter(known=START)
    assert tried.reset_with_others(0) is None
    assert set(flags(tried, *((s, 0) for s in range(1, 302)))) == {BACKWARDS}
    assert tried.reset_with_others(302_000) is None, "not without a reading of that moment"
    assert tried.reset_with_others(301_000) == Ruling(found="reset", old=START, old_ms=0)
    assert flags(tried, (302, 0)) == [0]


def test_another_meter_begins_anew() -> None:
    tried = counter(known=START)
    tried.forget()
    assert flags(tried, (1, 7), (2, 8)) == [0, 0]


def test_import_less_export_goes_both_ways_but_no_faster_than_the_fuses_allow() -> None:
    net = Column("energy_active_net_total", Resolution(1, 0))
    tried = Counter(counter_bounds(net, Ratings(100)))
    readings = [(1, -40), (2, -60), (3, -20), (4, 9_000_000), (5, -9_000_000), (6, -30), (7, -90)]
    assert flags(tried, *readings) == [0, 0, 0, JUMP, JUMP, 0, 0]
    assert [rule(tried, s, -500_000 - s).flag for s in range(8, 400)] == [JUMP] * 300 + [0] * 92

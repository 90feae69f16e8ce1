"""What is remembered of requests that were given up: pure, as timetables. And how a Modbus meter says who it is."""

from __future__ import annotations

import pytest
from scripted_port import Sends, scripted_meter
from virtual_time import run_virtual

from drivers.meter import MeterError
from drivers.modbus.late_answers import DECAY, FORGET_S, PATIENCE, LateAnswers
from drivers.profile.parse import parse_profile
from meter_sim.modbus.frames import Asked, answer_body, refusal_body, rtu_frame

ONE, TWO, LONGER = (1, 4, 2), (1, 4, 6), (1, 4, 3)
OTHERS = (2, 4, 2)


def test_a_request_that_was_given_up_is_awaited_for_a_while() -> None:
    late = LateAnswers()
    assert not late
    late.expect(ONE, 100)
    assert late
    assert [late.is_awaited(shape, 105) for shape in (ONE, TWO, OTHERS)] == [True, False, False]
    assert late.last_asked(ONE) == 100
    assert late.is_awaited(ONE, 100 + FORGET_S)
    assert not late.is_awaited(ONE, 100.01 + FORGET_S)
    assert not late


def test_late_answers_are_counted_and_say_how_slow_the_meter_is() -> None:
    late = LateAnswers()
    late.expect(ONE, 100)
    late.expect(ONE, 101)
    late.expect(OTHERS, 101)
    assert late.came(lambda shape: 7 * (shape == ONE), 102) == 7
    assert late.slow_s(1) == 2
    assert late.patience_s(1) == 2 * PATIENCE
    assert late.is_awaited(ONE, 102), "the second answer is still to come"
    assert late.came(lambda shape: 9 if shape == ONE else 18, 103) == 18
    assert late.came(lambda _shape: 5, 150) == 0, "too late to be one"
    assert not late
    assert (late.slow_s(1), late.slow_s(2), late.patience_s(3)) == (2, 2, 0)


def test_what_is_too_old_to_be_an_answer_teaches_nothing() -> None:
    late = LateAnswers()
    late.expect(ONE, 100)
    assert late.came(lambda _shape: 7, 101 + FORGET_S) == 0
    assert late.slow_s(1) == 0


def test_an_answer_in_step_ends_what_was_asked_of_that_meter_before() -> None:
    late = LateAnswers()
    for shape in (ONE, TWO, OTHERS):
        late.expect(shape, 100)
    late.in_step(1)
    assert [late.is_awaited(shape, 101) for shape in (ONE, TWO, OTHERS)] == [False, False, True]


def test_one_answer_to_two_requests_leaves_one_to_come() -> None:
    late = LateAnswers()
    late.expect(ONE, 100)
    late.expect(ONE, 101)
    late.took_one(ONE)
    late.took_one(TWO)
    assert late.last_asked(ONE) == 101
    late.came(lambda _shape: 7, 104)
    assert late.slow_s(1) == 3, "the second of them"
    assert late.is_awaited(ONE, 104), "a line may repeat what it has said"


def test_an_exception_is_a_late_one_where_a_request_that_may_be_refused_was_given_up() -> None:
    late = LateAnswers()
    late.expect(ONE, 100)
    assert not late.refusal_came(1)
    late.expect(LONGER, 101, refusable=True)
    assert not late.refusal_came(2)
    assert late.refusal_came(1)
    assert not late.refusal_came(1), "there was one such request"
    assert late.is_awaited(ONE, 102)


def test_a_slow_meter_is_forgiven_by_and_by() -> None:
    late = LateAnswers()
    late.expect(ONE, 100)
    late.came(lambda _shape: 7, 101)
    late.answered(1, 0.05)
    assert late.slow_s(1) == pytest.approx(DECAY)
    for _ in range(1000):
        late.answered(1, 0.05)
    assert late.slow_s(1) == pytest.approx(0.05)
    late.answered(2, 5)
    assert late.slow_s(2) == 0


NAMED = parse_profile("""
model = "test-meter"
vendor = "Test"
description = "A meter with a serial number"
sources = ["this test"]
[timing]
answer_timeout_ms = 100
[identity]
serial_number = { function = 3, address = 0xFC00, type = "uint32" }
[registers]
voltage_l1_n = { address = 0, resolution = 1, type = "uint16" }
""")


def identified(body: bytes | int | None) -> dict[str, str] | MeterError:
    """What a meter says of itself that answers so: registers, an exception, nothing."""

    def script(asked: Asked) -> Sends:
        assert (asked.function_code, asked.address, asked.count) == (3, 0xFC00, 2)
        if body is None:
            return []
        answer = refusal_body(asked, body) if isinstance(body, int) else answer_body(asked, body)
        return [(0.01, rtu_frame(asked.unit, answer))]

    async def scenario() -> dict[str, str] | MeterError:
        async with scripted_meter(script, NAMED) as (meter, _port):
            try:
                return dict(await meter.identify(500))
            except MeterError as error:
                return error

    return run_virtual(scenario())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\x01\x5e\xa1\x00", {"serial_number": "22978816"}),
        (b"\0\0\0\0", {}),  # as an SDM answers any register that it does not have
        (1, {}),
        (2, {}),
        (3, {}),
    ],
)
def test_a_meter_says_its_serial_number_or_nothing(body: bytes | int, said: dict[str, str]) -> None:
    assert identified(body) == said


@pytest.mark.parametrize(("body", "reason"), [(None, "silent"), (4, "exception"), (11, "silent")])
def test_a_meter_that_fails_to_say_who_it_is(body: int | None, reason: str) -> None:
    error = identified(body)
    assert isinstance(error, MeterError)
    assert error.reason == reason

from __future__ import annotations

from decimal import Decimal

import pytest

from wire.errors import WireError
from wire.resolution import Resolution


@pytest.mark.parametrize(
    ("said", "mantissa", "exponent"),
    [(0.1, 1, -1), ("0.10", 1, -1), (5, 5, 0), ("1e3", 1, 3), (1000, 1, 3), (2.5, 25, -1), (Decimal("0.01"), 1, -2)],
)
def test_parse_takes_the_shortest_form(said: str | float | Decimal, mantissa: int, exponent: int) -> None:
    assert Resolution.parse(said) == Resolution(mantissa, exponent)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("much", "resolution 'much' is not a number"),
        (0, "mantissa 0 is not in"),
        (-1, "is not a positive finite number"),
        ("Infinity", "is not a positive finite number"),
        (1.0000001, "mantissa 10000001 is not in"),
        (1e-13, "exponent -13 is not in"),
        ("0.1" + "0" * 30 + "1", "mantissa 10000000000000000000 is not in"),
    ],
)
def test_parse_refuses_other_steps(said: str | float, problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        Resolution.parse(said)


@pytest.mark.parametrize(
    ("said", "steps", "number"), [(0.1, 2304, 230.4), (0.1, 3, 0.3), (5, -3, -15), (1000, 7, 7000)]
)
def test_steps_and_numbers_are_the_same(said: float, steps: int, number: float) -> None:
    resolution = Resolution.parse(said)
    assert resolution.to_number(steps) == number
    assert resolution.to_steps(number) == steps


def test_between_two_steps_the_even_one_is_taken() -> None:
    assert [Resolution(1, 0).to_steps(number) for number in (0.5, 1.5, 2.4, -0.5)] == [0, 2, 2, 0]


def test_however_many_digits_a_number_has_it_is_rounded_once() -> None:
    just_over, just_under = Decimal("0.5" + "0" * 38 + "1"), Decimal("1.4" + "9" * 39)
    assert [Resolution(1, 0).to_steps(number) for number in (just_over, just_under, just_over.copy_negate())] == [
        1,
        1,
        -1,
    ]
    assert Resolution(3, 0).to_steps(Decimal("1.5" + "0" * 38 + "1")) == 1
    assert Resolution(3, 0).to_steps(Decimal("1.5")) == 0


@pytest.mark.parametrize(
    ("number", "problem"),
    [(float("nan"), "not a finite number"), (float("inf"), "not a finite number"), (1e30, "does not fit 64 bits")],
)
def test_what_has_no_steps_is_refused(number: float, problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        Resolution(1, 0).to_steps(number)

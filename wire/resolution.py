"""A resolution: the step in which a measurand is counted, `mantissa * 10 ** exponent` of its unit."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from wire.errors import WireError

MANTISSA_MAX = 1_000_000
EXPONENT_MIN, EXPONENT_MAX = -12, 12
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1
_DIGITS_SHOWN_MAX = 20  # of a mantissa that is too large


def shortest(number: Decimal) -> tuple[str, int]:
    """Digits without zeros at their end, and the exponent of ten that they are multiplied by; of 0 `("0", ...)`."""
    _, parts, exponent = number.as_tuple()
    digits = "".join(map(str, parts))
    kept = digits.rstrip("0") or "0"
    return kept, int(exponent) + len(digits) - len(kept)


@dataclass(frozen=True, slots=True)
class Resolution:
    """`Resolution(1, -1)` is 0.1 of the unit; an integer n in a column means `n * 0.1`."""

    mantissa: int
    exponent: int

    def __post_init__(self) -> None:
        if not 1 <= self.mantissa <= MANTISSA_MAX:
            raise WireError(f"resolution mantissa {self.mantissa} is not in 1..{MANTISSA_MAX}")
        if not EXPONENT_MIN <= self.exponent <= EXPONENT_MAX:
            raise WireError(f"resolution exponent {self.exponent} is not in {EXPONENT_MIN}..{EXPONENT_MAX}")

    @classmethod
    def parse(cls, text: str | float | Decimal) -> Resolution:
        """From `0.1`, `"0.1"`, `5`, `"1e3"`; the shortest form, so that equal steps compare equal."""
        try:
            number = Decimal(str(text))
        except InvalidOperation as error:
            raise WireError(f"resolution {text!r} is not a number") from error
        if number.is_signed() or not number.is_finite():
            raise WireError(f"resolution {text!r} is not a positive finite number")
        digits, exponent = shortest(number)
        return cls(int(digits[:_DIGITS_SHOWN_MAX]), exponent)

    @property
    def step(self) -> Decimal:
        return Decimal(self.mantissa).scaleb(self.exponent)

    def to_number(self, steps: int) -> int | float:
        """The value of `steps` in the unit, as the JSON number nearest to the exact decimal."""
        exact = steps * self.mantissa
        if self.exponent >= 0:
            return exact * int(10**self.exponent)
        return exact / int(10**-self.exponent)

    def to_steps(self, number: float | Decimal) -> int:
        """`number` in steps, rounded half to even; raises `WireError` unless finite and within 64 bits."""
        try:
            steps = round(Fraction(Decimal(str(number))) / Fraction(self.step))  # to even; a Decimal is not exact
        except (InvalidOperation, ValueError, OverflowError) as error:
            raise WireError(f"value {number} is not a finite number") from error
        if not INTEGER_MIN <= steps <= INTEGER_MAX:
            raise WireError(f"value {number} in steps of {self.step} does not fit 64 bits")
        return steps

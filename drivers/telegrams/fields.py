"""From a telegram to the values of a reading: exact arithmetic, and nothing where the telegram says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from drivers.profile.model import CT_UNITS, Field
from drivers.telegrams.telegram import Item, Telegram, TelegramError
from wire.batch import Quality
from wire.resolution import INTEGER_MAX, INTEGER_MIN

NOT_AVAILABLE = (None, int(Quality.NOT_AVAILABLE))
OVERFLOW = (None, int(Quality.OVERFLOW))


class FieldReader:
    """Reads `fields` out of telegrams. `ct_ratio` multiplies currents, powers and energies.

    A field that a telegram has not is not available. `in_lists`: unless an earlier telegram had it; then the meter
    sends it in some of its lists only, and in the others it is missing without a flag.
    """

    def __init__(self, fields: Sequence[Field], ct_ratio: float = 1, *, in_lists: bool = False) -> None:
        self._in_lists = in_lists
        self._seen: set[str] = set()
        self._fields = [(field, field.scale * _factor(field, ct_ratio)) for field in fields]

    def __call__(self, telegram: Telegram) -> tuple[tuple[int | None, ...], tuple[int, ...]]:
        """Values in steps and their flags, empty when all are good; `TelegramError` where both contradict."""
        items = _by_code(telegram)
        read = [_value(field, scale, items) or self._absent(field) for field, scale in self._fields]
        if self._in_lists:
            self._seen.update(field.measurand for field, _ in self._fields if _terms(field, items) is not None)
        flags = tuple(flag for _, flag in read)
        return tuple(value for value, _ in read), flags if any(flags) else ()

    def _absent(self, field: Field) -> tuple[None, int]:
        return (None, 0) if field.measurand in self._seen else NOT_AVAILABLE

    def holds(self, telegram: Telegram) -> int:
        """How many of the fields a telegram has."""
        codes = {item.code for item in telegram.items if item.number is not None}
        return sum(any(all(code in codes for _, code in terms) for terms in field.sums) for field, _ in self._fields)

    def origin(self, measurand: str, telegram: Telegram) -> tuple[str, str]:
        """The code, or sum of codes, that a measurand is made of, and what the meter sent under it."""
        texts = {item.code: item.text for item in telegram.items}
        field = next(field for field, _ in self._fields if field.measurand == measurand)
        terms = next((terms for terms in field.sums if all(code in texts for _, code in terms)), field.sums[0])
        codes = " ".join(("- " if sign < 0 else "+ " if at else "") + code for at, (sign, code) in enumerate(terms))
        return codes, "  ".join(texts.get(code, "") for _, code in terms)


def _factor(field: Field, ct_ratio: float) -> Fraction:
    return Fraction(str(ct_ratio)) if field.meaning.unit in CT_UNITS else Fraction(1)


def _by_code(telegram: Telegram) -> dict[str, Item | None]:
    """None: there are two that differ, and nobody knows which is meant."""
    items: dict[str, Item | None] = {}
    for item in telegram.items:
        known = items.get(item.code, item)
        items[item.code] = item if known is not None and known.number == item.number else None
    return items


def _terms(field: Field, items: dict[str, Item | None]) -> tuple[tuple[int, str], ...] | None:
    """The first sum whose codes are all there."""
    return next((terms for terms in field.sums if all(code in items for _, code in terms)), None)


def _value(field: Field, scale: Fraction, items: dict[str, Item | None]) -> tuple[int | None, int] | None:
    """None: the telegram has it not."""
    terms = _terms(field, items)
    return None if terms is None else _total(field, scale, [(sign, code, items[code]) for sign, code in terms])


def _total(field: Field, scale: Fraction, terms: Sequence[tuple[int, str, Item | None]]) -> tuple[int | None, int]:
    meaning, step = field.meaning, Fraction(field.resolution.step)
    total, is_finer = Fraction(0), False
    for sign, code, item in terms:
        if item is None or item.number is None:
            return NOT_AVAILABLE
        if item.unit and item.unit != meaning.unit:
            cause = f"{code} is in {item.unit}, but {field.measurand} in {meaning.unit}: is the profile the meter's?"
            raise TelegramError("unsupported", "telegram", cause)
        total += sign * item.number
        is_finer = is_finer or (item.step is not None and item.step * abs(scale) < step)
    exact = total * scale / step
    if meaning.kind == "counter" and is_finer and exact.denominator != 1:
        return OVERFLOW  # rounding it would take away what the meter counts
    steps = round(exact)
    return (steps, 0) if INTEGER_MIN <= steps <= INTEGER_MAX else OVERFLOW

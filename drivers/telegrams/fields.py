"""From a telegram to the values of a reading: exact arithmetic, and nothing where the telegram says nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from drivers.meter import Notice
from drivers.profile.model import CT_UNITS, Field
from drivers.telegrams.telegram import Item, Telegram, TelegramError
from wire.batch import Quality
from wire.resolution import INTEGER_MAX, INTEGER_MIN

NOT_AVAILABLE = (None, int(Quality.NOT_AVAILABLE))
OVERFLOW = (None, int(Quality.OVERFLOW))
OFFERS_MAX = 3  # codes that are named in place of a missing one
DEMANDS = frozenset({2, 3, 4, 5, 6, 16, 26})  # OBIS group D: averages and maxima over a period, no values of now
PHASE_CODES, PHASES_MAX = 20, 3  # group C: 1 to 20 are of all phases, 21 to 40 of L1 ...
ACTIVE_IMPORT, ACTIVE_EXPORT, ACTIVE_ABSOLUTE, ACTIVE_NET = 1, 2, 15, 16
RELATIVES = {
    ACTIVE_IMPORT: {ACTIVE_IMPORT, ACTIVE_ABSOLUTE, ACTIVE_NET},
    ACTIVE_EXPORT: {ACTIVE_EXPORT, ACTIVE_ABSOLUTE, ACTIVE_NET},
    ACTIVE_NET: {ACTIVE_IMPORT, ACTIVE_EXPORT, ACTIVE_ABSOLUTE, ACTIVE_NET},
}
_OBIS = re.compile(r"(\d+)-\d+:(\d+)\.(\d+)\.(\d+)")
_NOT_OF_NOW = re.compile(r"\.(max|min|error|s\d+)(\.|$)")


@dataclass(frozen=True, slots=True)
class TelegramRemark:
    """What is to be said of a measurand: its line is damaged, another code may be it, or it has several sources."""

    measurand: str
    about: Literal["damaged", "substitute", "sources"]
    text: str
    instead: tuple[str, ...] = ()

    def notice(self) -> Notice:
        """For the log and for the record."""
        kind = "several_sources" if self.about == "sources" else "value_missing"
        instead = {"instead": list(self.instead)} if self.instead else {}
        return Notice(
            kind, {"measurand": self.measurand, "cause": self.text, **instead}, f"{self.measurand}: {self.text}"
        )


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

    def remarks(self, telegram: Telegram) -> Iterator[TelegramRemark]:
        """Why values are missing, as far as the telegram tells, and which of several sources were taken."""
        items, sources = _by_code(telegram), dict(telegram.sources)
        for field, _ in self._fields:
            terms = _terms(field, items)
            codes = [code for _, code in terms or ()]
            for code in codes:
                if code in sources:
                    yield TelegramRemark(field.measurand, "sources", sources[code])
            damaged = [items[code] for code in codes if items[code].number is None]
            if damaged:
                yield from _damage(field, damaged[0])
            elif terms is None and field.measurand not in self._seen:
                yield from self._substitute(field, telegram)

    def _substitute(self, field: Field, telegram: Telegram) -> Iterator[TelegramRemark]:
        owners = {each.sums[0][0][1]: each.measurand for each, _ in self._fields if len(each.sums[0]) == 1}
        offers = list(dict.fromkeys(item for item in telegram.items if _may_be(field, item)))[:OFFERS_MAX]
        unread = next((item.fault for item in telegram.items if item.fault and not item.code), "")
        if not offers and not unread:
            return
        missed = f"the telegram has no {' and no '.join(_written(terms) for terms in field.sums)}"
        if offers:
            owned = [_offered(item) + (f" ({owners[item.code]})" if item.code in owners else "") for item in offers]
            missed += f", but {', '.join(owned)}: if that is the value, name its code in a profile of your own"
        if unread:
            missed += f"; a part of the telegram cannot be read: {unread}"
        yield TelegramRemark(
            field.measurand, "substitute" if offers else "damaged", missed, tuple(item.code for item in offers)
        )

    def origin(self, measurand: str, telegram: Telegram) -> tuple[str, str]:
        """The code, or sum of codes, that a measurand is made of, and what the meter sent under it."""
        texts = {item.code: item.text for item in telegram.items}
        field = next(field for field, _ in self._fields if field.measurand == measurand)
        terms = next((terms for terms in field.sums if all(code in texts for _, code in terms)), field.sums[0])
        return _written(terms), "  ".join(texts.get(code, "") for _, code in terms)


def _factor(field: Field, ct_ratio: float) -> Fraction:
    return Fraction(str(ct_ratio)) if field.meaning.unit in CT_UNITS else Fraction(1)


def _by_code(telegram: Telegram) -> dict[str, Item]:
    """Of two under one code that differ nobody knows which is meant: neither is."""
    items: dict[str, Item] = {}
    for item in telegram.items:
        known = items.get(item.code)
        if known is None or known.number == item.number:
            items[item.code] = item
        else:
            fault = known.fault or item.fault or f"{item.code} is there with several values"
            items[item.code] = replace(item, number=None, fault=fault)
    return items


def _terms(field: Field, items: dict[str, Item]) -> tuple[tuple[int, str], ...] | None:
    """The first sum whose codes are all there."""
    return next((terms for terms in field.sums if all(code in items for _, code in terms)), None)


def _value(field: Field, scale: Fraction, items: dict[str, Item]) -> tuple[int | None, int] | None:
    """None: the telegram has it not."""
    terms = _terms(field, items)
    return None if terms is None else _total(field, scale, [(sign, code, items[code]) for sign, code in terms])


def _total(field: Field, scale: Fraction, terms: Sequence[tuple[int, str, Item]]) -> tuple[int | None, int]:
    meaning, step = field.meaning, Fraction(field.resolution.step)
    total, is_finer = Fraction(0), False
    for sign, code, item in terms:
        if item.number is None:
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


def _written(terms: Sequence[tuple[int, str]]) -> str:
    return " ".join(("- " if sign < 0 else "+ " if at else "") + code for at, (sign, code) in enumerate(terms))


def _damage(field: Field, item: Item) -> Iterator[TelegramRemark]:
    """A line that is empty has no fault: the meter says that it has no value."""
    if item.fault:
        yield TelegramRemark(field.measurand, "damaged", f"{item.code} gives no value: {item.fault}")


def _offered(item: Item) -> str:
    return f"{item.code} = {float(item.number or 0):.10g} {item.unit}".strip()


def _may_be(field: Field, item: Item) -> bool:
    """Whether an item measures something like the field: the same unit, and a related code."""
    if item.number is None or item.unit != field.meaning.unit:
        return False
    return any(_are_related(code, item.code) for terms in field.sums for _, code in terms)


def _are_related(wanted: str, offered: str) -> bool:
    one, other = _OBIS.fullmatch(wanted), _OBIS.fullmatch(offered)
    if one is None or other is None:
        same = wanted.partition(".")[0] == offered.partition(".")[0]
        return one is None and other is None and same and not _NOT_OF_NOW.search(offered)
    (a, c, _, e), (a2, c2, d2, _) = (tuple(map(int, match.groups())) for match in (one, other))
    if a != 1 or a2 != 1:  # gas, water and heat: the unit tells
        return a != 1 and a2 != 1
    if e or d2 in DEMANDS or c > PHASE_CODES * (PHASES_MAX + 1):
        return False
    (phase, kind), (phase2, kind2) = divmod(c - 1, PHASE_CODES), divmod(c2 - 1, PHASE_CODES)
    return phase == phase2 and kind2 + 1 in RELATIVES.get(kind + 1, {kind + 1})

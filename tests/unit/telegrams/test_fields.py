"""From a telegram to values: sums, alternatives, units, exact steps, and what is missing."""

from __future__ import annotations

from fractions import Fraction

import pytest

from drivers.profile.parse import parse_profile
from drivers.telegrams.fields import FieldReader
from drivers.telegrams.telegram import Item, Telegram, TelegramError
from wire.batch import Quality

NOT_AVAILABLE, OVERFLOW = int(Quality.NOT_AVAILABLE), int(Quality.OVERFLOW)
HEAD = """
model = "acme-two"
vendor = "Acme"
description = "Two"
sources = ["its manual"]
protocol = "sml"
[fields]
"""


def item(code: str, number: int | str | None, unit: str = "", step: int | str | None = None) -> Item:
    return Item(code, None if number is None else Fraction(number), unit, "", None if step is None else Fraction(step))


def read(field: str, *items: Item, ct_ratio: float = 1) -> tuple[int | None, int]:
    """Value and flag of one field of a profile."""
    values, flags = FieldReader(parse_profile(HEAD + field).fields, ct_ratio)(Telegram(items))
    return values[0], flags[0] if flags else 0


POWER = 'power_active_total = { code = ["1-0:16.7.0", "1-0:1.7.0 - 1-0:2.7.0"], resolution = 0.1 }'
ENERGY = 'energy_active_import_total = { code = ["1-0:1.8.0", "1-0:1.8.1 + 1-0:1.8.2"], resolution = 0.1 }'
VOLTS = 'voltage_l1_n = { code = "1-0:32.7.0", scale = 0.1, resolution = 0.1 }'


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([item("1-0:16.7.0", -5, "W")], (-50, 0)),
        ([item("1-0:1.7.0", 100, "W"), item("1-0:2.7.0", 300, "W")], (-2000, 0)),
        ([item("1-0:16.7.0", 7, "W"), item("1-0:1.7.0", 100, "W"), item("1-0:2.7.0", 300, "W")], (70, 0)),
        ([item("1-0:1.7.0", 100, "W")], (None, NOT_AVAILABLE)),
        ([item("1-0:16.7.0", None, "W")], (None, NOT_AVAILABLE)),
        ([item("1-0:16.7.0", "1/20", "W")], (0, 0)),
        ([item("1-0:16.7.0", "3/20", "W")], (2, 0)),
        ([item("1-0:16.7.0", 10**30, "W")], (None, OVERFLOW)),
        ([item("1-0:16.7.0", 5, "W"), item("1-0:16.7.0", 5, "W")], (50, 0)),
        ([item("1-0:16.7.0", 5, "W"), item("1-0:16.7.0", 6, "W")], (None, NOT_AVAILABLE)),
        ([item("1-0:16.7.0", 5, "W"), item("1-0:16.7.0", 6, "W"), item("1-0:16.7.0", 6, "W")], (None, NOT_AVAILABLE)),
    ],
)
def test_the_first_sum_that_is_there_counts(items: list[Item], expected: tuple[int | None, int]) -> None:
    assert read(POWER, *items) == expected


def test_tariffs_make_a_total() -> None:
    items = (item("1-0:1.8.1", 4426, "Wh", 1), item("1-0:1.8.2", 2399, "Wh", 1))
    assert read(ENERGY, *items) == (68_250, 0)


def test_a_counter_that_is_finer_than_its_column_is_not_rounded() -> None:
    assert read(ENERGY, item("1-0:1.8.0", "123456/100", "Wh", "1/100")) == (None, OVERFLOW)
    assert read(ENERGY, item("1-0:1.8.0", "123450/100", "Wh", "1/100")) == (12_345, 0), "nothing of it is lost"
    assert read(ENERGY, item("1-0:1.8.0", "1/3", "Wh", 1)) == (3, 0), "such as GJ: its own step is coarser"
    assert read(ENERGY, item("1-0:1.8.0", "1/3", "Wh")) == (3, 0), "a float has no step of its own"


def test_scale_is_for_what_has_no_unit() -> None:
    assert read(VOLTS, item("1-0:32.7.0", 2305)) == (2305, 0)


def test_a_transformer_multiplies_power_and_energy() -> None:
    assert read(POWER, item("1-0:16.7.0", 5, "W"), ct_ratio=40) == (2000, 0)
    assert read(VOLTS, item("1-0:32.7.0", 2305), ct_ratio=40) == (2305, 0)


def test_another_unit_is_another_meter() -> None:
    with pytest.raises(TelegramError, match="is in m3, but power_active_total in W") as caught:
        read(POWER, item("1-0:16.7.0", 5, "m3"))
    assert caught.value.reason == "unsupported"


def test_what_comes_in_some_lists_only_is_missing_in_the_others_without_a_flag() -> None:
    reader = FieldReader(parse_profile(f"{HEAD}{POWER}\n{ENERGY}").fields, in_lists=True)
    short = Telegram((item("1-0:16.7.0", 5, "W"),))
    long = Telegram((*short.items, item("1-0:1.8.0", 7, "Wh")))
    assert reader(short) == ((50, None), (0, NOT_AVAILABLE))
    assert reader(long) == ((50, 70), ())
    assert reader(short) == ((50, None), ())


def test_how_much_of_a_profile_a_telegram_has_and_where_it_came_from() -> None:
    reader = FieldReader(parse_profile(f"{HEAD}{POWER}\n{ENERGY}").fields)
    telegram = Telegram((Item("1-0:1.7.0", Fraction(1), "W", "1"), Item("1-0:2.7.0", Fraction(0), "W", "0")))
    assert reader.holds(telegram) == 1
    assert reader.holds(Telegram(())) == 0
    assert reader.origin("power_active_total", telegram) == ("1-0:1.7.0 - 1-0:2.7.0", "1  0")
    assert reader.origin("energy_active_import_total", telegram) == ("1-0:1.8.0", "")

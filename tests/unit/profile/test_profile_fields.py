"""`[fields]` of a profile: codes, sums of them and alternatives, and what is wrong with them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from drivers.profile.parse import ProfileError, parse_profile
from wire.resolution import Resolution

GOOD = """
model = "acme-two"
vendor = "Acme"
description = "Two"
sources = ["its manual"]
protocol = "sml"
[fields]
power_active_total = { code = ["1-0:16.7.0", "1-0:1.7.0 - 1-0:2.7.0"], resolution = 0.1 }
energy_active_import_total = { code = "1-0:1.8.1 + 1-0:1.8.2*3", resolution = 1, rollover = 1e9, scale = 10 }
"""
ENERGY = "fields.energy_active_import_total"


def mistakes_of(text: str) -> dict[str, str]:
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "here")
    return {mistake.path: f"{mistake.problem}; {mistake.expected}" for mistake in caught.value.mistakes}


def test_alternatives_are_sums_of_signed_codes() -> None:
    power, energy = parse_profile(GOOD).fields
    assert power.sums == (((1, "1-0:16.7.0"),), ((1, "1-0:1.7.0"), (-1, "1-0:2.7.0")))
    assert energy.sums == (((1, "1-0:1.8.1"), (1, "1-0:1.8.2*3")),)
    assert (energy.scale, energy.resolution, energy.rollover) == (10, Resolution(1, 0), Fraction(10**9))
    assert energy.meaning.unit == "Wh"


def test_without_a_default_list_every_field_is_read() -> None:
    profile = parse_profile(GOOD)
    assert profile.default == profile.measurands == ("power_active_total", "energy_active_import_total")
    assert [field.measurand for field in profile.select_fields()] == list(profile.default)
    assert [field.measurand for field in profile.select_fields(("power_active_total",))] == ["power_active_total"]


def test_the_default_list_names_fields() -> None:
    text = GOOD.replace("[fields]", 'default = ["power_active"]\n[fields]')
    assert mistakes_of(text) == {
        "default[0]": "'power_active' is not in [fields], did you mean 'power_active_total'?; a measurand of [fields]"
    }


@pytest.mark.parametrize(
    ("old", "new", "path", "says"),
    [
        ('"1-0:1.8.1 + 1-0:1.8.2*3"', '"1.8"', None, ""),
        ('"1-0:1.8.1 + 1-0:1.8.2*3"', '"energy"', f"{ENERGY}.code", "'energy' is none; codes such as"),
        ('"1-0:1.8.1 + 1-0:1.8.2*3"', '"1-0:1.8.1 +"', f"{ENERGY}.code", "'1-0:1.8.1 +' is none"),
        ('"1-0:1.8.1 + 1-0:1.8.2*3"', "[]", f"{ENERGY}.code", "[] does not fit"),
        ("scale = 10", "scale = 0", f"{ENERGY}.scale", "a number that is not 0"),
        ("resolution = 1,", "resolution = 1e99,", f"{ENERGY}.resolution", "exponent"),
        ("resolution = 0.1", "resolution = 0.1, rollover = 5", "fields.power_active_total.rollover", "is no counter"),
        ('"sml"', '"modbus"', "fields", "a Modbus meter has none"),
        ("energy_active_import_total", "energy_imported", "fields.energy_imported", "unknown measurand"),
    ],
)
def test_a_field_that_cannot_be(old: str, new: str, path: str | None, says: str) -> None:
    text = GOOD.replace(old, new)
    if path is None:
        parse_profile(text)
    else:
        assert says in mistakes_of(text)[path]


def test_records_of_m_bus_have_names() -> None:
    text = GOOD.replace('"sml"', '"mbus"')
    assert set(mistakes_of(text)) == {f"{ENERGY}.code", "fields.power_active_total.code"}
    text = text.replace('"1-0:1.8.1 + 1-0:1.8.2*3"', '"energy.t1.u2 + energy.backward"')
    text = text.replace('["1-0:16.7.0", "1-0:1.7.0 - 1-0:2.7.0"]', '"power.ff01"')
    assert parse_profile(text).fields[0].sums == (((1, "power.ff01"),),)


def test_registers_are_for_modbus_alone() -> None:
    text = GOOD + "[registers]\nfrequency = { address = 0, resolution = 0.1 }\n"
    assert mistakes_of(text) == {"registers": "a meter of sml has none; [fields]"}

"""What is doubtful about profiles, and about values that were read with them."""

from __future__ import annotations

import pytest

from drivers.profile.files import find_profile, shipped_profiles
from drivers.profile.parse import Profile, parse_profile
from drivers.profile.review import are_all_zero, doubts, remarks

HEAD = """
model = "acme-one"
vendor = "Acme"
description = "One"
sources = ["its manual"]
"""
KNOWN = """
[rating]
current_max_a = 40
[identity]
serial_number = { function = 3, address = 9, type = "uint32" }
marks = [{ function = 3, address = 11, any_of = [7] }]
"""
GOOD = """
[registers]
voltage_l1_n = { address = 0, resolution = 0.1 }
current_l1 = { address = 2, resolution = 0.001 }
power_active_total = { address = 4, resolution = 1 }
power_factor_total = { address = 6, resolution = 0.01 }
frequency = { address = 8, resolution = 0.01 }
energy_active_import_total = { address = 10, scale = 1000, resolution = 1 }
"""


def profile(registers: str = GOOD, head: str = "", known: str = KNOWN) -> Profile:
    return parse_profile(HEAD + head + known + registers)


def paths(of: Profile) -> list[str]:
    return [remark.path for remark in remarks(of)]


def test_a_good_profile_has_no_remarks() -> None:
    assert remarks(profile()) == ()


@pytest.mark.parametrize("model", sorted(shipped_profiles()))
def test_shipped_profiles_have_hints_at_most(model: str) -> None:
    shipped = find_profile(model)
    if shipped.protocol == "modbus":
        assert [str(remark) for remark in remarks(shipped) if not remark.is_hint] == []


def test_what_is_not_known_is_a_hint() -> None:
    found = remarks(profile(known=""))
    assert [remark.path for remark in found] == [
        "rating.current_max_a", "identity.marks", "identity.serial_number",
    ]  # fmt: skip
    assert all(remark.is_hint for remark in found)


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("resolution = 0.1 }", "resolution = 5 }", "registers.voltage_l1_n.resolution"),
        ("resolution = 0.1 }", "resolution = 0.00001 }", "registers.voltage_l1_n.resolution"),
        ("resolution = 0.1 }", "type = 'uint16', resolution = 0.1 }", "registers.voltage_l1_n.resolution"),
        ("resolution = 1 }\npower", "resolution = 99 }\npower", "registers.power_active_total.resolution"),
        ("address = 8,", "address = 8, type = 'uint16', scale = 0.001,", "registers.frequency.resolution"),
        ("scale = 1000, resolution", "type = 'uint16', resolution", "registers.energy_active_import_total.type"),
        ("address = 2,", "address = 2, word_order = 'little',", "registers"),
        ("frequency =", "voltage_l3_n =", "registers.voltage_l1_n"),
    ],
)  # fmt: skip
def test_doubtful_registers(old: str, new: str, path: str) -> None:
    assert GOOD.count(old) == 1
    assert path in paths(profile(GOOD.replace(old, new)))


def test_a_default_without_what_people_want() -> None:
    assert paths(profile(head='default = ["voltage_l1_n"]')) == ["default", "default"]


def test_too_many_defaults_and_a_time_out_that_is_none() -> None:
    phases = "".join(
        f"{name} = {{ address = {100 + 2 * at}, resolution = 0.1 }}\n"
        for at, name in enumerate(
            f"{stem}_l{phase}" for stem in ("power_active", "power_reactive", "power_apparent", "power_factor",
                                            "phase_angle", "thd_voltage", "thd_current") for phase in (1, 2, 3)
        )
    )  # fmt: skip
    found = paths(profile(GOOD + phases, known=KNOWN + "[timing]\nanswer_typical_ms = 100\nanswer_timeout_ms = 100\n"))
    assert {"default", "timing.answer_timeout_ms"} <= set(found)


VALUES = {
    "voltage_l1_n": 230.0, "current_l1": 5.0, "power_active_total": 1100.0, "power_factor_total": 0.96,
    "frequency": 50.0, "energy_active_import_total": 1e6,
}  # fmt: skip


def test_good_values_raise_no_doubt() -> None:
    assert doubts(profile(), VALUES) == {}
    assert doubts(profile(), VALUES | {"power_active_total": -1100.0, "power_factor_total": -0.96}) == {}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("voltage_l1_n", 2300.0, "outside of 80 to 300 V"),
        ("voltage_l1_n", 0.0, "outside"),
        ("voltage_l1_l2", 900.0, "outside of 138.6 to 519.6 V"),
        ("frequency", 499.8, "outside of 45 to 65 Hz"),
        ("power_factor_total", 96.0, "outside of -1 to 1"),
        ("current_l1", 41.0, "outside of -40 to 40 A"),
        ("energy_active_import_total", -1.0, "below 0 Wh"),
        ("power_active_total", 11000.0, "more than voltage times current, 1150 VA"),
        ("power_active_total", 1.1, "far less"),
    ],
)
def test_implausible_values(name: str, value: float, says: str) -> None:
    assert says in doubts(profile(), VALUES | {name: value})[name]


def test_a_total_that_is_not_the_sum_of_its_phases() -> None:
    values = {"power_active_l1": 100.0, "power_active_l2": 200.0, "power_active_l3": -50.0}
    assert doubts(profile(), values | {"power_active_total": 250.0}) == {}
    assert "not the sum" in doubts(profile(), values | {"power_active_total": 2500.0})["power_active_total"]


def test_nothing_but_zeros() -> None:
    assert are_all_zero([0, 0.0])
    assert not are_all_zero([0, 0.1])

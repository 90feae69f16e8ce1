"""What a scan asks, in which order, and how long that takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.metering.scan_plan import (
    ALL_UNITS,
    COMMON,
    ScanStep,
    Setting,
    again,
    expected_ms,
    factory_settings,
    naive_ms,
    narrowed,
    other_settings,
    parse_units,
    promoted,
    serial_steps,
    tcp_steps,
)
from drivers.profile.files import load_profile, shipped_profiles

SETTINGS = st.builds(
    Setting, st.sampled_from([1200, 9600, 115200]), st.sampled_from(["N", "E", "O"]), st.sampled_from([1, 2])
)


def of_the_shipped() -> tuple[tuple[Setting, ...], dict[Setting, list[int]]]:
    profiles = [load_profile(path) for path in shipped_profiles().values()]
    defaults = []
    units: dict[Setting, list[int]] = {}
    for profile in profiles:
        if profile.protocol == "modbus":
            setting = Setting(profile.serial.baudrate, profile.serial.parity, profile.serial.stopbits)
            defaults.append((profile.vendor, setting))
            units.setdefault(setting, []).append(profile.serial.unit)
    return factory_settings(defaults), units


def test_the_usual_settings_come_first_and_unit_1_before_all_others() -> None:
    settings, units = of_the_shipped()
    assert settings[:5] == COMMON
    assert [str(setting) for setting in COMMON] == ["9600 8N1", "9600 8E1", "19200 8E1", "2400 8N1", "115200 8N1"]
    steps = serial_steps(settings, units, ALL_UNITS)
    assert steps[0].setting == COMMON[0]
    first = steps[: len(settings)]
    assert [step.setting for step in first] == list(settings)
    assert all(step.units[0] == 1 and len(step.units) <= 4 for step in first)
    assert expected_ms(first) < 2_500


def test_every_factory_setting_and_unit_of_the_shipped_profiles_is_in_the_first_round() -> None:
    settings, units = of_the_shipped()
    first = {
        (step.setting, unit)
        for step in serial_steps(settings, units, ALL_UNITS)[: len(settings)]
        for unit in step.units
    }
    for setting, factory_units in units.items():
        assert {(setting, unit) for unit in factory_units} <= first


@given(
    st.lists(SETTINGS, unique=True, min_size=1, max_size=6),
    st.lists(SETTINGS, unique=True, max_size=6),
    st.lists(st.integers(0, 255), unique=True, min_size=1, max_size=80),
    st.dictionaries(SETTINGS, st.lists(st.integers(0, 255), max_size=4), max_size=6),
)
def test_each_unit_is_asked_exactly_once_at_each_setting(
    factory: list[Setting], others: list[Setting], units: list[int], likely: dict[Setting, list[int]]
) -> None:
    others = [setting for setting in others if setting not in factory]
    steps = serial_steps(factory, likely, units, others)
    asked = [(step.setting, unit) for step in steps for unit in step.units]
    assert len(asked) == len(set(asked))
    assert set(asked) == {(setting, unit) for setting in (*factory, *others) for unit in units}
    assert expected_ms(steps) > 0


def test_a_full_sweep_beats_waiting_for_each() -> None:
    settings, units = of_the_shipped()
    others = other_settings(settings)
    assert len(set(settings) | set(others)) >= 32
    assert set(settings).isdisjoint(others)
    steps = serial_steps(settings, units, ALL_UNITS, others)
    ours, (half_second, second) = expected_ms(steps), naive_ms(steps)
    assert half_second > 5 * ours
    assert second > 10 * ours


def test_what_little_there_is_to_ask_is_waited_for_long() -> None:
    assert {step.wait_ms for step in serial_steps(COMMON, {}, (1, 5, 77))} == {600}
    assert max(step.wait_ms for step in serial_steps(COMMON, {}, ALL_UNITS)) == 120


def test_a_line_has_one_setting() -> None:
    steps = serial_steps(COMMON, {}, ALL_UNITS)
    left = narrowed(steps[3:], COMMON[1])
    assert {step.setting for step in left} == {COMMON[1]}
    assert expected_ms(left) < 25_000


def test_what_was_heard_and_not_understood_brings_its_speed_forward() -> None:
    steps = serial_steps(COMMON, {}, ALL_UNITS, other_settings(COMMON))
    ahead = promoted(steps, Setting(2400, "N", 1))
    speeds = [step.setting.baudrate for step in ahead if step.setting is not None]
    count = speeds.count(2400)
    assert speeds[:count] == [2400] * count
    assert sorted(map(str, ahead)) == sorted(map(str, steps))


def test_the_second_pass_asks_those_who_may_have_been_late() -> None:
    step = ScanStep(COMMON[0], tuple(range(1, 20)), 60)
    assert again(step, 7).units == (5, 6, 7)
    assert again(step, 1).units == (1,)
    assert again(step, 7).wait_ms > 400


def test_tcp_asks_the_gateway_itself_first() -> None:
    steps = tcp_steps((*ALL_UNITS, 0, 255))
    assert steps[0].units == (1, 255, 0)
    assert sorted(unit for step in steps for unit in step.units) == sorted((*ALL_UNITS, 0, 255))
    assert tcp_steps((5,)) == (ScanStep(None, (5,), steps[0].wait_ms),)


@pytest.mark.parametrize(
    ("text", "units"), [("1", (1,)), ("1-3", (1, 2, 3)), ("7, 1-2,255,1", (7, 1, 2, 255)), ("0", (0,))]
)
def test_units_as_people_write_them(text: str, units: tuple[int, ...]) -> None:
    assert parse_units(text) == units


@pytest.mark.parametrize("text", ["", "x", "1-", "-3", "3-1", "256", "1-300", "1,,2", "1 2"])
def test_units_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no unit id|is not within 0-255"):
        parse_units(text)

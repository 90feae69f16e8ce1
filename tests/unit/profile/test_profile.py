"""Profiles: every shipped one loads, and what is wrong with one is said all at once, where and how to mend it."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from drivers.modbus.block_plan import plan_reads
from drivers.modbus.decode import Decoder
from drivers.profile.files import find_profile, load_profile, shipped_profiles
from drivers.profile.parse import (
    DeviceId,
    IdentityRules,
    Mark,
    ProfileError,
    Rating,
    SunSpec,
    TextRegister,
    parse_profile,
)
from drivers.profile.schema import json_schema
from wire.resolution import Resolution

ROOT = Path(__file__).parents[3]
GOOD = """
model = "acme-one"
vendor = "Acme"
description = "One"
sources = ["its manual"]
[registers]
voltage_l1_n = { address = 0, resolution = 0.1 }
energy_active_import_total = { address = 2, scale = 1000, resolution = 1 }
"""


def mistakes_of(text: str) -> dict[str, str]:
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "here")
    return {mistake.path: f"{mistake.problem}; {mistake.expected}" for mistake in caught.value.mistakes}


@pytest.mark.parametrize("model", sorted(shipped_profiles()))
def test_every_shipped_profile_loads_plans_and_decodes(model: str) -> None:
    profile = find_profile(model)
    assert profile.model == model
    assert profile.sources
    for limits in (profile.limits, profile.fallback or profile.limits):
        blocks = plan_reads(profile.registers, limits)
        Decoder(profile.registers, blocks)
    assert set(profile.default) <= set(profile.measurands)


@pytest.mark.parametrize("model", sorted(shipped_profiles()))
def test_shipped_values_lose_nothing_that_the_meter_has(model: str) -> None:
    """Whole numbers are kept as they are; floats in steps that are finer than any meter's accuracy."""
    for register in find_profile(model).registers:
        step = Fraction(register.resolution.step)
        if register.scale_register is not None:
            continue  # the meter says its step in its answer
        if "int" in register.data_type:
            assert step <= abs(register.scale), register.measurand
        else:
            coarsest = {"V": 0.1, "A": 0.001, "1": 0.001, "Hz": 0.01, "Wh": 1, "varh": 1, "VAh": 1}
            assert step <= Fraction(str(coarsest.get(register.meaning.unit, 0.1))), register.measurand


def test_the_sdm630_reads_its_sixteen_default_values_in_one_request_on_tcp() -> None:
    profile = find_profile("eastron-sdm630")
    assert len(profile.default) == 16
    assert profile.fallback is not None
    assert profile.fallback.registers_max == 60


def test_defaults_fill_what_a_register_does_not_say() -> None:
    text = GOOD + "[defaults]\nfunction = 3\ntype = 'int32'\nword_order = 'little'\nnot_available = [-1]\n"
    register = parse_profile(text).registers[0]
    assert (register.function_code, register.data_type, register.word_order) == (3, "int32", "little")
    assert register.not_available == (0xFFFFFFFF,)
    assert register.count == 2
    assert register.resolution == Resolution(1, -1)


def test_without_a_default_list_every_register_is_read() -> None:
    profile = parse_profile(GOOD)
    assert profile.default == ("voltage_l1_n", "energy_active_import_total")
    assert [register.measurand for register in profile.select()] == list(profile.default)
    assert [register.measurand for register in profile.select(("voltage_l1_n",))] == ["voltage_l1_n"]


def test_scale_is_the_decimal_that_the_file_says() -> None:
    profile = parse_profile(GOOD.replace("scale = 1000", "scale = 0.1"))
    assert profile.registers[1].scale == Fraction(1, 10)


def test_which_values_a_transformer_multiplies() -> None:
    volts, energy = parse_profile(GOOD).registers
    assert not volts.scales_with_ct
    assert energy.scales_with_ct


def test_the_digest_is_of_the_text() -> None:
    assert parse_profile(GOOD).digest != parse_profile(GOOD + "\n").digest
    assert parse_profile(GOOD) == parse_profile(GOOD + "\n")


def test_all_mistakes_are_reported_at_once() -> None:
    found = mistakes_of("""
modle = "acme-one"
vendor = 3
description = "One"
sources = []
ct = "us"
[serial]
parity = "none"
[limits]
even = 1
[registers]
voltage_l1_m = { address = 0, resolution = 0.1 }
frequency = { address = -1 }
current_l1 = 7
""")
    assert set(found) == {
        "modle", "model", "vendor", "sources", "ct", "serial.parity", "limits.even", "registers.voltage_l1_m",
        "registers.frequency.address", "registers.frequency.resolution", "registers.current_l1",
    }  # fmt: skip
    assert "did you mean 'model'" in found["modle"]
    assert "did you mean 'voltage_l1_n'" in found["registers.voltage_l1_m"]
    assert '"N", "E" or "O"' in found["serial.parity"]


def test_an_unknown_key_without_a_near_one_still_says_what_there_is() -> None:
    found = mistakes_of(GOOD + "[timing]\nzzz = 1\n")
    assert found == {
        "timing.zzz": "unknown key; one of answer_typical_ms, answer_timeout_ms, quiet_ms, telegram_interval_ms"
    }


@pytest.mark.parametrize(
    ("change", "path", "says"),
    [
        ("scale = 0", "registers.energy_active_import_total.scale", "not 0"),
        ("scale = inf", "registers.energy_active_import_total.scale", "not 0"),
        ("scale = nan", "registers.energy_active_import_total.scale", "not 0"),
        ('scale = "0/9"', "registers.energy_active_import_total.scale", "not 0"),
        ('scale = "1/0"', "registers.energy_active_import_total.scale", "not 0"),
        ('scale = "0.5/9"', "registers.energy_active_import_total.scale", 'a fraction such as "2500/9"'),
        ("scale = 1000, resolution = 1e99", "registers.energy_active_import_total.resolution", "exponent"),
        ("type = 'uint16', not_available = [65536]", "registers.energy_active_import_total.not_available", "0xffff"),
        ("type = 'uint32', scale = 0.1", "registers.energy_active_import_total.resolution", "coarser"),
        ("rollover = 0", "registers.energy_active_import_total.rollover", "above 0"),
        ("rollover = inf", "registers.energy_active_import_total.rollover", "up to 1e18"),
        ("rollover = nan", "registers.energy_active_import_total.rollover", "up to 1e18"),
        ("scale_register = 0", "registers.energy_active_import_total.scale_register", "inside"),
        ("address = 65535", "registers.energy_active_import_total.address", "beyond 65535"),
        ("address = 1", "registers.energy_active_import_total.address", "lies inside voltage_l1_n (0..1)"),
    ],
)
def test_a_register_that_cannot_be(change: str, path: str, says: str) -> None:
    values = {"address": "2", "resolution": "1"} | dict(part.split(" = ", 1) for part in _parts(change))
    entry = ", ".join(f"{key} = {value}" for key, value in values.items())
    text = GOOD[: GOOD.index("energy_active")] + f"energy_active_import_total = {{ {entry} }}\n"
    found = mistakes_of(text)
    assert set(found) == {path}
    assert says in found[path]


def _parts(change: str) -> list[str]:
    return [part.strip() for part in change.split(", ") if " = " in part]


@pytest.mark.parametrize(
    ("limits", "path", "says"),
    [
        ("registers_max = 1", "registers.voltage_l1_n.address", "takes 2 registers"),
        ("registers_max = 2\nfallback = { registers_max = 1 }", "registers.voltage_l1_n.address", "within 1"),
        ("forbidden = [[3, 3]]", "registers.energy_active_import_total.address", "forbidden"),
        ("forbidden = [[9, 8]]", "limits.forbidden[0]", "ends before it begins"),
        ("registers_max = 60\nfallback = { registers_max = 80 }", "limits.fallback.registers_max", "no tighter"),
    ],
)
def test_limits_that_leave_a_register_unreadable(limits: str, path: str, says: str) -> None:
    found = mistakes_of(f"{GOOD}[limits]\n{limits}\n")
    assert path in found
    assert says in found[path]


def test_even_limits_count_the_whole_pairs() -> None:
    odd = GOOD.replace("address = 2", "address = 3")
    parse_profile(odd + "[limits]\nregisters_max = 2\n")
    found = mistakes_of(odd + "[limits]\nregisters_max = 2\neven = true\n")
    assert "takes 4 registers" in found["registers.energy_active_import_total.address"]


def test_a_fallback_may_only_close_the_gaps() -> None:
    profile = parse_profile(GOOD + "[limits]\nregisters_max = 60\nfallback = { gaps = false }\n")
    assert profile.fallback is not None
    assert (profile.fallback.registers_max, profile.fallback.gaps) == (60, False)
    assert parse_profile(GOOD).fallback is None


def test_the_default_list_names_registers_once() -> None:
    def with_default(names: str) -> dict[str, str]:
        return mistakes_of(GOOD.replace("[registers]", f"default = {names}\n[registers]"))

    assert "did you mean 'voltage_l1_n'" in with_default('["voltage_l1"]')["default[0]"]
    assert "twice" in with_default('["voltage_l1_n", "voltage_l1_n"]')["default[1]"]
    assert "at least one" in with_default("[]")["default"]


def test_text_that_is_no_toml_and_values_that_are_no_tables() -> None:
    assert "not TOML" in mistakes_of("model = ")["file"]
    assert "not TOML" in mistakes_of("model = " + "[" * 5000)["file"]
    assert "not a table" in mistakes_of("limits = 3\n" + GOOD)["limits"]
    assert "at least one measurand" in mistakes_of(GOOD[: GOOD.index("[registers]")] + "registers = {}\n")["registers"]


def test_every_line_of_the_message_names_the_profile() -> None:
    with pytest.raises(ProfileError) as caught:
        parse_profile("model = 'x'\n", "x.toml")
    assert all(line.startswith("profile x: ") for line in str(caught.value).splitlines())
    assert len(str(caught.value).splitlines()) == len(caught.value.mistakes)


def test_an_installers_folder_comes_before_the_shipped_profiles(tmp_path: Path) -> None:
    shipped = shipped_profiles()["eastron-sdm120"].read_text()
    (tmp_path / "eastron-sdm120.toml").write_text(shipped.replace('vendor = "Eastron"', 'vendor = "Ours"'))
    assert find_profile("eastron-sdm120", [tmp_path]).vendor == "Ours"
    assert find_profile("eastron-sdm630", [tmp_path]).vendor == "Eastron"


def test_an_unknown_model_is_told_what_is_near(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="did you mean 'eastron-sdm630'"):
        find_profile("eastron-sdm360", [tmp_path / "missing"])


def test_where_a_counter_begins_anew() -> None:
    def wraps_at(entry: str) -> Fraction | None:
        text = f"{GOOD}[registers.energy_active_export_total]\naddress = 4\n{entry}"
        return parse_profile(text).registers[2].rollover

    assert wraps_at("resolution = 1\nscale = 1000") is None
    assert wraps_at("resolution = 1\nrollover = 1e8") == 100_000_000
    assert wraps_at("resolution = 10\ntype = 'uint32'\nscale = 10") == 10 << 32
    assert wraps_at("resolution = 10\ntype = 'int32'\nscale = -10") == 10 << 31
    found = mistakes_of(GOOD.replace("resolution = 0.1", "resolution = 0.1, rollover = 9"))
    assert "no counter" in found["registers.voltage_l1_n.rollover"]


IDENTITY = """
[rating]
current_max_a = 45
voltage_range_v = [100, 280]
[identity]
serial_number = { function = 3, address = 9, type = "ascii", count = 7 }
marks = [{ function = 3, address = 11, any_of = [71, 72] }, { function = 3, address = 8, count = 2, ascii = "B23" }]
device_id = { vendor = "Acme", products = ["One"] }
"""


def test_rating_and_identity() -> None:
    profile = parse_profile(GOOD + IDENTITY)
    assert profile.rating == Rating(45, (100, 280), (45, 65))
    assert profile.identity == IdentityRules(
        TextRegister(3, 9, 7, "ascii"), (Mark(3, 11, 1, (71, 72)), Mark(3, 8, 2, (), "B23")), DeviceId("Acme", ("One",))
    )
    assert parse_profile(GOOD).identity == IdentityRules()


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("[100, 280]", "[280, 100]", "rating.voltage_range_v"),
        ("[100, 280]", "[100]", "rating.voltage_range_v"),
        (", count = 7", "", "identity.serial_number.count"),
        ('"ascii", count = 7', '"uint32", count = 7', "identity.serial_number.count"),
        ("any_of = [71, 72]", "any_of = [65536]", "identity.marks[0].any_of"),
        ("any_of = [71, 72]", "count = 1", "identity.marks[0]"),
        ('ascii = "B23"', 'ascii = "B23 X"', "identity.marks[1].ascii"),
        ('ascii = "B23"', 'text = "B23"', "identity.marks[1].text"),
        ('vendor = "Acme", products', "products", "identity.device_id.vendor"),
    ],
)
def test_an_identity_that_cannot_be(old: str, new: str, path: str) -> None:
    assert IDENTITY.count(old) == 1
    assert path in mistakes_of(GOOD + IDENTITY.replace(old, new))


def test_a_sunspec_map_counts_from_its_header() -> None:
    profile = parse_profile(GOOD + "[sunspec]\nmodels = [203]\n")
    assert profile.sunspec == SunSpec((203,), (40000, 50000, 0))
    assert all(register.relative for register in profile.registers)


def test_only_modbus_needs_registers() -> None:
    text = GOOD[: GOOD.index("[registers]")]
    assert mistakes_of(text) == {"registers": "missing; a table of at least one measurand"}
    assert mistakes_of(text + "protocol = 'sml'") == {"fields": "missing; a table of at least one measurand"}


def test_a_file_is_named_as_its_model(tmp_path: Path) -> None:
    path = tmp_path / "acme-two.toml"
    path.write_text(GOOD)
    with pytest.raises(ProfileError, match=r"'acme-one' in a file named acme-two\.toml"):
        load_profile(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"model = '\xe4'")
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile(tmp_path / "latin.toml")


def test_the_committed_schema_is_current() -> None:
    committed = json.loads((ROOT / "config/profile.schema.json").read_text())
    assert committed == json_schema(), "run `make generate`"

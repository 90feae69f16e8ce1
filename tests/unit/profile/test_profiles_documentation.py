"""docs/profiles.md: its example is a profile, and every key of the format appears in it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import msgspec

from drivers.profile.files import shipped_profiles
from drivers.profile.parse import parse_profile
from drivers.profile.schema import (
    DefaultsTable,
    DeviceIdTable,
    FallbackTable,
    FieldTable,
    IdentityTable,
    LimitsTable,
    MarkTable,
    ProfileTable,
    RatingTable,
    RegisterTable,
    SerialNumberTable,
    SerialTable,
    SunSpecTable,
    TimingTable,
)

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/profiles.md").read_text()
TABLES = (
    ProfileTable, DefaultsTable, LimitsTable, FallbackTable, SerialTable, TimingTable, RegisterTable, RatingTable,
    IdentityTable, SerialNumberTable, MarkTable, DeviceIdTable, SunSpecTable, FieldTable,
)  # fmt: skip


EXAMPLES: list[str] = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)


def test_the_examples_are_profiles() -> None:
    profile, relative, telegrams = (parse_profile(example) for example in EXAMPLES)
    assert len(profile.registers) == 5
    assert profile.limits.forbidden == ((0x40, 0x43),)
    assert profile.identity.device_id is not None
    assert relative.sunspec is not None
    assert relative.registers[0].relative
    assert telegrams.fields[0].sums == (((1, "1-0:16.7.0"),), ((1, "1-0:1.7.0"), (-1, "1-0:2.7.0")))


def test_every_key_is_documented_and_in_the_example() -> None:
    keys = {field.name for table in TABLES for field in msgspec.structs.fields(table)}
    assert {key for key in keys if key not in TEXT} == set()
    assert {key for key in keys if not re.search(rf"\b{key}\b", "".join(EXAMPLES))} == set()


def test_the_table_of_meters_is_current() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "tools/generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    text = (ROOT / "docs/meters.md").read_text()
    assert text == generate.meters(), "run `make generate`"
    assert set(re.findall(r"^\| `([a-z0-9-]+)`", text, re.MULTILINE)) == set(shipped_profiles())


def test_no_shipped_profile_is_without_its_facts() -> None:
    for path in shipped_profiles().values():
        assert "sources = [" in path.read_text()

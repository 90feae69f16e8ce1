"""The files in config/: complete, true, and current."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.settings import parse
from agent.settings.model import ARRAY_TABLES, SINGLE_TABLES

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "config" / "agent.example.toml"
TABLES = {**SINGLE_TABLES, **ARRAY_TABLES}
KEYS = [(table, field) for table, struct in TABLES.items() for field in msgspec.structs.fields(struct)]


def all_keys_set() -> dict[str, Any]:
    """The example with every key that it shows as a default switched on."""
    text = re.sub(r"^#(\w+ = .*)$", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    return tomllib.loads(text)


def test_the_example_is_good() -> None:
    settings = parse(EXAMPLE.read_bytes(), EXAMPLE)
    assert settings.warnings == ()
    assert [meter.model for meter in settings.meters] == ["eastron-sdm630"]


@pytest.mark.parametrize(("table", "field"), KEYS, ids=lambda part: getattr(part, "name", part))
def test_the_example_shows_every_key_with_its_default(table: str, field: Any) -> None:
    shown = all_keys_set()[table]
    shown = shown[0] if isinstance(shown, list) else shown
    assert field.name in shown
    if not field.required and field.default is not None:
        assert shown[field.name] == field.default


def test_the_example_explains_every_key() -> None:
    """A comment stands above each key, or above the keys around it without an empty line between."""
    explained = False
    for line in EXAMPLE.read_text().splitlines():
        if line.startswith(("# ", "#:")):
            explained = True
        elif not line.strip():
            explained = False
        elif re.match(r"#?\w+ =", line):
            assert explained, line


def test_the_schema_is_current() -> None:
    """As `make generate` writes it."""
    schema = json.loads((ROOT / "config" / "agent.schema.json").read_text())
    for table, struct in TABLES.items():
        described = schema["$defs"][struct.__name__]["properties"]
        assert set(described) == {field.name for field in msgspec.structs.fields(struct)}, table


@pytest.mark.parametrize(("table", "field"), KEYS, ids=lambda part: getattr(part, "name", part))
def test_the_manual_has_every_key(table: str, field: Any) -> None:
    manual = (ROOT / "docs" / "configuration.md").read_text()
    section = manual.partition(f"## `[{table}]`" if table in SINGLE_TABLES else f"## `[[{table}]]`")[2]
    assert f"`{field.name}`" in section.partition("\n## ")[0]


@pytest.mark.parametrize(("table", "field"), KEYS, ids=lambda part: getattr(part, "name", part))
def test_the_manual_says_of_every_key_whether_a_reload_takes_it(table: str, field: Any) -> None:
    manual = (ROOT / "docs" / "configuration.md").read_text()
    section = manual.partition(f"## `[{table}]`" if table in SINGLE_TABLES else f"## `[[{table}]]`")[2]
    row = re.search(rf"^\| `{field.name}` \| [^|]* \| ([^|]*) \|", section, re.MULTILINE)
    assert row is not None
    restart = {("box", "id"), ("clock", "source"), ("buffer", "path"), ("status", "path")}  # as agent.app says
    reconnects = table == "uplink" and field.name not in {"fleet_size", "confirm_interval"}
    assert row[1] == ("restart" if (table, field.name) in restart else "reconnects" if reconnects else "yes")

"""Checks of a parsed file key by key against `model`: what is unknown, missing, of the wrong type or out of range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import FieldInfo

from agent.settings.key_positions import KeyPath, line_of
from agent.settings.mistake import ConfigMistake
from agent.settings.model import ARRAY_TABLES, SINGLE_TABLES, AgentFile, meta_of
from agent.settings.quantities import parse_duration_ms, parse_size_bytes
from drivers.near_names import near_name

_PARSERS = {"duration": parse_duration_ms, "size": parse_size_bytes}
_TYPE_NAMES = {str: "text", bool: "true/false", int: "a number", float: "a number", list: "a list", dict: "a table"}


@dataclass(slots=True)
class Table:
    """One table of the file: the values of its good keys, defaults included; quantities in ms or bytes."""

    path: KeyPath
    values: dict[str, Any] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        """The value, or None where the file has a bad one or none."""
        return self.values.get(key)

    def __getitem__(self, key: str) -> Any:
        return self.values[key]


class MistakeReport:
    """Collects mistakes and warnings, each with the line of its key."""

    def __init__(self, lines: Mapping[KeyPath, int]) -> None:
        self._lines = lines
        self.mistakes: list[ConfigMistake] = []
        self.warnings: list[ConfigMistake] = []

    def mistake(self, path: KeyPath, problem: str, expected: str) -> None:
        """Something that makes the file unusable."""
        self.mistakes.append(ConfigMistake(dotted(path), line_of(self._lines, path), problem, expected))

    def warning(self, path: KeyPath, problem: str, expected: str) -> None:
        """Something that is probably not meant, and does no harm."""
        self.warnings.append(ConfigMistake(dotted(path), line_of(self._lines, path), problem, expected))


@dataclass(slots=True)
class Tables:
    """All tables of a file; those that it leaves out have their defaults."""

    single: dict[str, Table]
    buses: list[Table]
    meters: list[Table]


def dotted(path: KeyPath) -> str:
    """`("meter", 0, "unit")` -> `meter[0].unit`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def check_tables(document: Mapping[str, Any], report: MistakeReport) -> Tables:
    """Every table of the file with what is good in it; what is not goes to `report`."""
    _check_names((), document, [known.name for known in msgspec.structs.fields(AgentFile)], report)
    return Tables(
        single={name: _single(name, struct, document, report) for name, struct in SINGLE_TABLES.items()},
        buses=_array("bus", document, report),
        meters=_array("meter", document, report),
    )


def _single(name: str, struct: type[msgspec.Struct], document: Mapping[str, Any], report: MistakeReport) -> Table:
    content = document.get(name, {})
    if isinstance(content, list):
        report.mistake((name,), "is written as a list", f"expected single brackets: [{name}]")
        content = content[0] if len(content) == 1 and isinstance(content[0], dict) else None
    elif not isinstance(content, dict):
        report.mistake((name,), f"is {_show(content)}", f"expected a table: [{name}]")
        content = None
    return _table((name,), struct, content, report)


def _array(name: str, document: Mapping[str, Any], report: MistakeReport) -> list[Table]:
    content = document.get(name, [])
    struct = ARRAY_TABLES[name]
    if isinstance(content, dict):
        report.mistake((name,), "is written as a single table", f"expected double brackets: [[{name}]], one for each")
        content = [content]
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        report.mistake((name,), f"is {_show(content)}", f"expected tables: [[{name}]]")
        return []
    return [_table((name, index), struct, entry, report) for index, entry in enumerate(content)]


def _table(
    path: KeyPath, struct: type[msgspec.Struct], content: Mapping[str, Any] | None, report: MistakeReport
) -> Table:
    """`content` None: the table itself is a mistake already, so that its keys are not reported as missing."""
    fields = msgspec.structs.fields(struct)
    table = Table(path)
    _check_names(path, content or {}, [known.name for known in fields], report)
    for known in fields:
        if content is not None and known.name in content:
            _keep_if_good(table, known, content[known.name], report)
        elif known.required:
            if content is not None:
                report.mistake((*path, known.name), "is missing", f"expected {_expected(known)}")
        else:
            table.values[known.name] = _parse(known, known.default)
    return table


def _check_names(path: KeyPath, content: Mapping[str, Any], known: list[str], report: MistakeReport) -> None:
    for name in content:
        if name not in known:
            meant = near_name(name, known)
            hint = f"did you mean {meant!r}?" if meant else _home_of(name, known)
            report.mistake((*path, name), "is not a known key", hint)


def _home_of(name: str, known: list[str]) -> str:
    tables = {**SINGLE_TABLES, **ARRAY_TABLES}
    homes = [table for table, struct in tables.items() if name in struct.__struct_fields__]
    if homes:
        return f"it belongs in {' or '.join(f'[[{t}]]' if t in ARRAY_TABLES else f'[{t}]' for t in homes)}"
    return f"known here: {', '.join(known)}"


def _keep_if_good(table: Table, known: FieldInfo, value: object, report: MistakeReport) -> None:
    path = (*table.path, known.name)
    expected = f"expected {_expected(known)}"
    if isinstance(value, str) and not value.isprintable():
        report.mistake(path, f"is {_show(value)}, which has a control character in it", expected)
        return
    try:
        good = _parse(known, msgspec.convert(value, known.type))
    except (msgspec.ValidationError, OverflowError):  # OverflowError: hundreds of digits
        report.mistake(path, f"is {_show(value)}{_quotes(known, value)}", expected)
        return
    low, high = _extra(known).get("range", (None, None))
    if low is not None and not low <= good <= high:
        report.mistake(path, f"is {_show(value)}", expected)
        return
    table.values[known.name] = good


def _parse(known: FieldInfo, value: Any) -> Any:
    parser = _PARSERS.get(_extra(known).get("kind", ""))
    return parser(value) if parser is not None else value


def _expected(known: FieldInfo) -> str:
    return str(_extra(known)["expected"])


def _extra(known: FieldInfo) -> dict[str, Any]:
    return meta_of(known.type).extra or {}


def _quotes(known: FieldInfo, value: object) -> str:
    """TOML's quotes are what people get wrong."""
    wants_text = known.type.__origin__ is str
    if isinstance(value, str) and not wants_text and value.replace(".", "").isdigit():
        return ", which is text because of its quotes"
    if isinstance(value, int | float) and wants_text:
        return ", which has no quotes"
    return ""


def _show(value: object) -> str:
    """The value as the file has it, or its type where that would be long."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(c if c.isprintable() else repr(c)[1:-1] for c in value) + '"'
    if isinstance(value, int | float):
        return str(value)
    return _TYPE_NAMES.get(type(value), "a date or time")

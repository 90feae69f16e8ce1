"""Where keys stand, in every way that TOML has of writing them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.settings.key_positions import KeyPath, line_of, scan

DOCUMENT = '''# comment with [brackets] and = signs
title = "a # b"   # comment
numbers = [1, 2, # two
  3]
text = """
[not.a.table]
x = 1
"""
literal = \'\'\'
y = "\'\'\'
"quoted key"."dotted".z = 1
inline = { a = 1, b = { c = "}" }, d = [
  { e = 1 },
] }
when = 2026-11-21 05:26:00Z
[table]
key = \'single # "quoted"\'
[table.sub]
key = "esc \\" ] ["
[[array]]
name = "first"
[array.sub]
deep = 1
[[array]]
name = "second"
[array.sub]
deep = 2
[[array.nested]]
x = 1
[[array.nested]]
x = 2
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("numbers",), 3),
        (("numbers", 1), 3),
        (("numbers", 2), 4),
        (("text",), 5),
        (("literal",), 9),
        (("quoted key", "dotted", "z"), 11),
        (("inline", "b", "c"), 12),
        (("inline", "d", 0, "e"), 13),
        (("when",), 15),
        (("table",), 16),
        (("table", "key"), 17),
        (("table", "sub", "key"), 19),
        (("array", 0), 20),
        (("array", 0, "sub", "deep"), 23),
        (("array", 1, "name"), 25),
        (("array", 1, "sub", "deep"), 27),
        (("array", 1, "nested", 0, "x"), 29),
        (("array", 1, "nested", 1, "x"), 31),
    ],
)
def test_line_of_a_key(path: KeyPath, line: int) -> None:
    assert scan(DOCUMENT)[path] == line


def test_all_keys_that_tomllib_finds_are_found() -> None:
    assert set(paths(tomllib.loads(DOCUMENT))) <= set(scan(DOCUMENT))


def test_a_missing_key_stands_where_its_table_does() -> None:
    assert line_of(scan(DOCUMENT), ("array", 1, "missing")) == 24
    assert line_of(scan(DOCUMENT), ("nowhere", "missing")) is None


@given(st.text())
def test_any_text_ends(text: str) -> None:
    scan(text)


@given(st.text(alphabet="[]{}=,.\"'#\n ab1", max_size=60))
def test_keys_of_any_toml_are_found(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        scan(text)
        return
    assert set(paths(document)) <= set(scan(text))


def paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    if path:
        yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from paths(child, (*path, key))

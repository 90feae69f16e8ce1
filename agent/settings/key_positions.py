"""Where each key of a TOML document stands, since `tomllib` forgets it.

Works on text that `tomllib` has accepted, so nothing is checked here a second time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

KeyPath = tuple[str | int, ...]

_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SKIP = re.compile(r"(?:\s+|#[^\n]*)+")
_BLANK = re.compile(r"[ \t]*")
_SCALAR = re.compile(r"[^,\]}#\n]*")


def scan(text: str) -> Mapping[KeyPath, int]:
    """Line numbers (from 1) by key path; elements of arrays, also of `[[tables]]`, have their index in it."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int | None:
    """The line of `path`, or of the nearest table around it that is written down."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path)


class _Scanner:
    """One pass over the text; `position` always stands before the next thing to read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.lines: dict[KeyPath, int] = {}
        self._newlines_before = 0
        self._counted_to = 0
        self._table_counts: dict[KeyPath, int] = {}

    def document(self) -> None:
        table: KeyPath = ()
        while self._skip(_SKIP):
            if self._at("["):
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> KeyPath:
        is_array = self.text.startswith("[[", self.position)
        line = self._line()
        self.position += 2 if is_array else 1
        keys = self._dotted_key()
        self.position += 2 if is_array else 1
        path: KeyPath = ()
        for key in keys[:-1]:
            path = self._latest((*path, key))
        path = (*path, keys[-1])
        if is_array:
            self._table_counts[path] = self._table_counts.get(path, 0) + 1
            self.lines.setdefault(path, line)
            path = self._latest(path)
        self.lines.setdefault(path, line)
        return path

    def _latest(self, path: KeyPath) -> KeyPath:
        count = self._table_counts.get(path)
        return path if count is None else (*path, count - 1)

    def _pair(self, table: KeyPath) -> None:
        line = self._line()
        path = table
        for key in self._dotted_key():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self.position += 1  # the equals sign
        self._skip(_BLANK)
        self._value(path)

    def _dotted_key(self) -> list[str]:
        keys = []
        while True:
            self._skip(_BLANK)
            keys.append(self._key())
            self._skip(_BLANK)
            if not self._at("."):
                return keys
            self.position += 1

    def _key(self) -> str:
        if self._at('"') or self._at("'"):
            return self._take(_STRING)[1:-1]
        return self._take(_BARE_KEY)

    def _value(self, path: KeyPath) -> None:
        if self._at("["):
            self._array(path)
        elif self._at("{"):
            self._inline_table(path)
        elif self._at('"') or self._at("'"):
            self._take(_STRING)
        else:
            self._take(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self.position += 1
        index = 0
        while self._skip(_SKIP) and not self._at("]"):
            if self._at(","):
                self.position += 1
                continue
            self.lines[*path, index] = self._line()
            self._value((*path, index))
            index += 1
        self.position += 1

    def _inline_table(self, path: KeyPath) -> None:
        self.position += 1
        while self._skip(_SKIP) and not self._at("}"):
            if self._at(","):
                self.position += 1
                continue
            self._pair(path)
        self.position += 1

    def _at(self, char: str) -> bool:
        return self.text.startswith(char, self.position)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.position)
        if match is None or match.end() == self.position:
            self.position += 1  # not TOML after all: go on rather than stand still
            return ""
        self.position = match.end()
        return match[0]

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self.text, self.position)
        if match is not None:
            self.position = match.end()
        return self.position < len(self.text)

    def _line(self) -> int:
        self._newlines_before += self.text.count("\n", self._counted_to, self.position)
        self._counted_to = self.position
        return self._newlines_before + 1

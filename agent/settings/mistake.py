"""What is wrong with a configuration file: all of it at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ConfigMistake:
    """One thing that is wrong: the key it is about, where that stands, and what would be right."""

    path: str
    line: int | None
    problem: str
    expected: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.expected}" if self.path else f"{self.problem}; {self.expected}"


@dataclass(frozen=True, slots=True)
class Named:
    """What a configuration names outside itself; None where it does not do so properly.

    `ports` are those of buses; `written` are the files that the daemon makes, by key.
    """

    ca: Path | None
    cert: Path | None
    key: str | None
    ports: tuple[str | None, ...]
    written: Mapping[str, Path]


class SettingsError(Exception):
    """A configuration file that cannot be used; `mistakes` has all that is wrong with it, `warnings` what is odd.

    `named` is for looking at what it names all the same; None for a file that is no TOML.
    """

    def __init__(
        self,
        file: Path,
        mistakes: Iterable[ConfigMistake],
        warnings: Iterable[ConfigMistake] = (),
        named: Named | None = None,
    ) -> None:
        self.file = file
        self.named = named
        self.mistakes = list(mistakes)
        self.warnings = list(warnings)
        super().__init__("\n".join(describe(file, mistake) for mistake in self.mistakes))


def describe(file: Path, mistake: ConfigMistake) -> str:
    """`FILE:LINE: key.path: problem; expected`, the form that editors can jump to."""
    where = f"{file}:{mistake.line}" if mistake.line is not None else str(file)
    return f"{where}: {mistake}"

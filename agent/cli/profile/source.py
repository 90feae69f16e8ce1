"""Find a profile for `wattpost check-profile`, by file or model, with its mistakes and tested examples."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from agent.settings.key_positions import line_of, scan
from drivers.modbus.block_plan import Block
from drivers.modbus.decode import decode
from drivers.profile.files import find_profile, shipped_profiles
from drivers.profile.model import Profile, ProfileError, ProfileMistake, Register
from drivers.profile.parse import parse_profile

EXAMPLES_SUFFIX = ".test.json"
NOT_TOML = re.compile(r"at line (\d+), column \d+")


@dataclass(frozen=True, slots=True)
class ProfileFinding:
    """One mistake or remark, with its line in the file."""

    path: str
    line: int | None
    problem: str
    expected: str
    is_hint: bool = False

    def describe(self, file: Path) -> str:
        """`FILE:LINE: key: problem; what to do`, the form that editors can jump to."""
        where = str(file) if self.line is None else f"{file}:{self.line}"
        return f"{where}: {self.path}: {self.problem}; {self.expected}"


@dataclass(frozen=True, slots=True)
class Source:
    """A profile file. `profile` is None if mistakes make it unusable."""

    file: Path
    text: str
    profile: Profile | None
    mistakes: tuple[ProfileFinding, ...]
    examples: int = 0  # number of tested examples
    hides: Path | None = None  # a shipped profile of the same model

    def line(self, path: str) -> int | None:
        """The line of a key, or of the table around it."""
        return _line(self.text, path) if self.profile is not None else None


def is_file(given: str) -> bool:
    """Whether `given` is a file rather than the name of a model."""
    return given.endswith(".toml") or "/" in given or Path(given).is_file()


def locate(given: str, folder: Path) -> Path:
    """The file of a profile that is given by file or by model; `ProfileError` for an unknown model."""
    if is_file(given):
        return Path(given)
    own = folder / f"{given}.toml"
    if own.is_file():
        return own
    here = Path(f"{given}.toml")
    if given not in shipped_profiles() and here.is_file():
        return here
    find_profile(given, (folder,))
    return shipped_profiles()[given]


def read_source(file: Path) -> Source:
    """The profile in `file` with all its mistakes. Raises `OSError` and `UnicodeDecodeError`."""
    text = file.read_text(encoding="utf-8")
    try:
        profile = parse_profile(text, file.name)
    except ProfileError as error:
        return Source(file, text, None, tuple(_finding(text, mistake) for mistake in error.mistakes))
    mistakes = []
    if profile.model != file.stem:
        problem = f"{profile.model!r} in a file named {file.name}"
        mistakes.append(_finding(text, ProfileMistake("model", problem, f"{file.stem!r}, as the file is named")))
    found, tried = _try_examples(profile, file.with_name(file.stem + EXAMPLES_SUFFIX))
    shipped = shipped_profiles().get(profile.model)
    hides = shipped if shipped is not None and not file.samefile(shipped) else None
    return Source(file, text, profile, (*mistakes, *found), tried, hides)


def all_models(folder: Path) -> dict[str, Source]:
    """Every model that a configuration can name; those in `folder` override shipped ones of the same name."""
    files = {**shipped_profiles(), **{path.stem: path for path in folder.glob("*.toml")}}
    return {model: _try_source(files[model]) for model in sorted(files)}


def _try_source(file: Path) -> Source:
    try:
        return read_source(file)
    except (OSError, UnicodeDecodeError) as error:
        return Source(
            file, "", None, (ProfileFinding("file", None, f"cannot be read: {error}", "a readable TOML file"),)
        )


def _finding(text: str, mistake: ProfileMistake) -> ProfileFinding:
    return ProfileFinding(mistake.path, _line(text, mistake.path, mistake.problem), mistake.problem, mistake.expected)


def _line(text: str, path: str, problem: str = "") -> int | None:
    if path == "file":
        place = NOT_TOML.search(problem)
        return None if place is None else int(place[1])
    keys = tuple(int(part) if part.isdigit() else part for part in re.split(r"[.\[\]]+", path) if part)
    return line_of(scan(text), keys)


def _try_examples(profile: Profile, file: Path) -> tuple[list[ProfileFinding], int]:
    """Test the examples beside the profile: those that fail, and how many were tested."""
    if not file.is_file():
        return [], 0
    registers = {register.measurand: register for register in profile.registers}
    found: list[ProfileFinding] = []
    tried = 0
    try:
        examples: dict[str, list[list[str]]] = json.loads(file.read_text(encoding="utf-8"))
        for name, rows in examples.items():
            for words, value in rows:
                tried += 1
                got = _decoded(registers[name], words) if name in registers else "no such measurand"
                if not _is_same(got, value):
                    problem = f"{words} reads as {got}"
                    found.append(ProfileFinding(f"{file.name}: {name}", None, problem, f"expected {value}"))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        expected = 'expected {"measurand": [["registers in hexadecimal", "value"]]}'
        found.append(ProfileFinding(file.name, None, f"cannot be used: {error}", expected))
    return found, tried


def _is_same(got: str, value: str) -> bool:
    """Whether both are the same number, or the same text."""
    try:
        return Decimal(got) == Decimal(value)
    except InvalidOperation:
        return got == value


def _decoded(register: Register, words: str) -> str:
    data = bytes.fromhex(words)
    if len(data) != 2 * register.count:
        return f"{len(data) // 2} registers instead of {register.count}"
    (steps,), _flags = decode([register], [Block(register.function_code, register.address, register.count)], [data])
    return "no value" if steps is None else f"{steps * register.resolution.step:f}"


def as_document(finding: ProfileFinding) -> dict[str, Any]:
    """For `--json`."""
    return {"path": finding.path, "line": finding.line, "problem": finding.problem, "expected": finding.expected}

"""House rules that no linter knows. A failure says what to do instead."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from importlib.metadata import entry_points, packages_distributions
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = [
    "agent",
    "bench",
    "cloud",
    "config",
    "demo",
    "docs",
    "drivers",
    "hardware-sim",
    "packaging",
    "requirements",
    "systemd",
    "tests",
    "tools",
    "wire",
    ".ci",
]
TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".json", ".service", ".conf", ".sysusers", ".tmpfiles", ".rules", ""}
LINES_MAX = {"tests": 450, "bench": 400}
LINES_MAX_ELSEWHERE = 350
MODULES_MAX = {"wire": 22, "tests": 22}
MODULES_MAX_ELSEWHERE = 18
ONE_VOCABULARY = (("agent", "drivers", "wire"), ("cloud", "wire"))
# Written in two parts, so that this file does not break its own rule.
BANNED = {
    "/" + "work/": "a path of somebody's machine; use paths relative to the repository",
    "/root/" + ".": "a path of somebody's machine; use paths relative to the repository",
    "pypi." + "org": "the address of a package registry; that is pip's own configuration",
    "python" + "hosted": "the address of a package registry; that is pip's own configuration",
    "npm" + "js.": "the address of a package registry; that is npm's own configuration",
    "deb." + "debian": "the address of a package registry; that is apt's own configuration",
    "extra-" + "index": "the address of a package index; that is pip's own configuration",
    "time." + "sleep(0)": "a race; wait for the thing itself",
}
IMPORT_NAMES = ("agent", "cloud", "demo", "drivers", "meter_sim", "wire")
COMMANDS = {point.name: point.value for point in entry_points(group="wattpost.commands")}
MANUAL = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]


def files() -> Iterator[Path]:
    """Every text file of the repository, also where there is no git."""
    ours = (path for path in ROOT.iterdir() if path.is_file() and path.name != ".git")  # a file in a worktree
    yield from (path for path in ours if not path.name.startswith(".cov"))
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in TEXT_SUFFIXES and "__pycache__" not in path.parts:
                yield path


def python_files() -> Iterator[Path]:
    return (path for path in files() if path.suffix == ".py")


def test_files_are_short_enough_to_be_read() -> None:
    too_long = [
        f"{path.relative_to(ROOT)}: {count} lines"
        for path in python_files()
        if (count := len(path.read_text().splitlines()))
        > LINES_MAX.get(path.relative_to(ROOT).parts[0], LINES_MAX_ELSEWHERE)
    ]
    assert not too_long, "split by what changes together: " + "; ".join(too_long)


def test_a_folder_holds_no_more_modules_than_a_reader_can_survey() -> None:
    modules = Counter(path.parent.relative_to(ROOT) for path in python_files() if path.name != "__init__.py")
    too_many = [
        f"{folder}: {count} modules"
        for folder, count in modules.items()
        if count > MODULES_MAX.get(folder.parts[0], MODULES_MAX_ELSEWHERE)
    ]
    assert not too_many, "make folders that are concepts: " + "; ".join(too_many)


@pytest.mark.parametrize("packages", ONE_VOCABULARY, ids="+".join)
def test_a_public_class_name_means_one_thing(packages: tuple[str, ...]) -> None:
    places = defaultdict(list)
    for path in python_files():
        if path.relative_to(ROOT).parts[0] in packages:
            for name in public_types(path):
                places[name].append(str(path.relative_to(ROOT)))
    twice = [f"{name}: {', '.join(found)}" for name, found in sorted(places.items()) if len(found) > 1]
    assert not twice, "use the field's terms, see docs/glossary.md:\n" + "\n".join(twice)


def public_types(path: Path) -> Iterator[str]:
    """The public classes and type aliases at the top level of a module."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        else:
            continue
        yield from (name for name in names if re.fullmatch(r"[A-Z][A-Z0-9]*[a-z]\w*", name))


def test_nothing_of_one_machine_and_no_registry_is_named() -> None:
    found = [
        f"{path.relative_to(ROOT)} has {word!r}: {why}"
        for path in files()
        if "hypothesis" not in path.parts
        for text in [path.read_text(errors="replace")]
        for word, why in BANNED.items()
        if word in text
    ]
    assert not found, "\n".join(found)


def test_catching_everything_hides_what_went_wrong() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in python_files()
        if path.name != Path(__file__).name
        for line in path.read_text().splitlines()
        if re.match(r"\s*except( Exception)?\s*( as \w+)?:", line)
    ]
    assert not found, "name the errors that can come here:\n" + "\n".join(found)


def test_the_import_names_are_ours_alone() -> None:
    owners = packages_distributions()
    strangers = {name: set(owners.get(name, ())) - {"wattpost"} for name in IMPORT_NAMES}
    assert not any(strangers.values()), strangers


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "requirements").glob("*.txt")))
def test_requirements_are_pinned_and_hashed_and_name_no_address(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    assert "://" not in text
    assert not re.search(r"^-", text, re.MULTILINE), "no options: they belong to pip's own configuration"
    for entry in re.split(r"\n(?=\S)", text.strip()):
        assert re.match(r"[a-z0-9][a-z0-9._-]*==\S+", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_smaller_sets_of_requirements_are_part_of_larger_ones() -> None:
    pins = {
        name: set(re.findall(r"^[a-z0-9._-]+==[^ ;\\]+", (ROOT / f"requirements/{name}.txt").read_text(), re.MULTILINE))
        for name in ("box", "cloud", "dev")
    }
    assert pins["box"] < pins["cloud"] < pins["dev"]


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_every_command_is_in_the_manual(verb: str) -> None:
    assert any(f"wattpost {verb}" in path.read_text() for path in MANUAL), f"docs/*.md never says `wattpost {verb}`"


@pytest.mark.parametrize("path", MANUAL, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_that_are_written_about_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    mentioned = set(re.findall(r"(?:`|^ {4}|^)make ([a-z-]+)", path.read_text(), re.MULTILINE))
    assert mentioned <= targets


@pytest.mark.parametrize("path", MANUAL, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_that_are_written_about_exist_with_their_options(path: Path) -> None:
    for line in re.findall(r"(?:`|^ {4}|^)(?:sudo )?wattpost ([^`\n]*)", path.read_text(), re.MULTILINE):
        words = line.partition("#")[0].split()
        if not words or words[0].startswith("-") or not re.fullmatch(r"[a-z-]+", words[0]):
            continue
        assert words[0] in COMMANDS, f"wattpost {line}"
        known = options(load(words[0]))
        for word in words[1:]:
            if re.match(r"--[a-z]", word):
                assert word.partition("=")[0].strip("[].,;") in known, f"wattpost {line}: no option {word}"


@pytest.mark.parametrize("path", MANUAL, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        if "://" in target or target.startswith("mailto:"):
            continue
        if re.match(r"(\.\./)?(agent|cloud|demo|drivers|hardware-sim|wire)/", target) and not (ROOT / "agent").exists():
            continue  # the sources are not beside the tests of an installed wheel
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


def load(verb: str) -> click.Command:
    (point,) = entry_points(group="wattpost.commands", name=verb)
    command: click.Command = point.load()
    return command


def options(command: click.Command) -> set[str]:
    """The long options of a command and of all commands below it."""
    found = {"--help"} | {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}
    if isinstance(command, click.Group):
        context = click.Context(command)
        children = [command.get_command(context, name) for name in command.list_commands(context)]
        found.update(*(options(child) for child in children if child is not None))
    return found

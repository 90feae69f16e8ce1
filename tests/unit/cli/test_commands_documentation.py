"""docs/commands.md has every command with all its options, its exit codes, and nothing that is not there."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

MANUAL = (Path(__file__).parents[3] / "docs" / "commands.md").read_text()
COMMANDS = {point.name: point.load() for point in entry_points(group="wattpost.commands")}
SECTIONS = dict(re.findall(r"^## `wattpost ([a-z-]+)`\n(.*?)(?=^## |\Z)", MANUAL, re.MULTILINE | re.DOTALL))


def children(command: click.Command) -> dict[str, click.Command]:
    """Subcommands by name, also of groups that import them when asked."""
    if not isinstance(command, click.Group):
        return {}
    context = click.Context(command)
    found = {name: command.get_command(context, name) for name in command.list_commands(context)}
    return {name: child for name, child in found.items() if child is not None}


def options(command: click.Command) -> set[str]:
    """The long options of a command and its subcommands, without --help."""
    found = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    return found.union(*(options(child) for child in children(command).values()))


def test_each_command_has_a_section() -> None:
    assert set(SECTIONS) == set(COMMANDS)


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_each_option_is_explained(verb: str) -> None:
    text = SECTIONS.get(verb, "") + (SECTIONS["check-config"] if verb != "check-config" else "")
    missing = {name for name in options(COMMANDS[verb]) if not re.search(rf"`[^`\n]*{name}\b", text)}
    assert not missing, f"docs/commands.md, wattpost {verb}: {', '.join(sorted(missing))}"


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_subcommands_are_explained(verb: str) -> None:
    for child in children(COMMANDS[verb]):
        assert f"`wattpost {verb} {child}" in SECTIONS[verb]


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_exit_codes_of_the_help_are_in_the_table(verb: str) -> None:
    """A code that only one command has would surprise; those that all share stand at the top."""
    text = re.sub(r"\s+", " ", COMMANDS[verb].help or "")
    head = MANUAL.partition("\n## ")[0]
    sentences = re.findall(r"[Ee]xit codes?(?: is|:) (.*?\.)(?: |$)", text)
    codes = {code for sentence in sentences for code in re.findall(r"\b(6[4-9]|7[0-8])\b", sentence)}
    assert codes <= set(re.findall(r"\b(\d\d)\b", head))

"""The command as a whole: help, version, exit codes, and what starting it loads."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

from agent.cli.main import ENTRY_POINT_GROUP, OWN_COMMANDS, main
from agent.core.invariants import BrokenInvariantError
from agent.version import VERSION

HEAVY = {"rich", "sqlite_utils", "importlib.metadata", "email", "http.client", "boto3", "hypothesis", "urllib.request"}
VERBS = ["run", "check-config", "read", "status", "buffer", "decode", "encode", "demo", "receive", "cloud"]


def run_main(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("--version") == 0
    assert capsys.readouterr().out == f"wattpost, version {VERSION}\n"
    assert version("wattpost") == VERSION


def test_help_lists_every_verb_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("--help") == 0
    lines = capsys.readouterr().out.splitlines()
    for verb in VERBS:
        assert any(line.strip().startswith(f"{verb} ") and len(line.split()) > 2 for line in lines), verb


@pytest.mark.parametrize("words", [[], ["buffer"], ["cloud"]], ids=str)
def test_summaries_are_whole_on_eighty_columns(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run_main(*words, "--help") == 0
    listed = capsys.readouterr().out.partition("\nCommands:\n")[2].partition("\n\n")[0]
    assert listed
    assert "..." not in listed, listed


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_teaches(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(verb, "--help") == 0
    assert len(capsys.readouterr().out.splitlines()) > 5


def test_a_verb_that_is_near_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("chek-config") == 64
    assert "did you mean 'check-config'?" in capsys.readouterr().err


def test_wrong_usage_is_sysexits_64() -> None:
    assert run_main("check-config", "--nonsense") == 64


def test_own_commands_are_entry_points_too() -> None:
    points = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    of_agent = {name: value for name, value in points.items() if value.startswith("agent.")}
    assert {name: f"{module}:command" for name, module in OWN_COMMANDS.items()} == of_agent


@pytest.mark.parametrize("verb", ["run", "check-config"])
def test_the_daemon_starts_without_what_only_screens_need(verb: str) -> None:
    code = f"from agent.cli.main import main\ntry: main(['{verb}', '--help'])\nexcept SystemExit: pass\n"
    code += "import sys; print('loaded:', *sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)
    loaded = set(result.stdout.rpartition("loaded:")[2].split())
    assert "agent.settings" in loaded
    assert not loaded & HEAVY


def test_a_daemon_that_stops_itself_for_a_bug_says_which_invariant_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async def run(*_arguments: object) -> None:
        raise BrokenInvariantError("numbers are never given twice", {"first": 7})

    config = tmp_path / "agent.toml"
    config.touch()
    monkeypatch.setattr("agent.cli.run.load", lambda _config: None)
    monkeypatch.setattr("agent.app.App.main", run)
    assert run_main("run", "--config", str(config)) == os.EX_SOFTWARE
    assert "stop: broken invariant: numbers are never given twice (first=7)" in capsys.readouterr().err

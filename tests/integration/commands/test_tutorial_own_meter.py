"""docs/tutorial-own-meter.md, step by step: its table, its commands, and what it says that they print."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli.main import main
from agent.settings import parse

TEXT = (Path(__file__).parents[3] / "docs/tutorial-own-meter.md").read_text()
COMMANDS = [
    (block.splitlines()[0].removeprefix("$ wattpost "), block.splitlines()[1:])
    for part in re.findall(r"(?:^    .*\n|^\n(?=    ))+", TEXT, re.MULTILINE)
    if (block := "\n".join(line[4:] for line in part.strip("\n").splitlines())).startswith("$ wattpost")
]


def fenced(kind: str) -> str:
    found = re.search(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)
    assert found
    return found[1]


def run(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command))
    return int(ended.value.code or 0), capsys.readouterr().out.splitlines()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With the table of step 1."""
    (tmp_path / "acme-one.csv").write_text(fenced("csv"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def made(folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """With the profile of step 2, which is made as the page says."""
    command, printed = COMMANDS[0]
    assert run(command, capsys) == (0, printed)
    return folder


@pytest.fixture
def meter(made: Path) -> Iterator[str]:
    """The simulator of step 3, at a port that is free."""
    words = ["--tcp", "127.0.0.1:0", "--profiles", str(made / "profiles"), "--meter", "acme-one:1"]
    with subprocess.Popen([sys.executable, "-m", "meter_sim", *words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield line.split()[1]
        finally:
            process.terminate()


def test_the_page_has_its_commands() -> None:
    assert [command.split()[0] for command, _printed in COMMANDS] == [
        "new-profile", "check-profile", "check-profile", "check-config",
    ]  # fmt: skip


def test_the_profile_is_shown_as_the_page_says(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command, printed = COMMANDS[1]
    code, lines = run(command, capsys)
    assert code == 0
    assert lines[: len(printed)] == printed


def test_the_meter_agrees_and_a_mistake_is_seen(made: Path, meter: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, printed = COMMANDS[2]
    here = command.replace("tcp://127.0.0.1:5020", meter)
    code, lines = run(here, capsys)
    assert code == 0
    assert [line.split()[:1] for line in lines[2:]] == [line.split()[:1] for line in printed[2:]]
    assert lines[-1] == printed[-1]
    profile = made / "profiles/acme-one.toml"
    profile.write_text(profile.read_text().replace("scale = 0.1,", "scale = 1,"))
    with pytest.raises(SystemExit):
        main(shlex.split(here))
    said = capsys.readouterr()
    assert "08fd reads as" in said.err
    assert "outside of 80 to 300 V" in said.out


def test_the_configuration_of_the_page_is_one(made: Path) -> None:
    rest = '[box]\nid = "apt-1"\n[uplink]\nendpoint = "broker.example"\n'
    settings = parse((rest + fenced("toml")).encode(), made / "agent.toml")
    assert settings.meters[0].model == "acme-one"

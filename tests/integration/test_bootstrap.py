"""Setting up the environment: what tools/bootstrap.py does where something is in its way."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).parents[2] / "tools" / "bootstrap.py"
LOCKED = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 812 (unattended-upgr)"


@pytest.fixture
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# apt


class AptGet:
    """A program of that name, first on the path, that says one line after another and notes how it was called."""

    def __init__(self, folder: Path, errors: list[str]) -> None:
        self.calls_path = folder / "calls"
        script = ["#!/bin/sh", f'echo "$1" >> {self.calls_path}', f"case $(wc -l < {self.calls_path}) in"]
        script += [f"{number}) echo '{error}' >&2; exit 100;;" for number, error in enumerate(errors, 1) if error]
        program = folder / "apt-get"
        program.write_text("\n".join([*script, "esac", ""]))
        program.chmod(0o755)

    def calls(self) -> list[str]:
        return self.calls_path.read_text().split()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bootstrap: ModuleType) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setattr(bootstrap, "APT_PAUSE_S", 0.01)
    return folder


def test_it_waits_for_another_program_that_uses_apt_and_says_so_once(
    bootstrap: ModuleType, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    apt_get = AptGet(path, [LOCKED, LOCKED, ""])
    bootstrap.install_from_apt(["mosquitto"])
    assert apt_get.calls() == ["install"] * 3
    assert capfd.readouterr().err.splitlines() == [
        "bootstrap: installing from apt: mosquitto",
        "bootstrap: waiting up to 120 s for another program that uses apt: " + LOCKED.removeprefix("E: "),
    ]


def test_the_lists_are_updated_only_once_nobody_else_does(
    bootstrap: ModuleType, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    apt_get = AptGet(path, ["E: Unable to locate package mosquitto", LOCKED, "", ""])
    bootstrap.install_from_apt(["mosquitto"])
    assert apt_get.calls() == ["install", "update", "update", "install"]
    assert "Unable to locate" not in capfd.readouterr().err, "that was before the update"


def test_a_program_that_never_ends_is_named_with_the_next_step(
    bootstrap: ModuleType, path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "APT_WAIT_S", 0)
    AptGet(path, [LOCKED] * 9)
    with pytest.raises(SystemExit) as ended:
        bootstrap.install_from_apt(["mosquitto"])
    assert ended.value.code == 69
    last = capfd.readouterr().err.splitlines()[-1]
    assert "It is held by process 812 (unattended-upgr); once it has ended, run the same again" in last


def test_any_other_error_of_apt_is_shown(bootstrap: ModuleType, path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    apt_get = AptGet(path, ["E: first", "E: no network", "E: Unable to locate package mosquitto"])
    with pytest.raises(SystemExit):
        bootstrap.install_from_apt(["mosquitto"])
    assert apt_get.calls() == ["install", "update", "install"]
    assert capfd.readouterr().err.splitlines()[1:] == [
        "E: no network",
        "E: Unable to locate package mosquitto",
        "bootstrap: apt-get could not install mosquitto (its error is above)",
    ]

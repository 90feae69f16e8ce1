"""Setting up the environment: what tools/bootstrap.py does where something is in its way."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
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
    assert "It is held by process 812 (unattended-upgr); wait until it ends, then try again" in last


def test_any_other_error_of_apt_is_shown(bootstrap: ModuleType, path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    apt_get = AptGet(path, ["E: first", "E: no network", "E: Unable to locate package mosquitto"])
    with pytest.raises(SystemExit):
        bootstrap.install_from_apt(["mosquitto"])
    assert apt_get.calls() == ["install", "update", "install"]
    assert capfd.readouterr().err.splitlines()[1:] == [
        "E: no network",
        "E: Unable to locate package mosquitto",
        "bootstrap: apt-get could not install mosquitto (see its error above)",
    ]


# Ctrl-C


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of the sources as it looks at."""
    folder = tmp_path / "checkout"
    (folder / "tools").mkdir(parents=True)
    (folder / "requirements").mkdir()
    shutil.copy(SOURCE, folder / "tools")
    (folder / "requirements" / "cloud.txt").touch()
    return folder


def interrupted(command: list[str], is_there: Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run it, and press Ctrl-C as soon as `is_there` is: a terminal sends SIGINT to all processes of a command."""
    environment = {**os.environ, "PATH": path or os.environ["PATH"]}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    with process:
        deadline_s = time.monotonic() + 30
        while not is_there.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline_s
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


GO_ON = "bootstrap: interrupted; to go on, run the same command again"


def bootstrap_of(checkout: Path) -> list[str]:
    return [sys.executable, str(checkout / "tools" / "bootstrap.py"), "cloud"]


def test_ctrl_c_while_the_environment_is_made(checkout: Path, bootstrap: ModuleType) -> None:
    environment = checkout / ".venv"
    ended = interrupted(bootstrap_of(checkout), environment / "pyvenv.cfg")
    assert ended.returncode == 130, ended.stderr
    version = ".".join(map(str, sys.version_info[:2]))
    assert ended.stderr.splitlines() == [f"bootstrap: making .venv with Python {version}", GO_ON]
    assert not bootstrap.is_usable(environment, environment / "bin" / "python")


PIP_THAT_WORKS_LONG = """\
#!/bin/sh
case "$*" in
"-c import pip") exit 0;;
esac
trap 'echo Traceback >&2; exit 2' INT
touch {started}
echo 'WARNING: Retrying' >&2
while :; do sleep 0.05; done
"""


def test_ctrl_c_while_pip_installs(checkout: Path, bootstrap: ModuleType) -> None:
    """What pip has half installed it would take for installed: the next run makes the environment again."""
    environment = checkout / ".venv"
    python = environment / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PIP_THAT_WORKS_LONG.format(started=checkout / "started"))
    python.chmod(0o755)
    assert bootstrap.is_usable(environment, python)
    ended = interrupted(bootstrap_of(checkout), checkout / "started")
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr.splitlines()[-1] == GO_ON
    assert "Traceback" not in ended.stderr
    assert not bootstrap.is_usable(environment, python)
    again = interrupted(bootstrap_of(checkout), environment / "pyvenv.cfg")
    assert again.stderr.startswith("bootstrap: .venv was not finished: making it again\n")


def test_pips_warnings_come_while_it_works_and_its_failure_leaves_no_mark(
    checkout: Path, bootstrap: ModuleType, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = checkout / ".venv"
    environment.mkdir()
    python = checkout / "python"
    python.write_text("#!/bin/sh\necho 'WARNING: Retrying' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(bootstrap, "FREE_MIN_MB", 0)
    with pytest.raises(SystemExit):
        bootstrap.pip(environment, python, "something")
    warning, said = capfd.readouterr().err.splitlines()
    assert warning == "WARNING: Retrying"
    assert said.endswith("(its error is above); with the network back, run the same again")
    assert list(environment.iterdir()) == []


def test_apt_is_left_to_end_after_ctrl_c(path: Path) -> None:
    """dpkg must not be killed at its work."""
    program = path / "apt-get"
    works = "for i in 1 2 3 4 5 6 7 8; do sleep 0.1; done"
    program.write_text(f"#!/bin/sh\ntrap : INT\ntouch {path}/started\n{works}\ntouch {path}/ended\n")
    program.chmod(0o755)
    code = f"import sys; sys.path.insert(0, {str(SOURCE.parent)!r}); import bootstrap; bootstrap.apt_get('install')"
    command = [sys.executable, "-B", "-c", code]
    ended = interrupted(command, path / "started", f"{path}:{os.environ['PATH']}")
    assert ended.returncode != 0
    assert (path / "ended").exists()


# A checkout that cannot be written


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (errno.EACCES, "belongs to {owner}: run this as {owner}, or in a copy of the sources of your own"),
        (errno.EROFS, "copy the sources to a disk that can be written"),
        (errno.ENOSPC, "the disk is full: free some space"),
    ],
)
def test_what_cannot_be_written_is_named_with_its_cause(
    number: int, step: str, bootstrap: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / ".venv"
    with pytest.raises(SystemExit) as ended:
        bootstrap.stop_for(OSError(number, os.strerror(number), str(missing)))
    assert ended.value.code == os.EX_CANTCREAT
    said = capfd.readouterr().err
    assert said.startswith(f"bootstrap: cannot use {missing}: {os.strerror(number)}; ")
    assert step.format(owner=tmp_path.owner()) in said
    assert "python3-venv" not in said


def test_an_environment_of_another_user_is_to_be_removed(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    with pytest.raises(SystemExit):
        bootstrap.stop_for(PermissionError(errno.EACCES, "Permission denied", str(tmp_path / ".venv/bin/python")))
    step = f".venv belongs to {tmp_path.owner()}: remove it (sudo rm -r {tmp_path / '.venv'})"
    assert step in capfd.readouterr().err


def test_a_file_in_place_of_the_environment_is_no_traceback(checkout: Path) -> None:
    (checkout / ".venv").touch()
    done = subprocess.run(bootstrap_of(checkout), capture_output=True, text=True, check=False)
    assert done.returncode == os.EX_CANTCREAT
    assert "Not a directory" in done.stderr
    assert "Traceback" not in done.stderr

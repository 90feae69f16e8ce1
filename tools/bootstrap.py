"""Set up a virtual environment with python3 alone; do nothing if it is set up already.

`python3 tools/bootstrap.py cloud|dev|infra|programs`: `cloud` is what the demo needs, `dev` adds the tests, `infra` is
a separate environment for cloud/infra, and `programs` are the apt packages that the tests need. pip comes from
ensurepip, or from an installed pip. Debian's bare python3 has neither: this script then installs python3-venv from apt
(as root), or prints the command. pip's own configuration says where packages come from. If Ctrl-C or a power cut ends
the installation, the environment stays marked as unfinished, and the next run makes a new one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON_MIN = (3, 11)
ENVIRONMENT_BY_SET = {"cloud": ".venv", "dev": ".venv", "infra": ".venv-cdk"}
INCLUDED_IN = {"cloud": "dev"}  # the set dev includes the set cloud
APT_PACKAGE_BY_PROGRAM = {"mosquitto": "mosquitto", "systemd-analyze": "systemd"}
PROGRAM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin", "/opt/homebrew/bin", "/usr/local/bin")
EX_UNAVAILABLE = 69
EX_CANTCREAT = 73
INTERRUPTED = 130  # as a shell says it of a program that Ctrl-C has ended
UNFINISHED = ".unfinished"
FREE_MIN_MB = 100
TIDY_UP_S = 10
APT_WAIT_S = 120
APT_PAUSE_S = 2
APT_IS_LOCKED = "Could not get lock"
PIP_OPTIONS = ("--quiet", "--no-input", "--disable-pip-version-check")


def main() -> None:
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    if wanted == "programs":
        install_programs()
        return
    if wanted not in ENVIRONMENT_BY_SET:
        stop(f"usage: python3 tools/bootstrap.py {'|'.join(ENVIRONMENT_BY_SET)}|programs")
    check_python()
    environment = ROOT / ENVIRONMENT_BY_SET[wanted]
    python = environment / "bin" / "python"
    make_environment(environment, python)
    install_requirements(wanted, environment, python)
    if wanted != "infra":
        install_project(environment, python)


def check_python() -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON_MIN:
        stop(f"Wattpost needs Python 3.11 or later, this is {version}; install it and run make PYTHON=python3.11 ...")
    if sys.maxsize < 2**32:
        stop("Wattpost needs a 64-bit system (the AWS client has no 32-bit packages); flash a 64-bit image")
    if sys.platform == "win32":
        stop("Wattpost runs on Linux; on Windows use WSL 2: wsl --install -d Debian")


def make_environment(environment: Path, python: Path) -> None:
    if is_usable(environment, python):
        return
    if environment.exists():
        unfinished = (environment / UNFINISHED).exists()
        why = "was not finished" if unfinished else "does not work here any more"
        say(f"{environment.name} {why}: making it again")
        remove(environment, python)
    say(f"making {environment.name} with Python {'.'.join(map(str, sys.version_info[:2]))}")
    if not has_module("ensurepip") and not has_module("pip"):
        install_venv()
    options = [] if has_module("ensurepip") else ["--without-pip"]
    with unfinished_until_done(environment):
        made = run([sys.executable, "-m", "venv", *options, environment])
        if made and options:
            made = run([sys.executable, "-m", "pip", "--python", python, "install", *PIP_OPTIONS, "pip"])
    if not made:
        shutil.rmtree(environment, ignore_errors=True)
        stop(f"python3 could not make {environment} (its error is above); {cause_or('apt-get install python3-venv')}")


@contextmanager
def unfinished_until_done(environment: Path) -> Iterator[None]:
    """Marks it until the work has ended, well or with an error of its own; the mark of a killed one stays."""
    environment.mkdir(exist_ok=True)
    mark = environment / UNFINISHED
    mark.touch()
    yield
    mark.unlink()


def remove(environment: Path, python: Path) -> None:
    """Without its Python first, so that what is left of it after a Ctrl-C is not taken for an environment."""
    python.unlink(missing_ok=True)
    shutil.rmtree(environment)


def has_module(name: str) -> bool:
    """Whether this Python has it, asked of a new process: apt may just have brought it."""
    return run([sys.executable, "-c", f"import {name}"], quiet=True)


def install_venv() -> None:
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        stop("this python3 has neither ensurepip nor pip; run: sudo apt-get install python3-venv")
    install_from_apt(["python3-venv"])


def run(command: list[str | Path], *, quiet: bool = False) -> bool:
    """Whether it succeeded. What it says is shown as it comes, unless `quiet`, and nothing of it after Ctrl-C."""
    environment = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        try:
            for line in process.stderr or ():
                if not quiet:
                    sys.stderr.write(line)
            return process.wait() == 0
        except KeyboardInterrupt:
            let_end(process, TIDY_UP_S)
            raise


def let_end(process: subprocess.Popen[str], patience_s: float | None) -> None:
    """Ctrl-C has reached it too: it tidies up, and is ended only where that takes too long."""
    try:
        process.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        process.kill()


def is_usable(environment: Path, python: Path) -> bool:
    """Whether its Python starts and it stands where it was made: scripts in it begin with its path."""
    if not python.exists() or (environment / UNFINISHED).exists():
        return False
    script = environment / "bin" / "wattpost"
    if script.exists() and f"{environment}/bin/" not in script.read_text():
        return False
    return run([python, "-c", "import pip"], quiet=True)


def install_requirements(wanted: str, environment: Path, python: Path) -> None:
    for name in (wanted, INCLUDED_IN.get(wanted)):
        if name is not None and stamp(environment, name).is_current(requirements(name)):
            return
    say(f"installing requirements/{wanted}.txt (only the first time)")
    started = time.monotonic()
    # The file is the whole answer: a resolver could only find another (pip takes the newest for what an extra names).
    pip(environment, python, "--require-hashes", "--no-deps", "--requirement", str(requirements(wanted)))
    stamp(environment, wanted).write(requirements(wanted))
    say(f"installed in {time.monotonic() - started:.0f} s")


def install_project(environment: Path, python: Path) -> None:
    sources = (ROOT / "pyproject.toml", ROOT / "agent" / "version.py")
    if stamp(environment, "project").is_current(*sources):
        return
    pip(environment, python, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    stamp(environment, "project").write(*sources)


def install_programs() -> None:
    """Install the programs that the tests need, from apt as root; otherwise print the command."""
    missing = [program for program in APT_PACKAGE_BY_PROGRAM if find_program(program) is None]
    if sys.platform != "linux" and "systemd-analyze" in missing:
        missing.remove("systemd-analyze")  # the tests that need it are skipped there
    if not missing:
        return
    packages = sorted({APT_PACKAGE_BY_PROGRAM[program] for program in missing})
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        manager = "run: sudo apt-get install" if apt is not None else "install with your package manager:"
        stop(f"the tests need {', '.join(missing)}; {manager} {' '.join(packages)}")
    install_from_apt(packages)


def install_from_apt(packages: list[str]) -> None:
    install = ["install", "--yes", "--no-install-recommends", *packages]
    say(f"installing from apt: {' '.join(packages)}")
    if apt_get(*install) is None:
        return
    update_error = apt_get("update", "--quiet")  # the package lists may be missing or old
    install_error = apt_get(*install)
    if install_error is not None:
        sys.stderr.write((update_error or "") + install_error)
        stop(f"apt-get could not install {' '.join(packages)} (see its error above)")


def apt_get(*arguments: str) -> str | None:
    """Run apt-get when no other program holds its locks. Returns its error, or None if it succeeded.

    apt's own option, DPkg::Lock::Timeout, waits for dpkg's lock only: `apt-get update` would still fail at once.
    """
    deadline_s = time.monotonic() + APT_WAIT_S
    waiting = False
    while True:
        error = run_apt_get(arguments)
        lock = next((line for line in (error or "").splitlines() if APT_IS_LOCKED in line), None)
        if lock is None:
            return error
        lock = lock.removeprefix("E: ")
        if time.monotonic() >= deadline_s:
            stop(f"another program has used apt for {APT_WAIT_S} s: {lock}; wait until it ends, then try again")
        if not waiting:
            say(f"waiting up to {APT_WAIT_S} s for another program that uses apt: {lock}")
            waiting = True
        time.sleep(APT_PAUSE_S)


def run_apt_get(arguments: tuple[str, ...]) -> str | None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    null = subprocess.DEVNULL
    with subprocess.Popen(
        ["apt-get", *arguments], env=environment, stdin=null, stdout=null, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _, error = process.communicate()
        except KeyboardInterrupt:
            let_end(process, None)  # it must not be killed while dpkg works
            raise
    return None if process.returncode == 0 else error


def find_program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(PROGRAM_FOLDERS))


def pip(environment: Path, python: Path, *arguments: str) -> None:
    with unfinished_until_done(environment):
        installed = run([python, "-m", "pip", "install", *PIP_OPTIONS, *arguments])
    if not installed:
        advice = cause_or("with the network back, run the same again")
        stop(f"pip could not install what is needed (its error is above); {advice}")


def cause_or(advice: str) -> str:
    """`advice`, unless the disk is as good as full."""
    free_mb = shutil.disk_usage(ROOT).free // 1_000_000
    return advice if free_mb >= FREE_MIN_MB else f"the disk has {free_mb} MB left: free some, and run the same again"


def requirements(name: str) -> Path:
    return ROOT / "requirements" / f"{name}.txt"


class stamp:  # noqa: N801 - reads as a verb
    """Remembers the digest of the files that an environment was made from."""

    def __init__(self, environment: Path, name: str) -> None:
        self.path = environment / f".stamp-{name}"

    def is_current(self, *sources: Path) -> bool:
        return self.path.exists() and self.path.read_text() == self._digest(sources)

    def write(self, *sources: Path) -> None:
        self.path.write_text(self._digest(sources))

    @staticmethod
    def _digest(sources: tuple[Path, ...]) -> str:
        return hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()


def say(text: str) -> None:
    print(f"bootstrap: {text}", file=sys.stderr, flush=True)


def stop(text: str, code: int = EX_UNAVAILABLE) -> None:
    say(text)
    raise SystemExit(code)


def stop_for(error: OSError) -> None:
    """Something of the checkout cannot be read or written: why, and the next step."""
    advice = {
        errno.EROFS: "copy the sources to a disk that can be written",
        errno.ENOSPC: "the disk is full: free some space, and run the same again",
        errno.EDQUOT: "your share of the disk is used up: free some space, and run the same again",
    }
    if error.errno in (errno.EACCES, errno.EPERM):
        step = allow_writing(Path(error.filename or ROOT))
    else:
        step = advice.get(error.errno or 0, "put that right, and run the same again")
    stop(f"cannot use {error.filename or ROOT}: {error.strerror or error}; {step}", EX_CANTCREAT)


def allow_writing(path: Path) -> str:
    """What somebody can do who may not write there."""
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    try:
        owner = folder.owner()
    except KeyError:
        owner = f"user {folder.stat().st_uid}"
    environment = next(
        (ROOT / name for name in ENVIRONMENT_BY_SET.values() if (ROOT / name) in (folder, *folder.parents)), None
    )
    if environment is not None:
        return f"{environment.name} belongs to {owner}: remove it (sudo rm -r {environment}), and run the same again"
    return f"{folder} belongs to {owner}: run this as {owner}, or in a copy of the sources of your own"


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        say("interrupted; to go on, run the same command again")
        raise SystemExit(INTERRUPTED) from None
    except OSError as error:
        stop_for(error)

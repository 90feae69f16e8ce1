"""The unit and its companions, judged by systemd's own tools."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "systemd"
EXPOSURE_TENTHS_MAX = 15

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that exists on this machine, alone in a folder."""
    text = (FOLDER / "wattpost.service").read_text()
    program = re.search(r"^ExecStart=(\S+)", text, re.MULTILINE)
    assert program is not None
    path = tmp_path / "wattpost.service"
    path.write_text(text.replace(program[1], "/bin/true"))
    return path


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SYSTEMD_LOG_LEVEL": "notice"}
    command = ["systemd-analyze", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, env=environment)


@needs_systemd
def test_verify_has_nothing_to_say(unit: Path) -> None:
    result = analyze("verify", "--man=no", unit)
    assert (result.stdout + result.stderr).strip() == ""
    assert result.returncode == 0


@needs_systemd
def test_verify_would_say_something(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchDogSec="))
    assert "WatchDogSec" in analyze("verify", "--man=no", unit).stderr


@needs_systemd
def test_exposure_is_small(unit: Path) -> None:
    result = analyze("security", "--offline=true", f"--threshold={EXPOSURE_TENTHS_MAX}", unit)
    assert result.returncode == 0, "\n".join(line for line in result.stdout.splitlines() if "✓" not in line)


@needs_systemd
def test_the_drop_in_for_chrony_fits(unit: Path) -> None:
    folder = unit.with_name("wattpost.service.d")
    folder.mkdir()
    shutil.copy(FOLDER / "wattpost-chrony.conf", folder / "chrony.conf")
    result = analyze("verify", "--man=no", unit)
    assert (result.stdout + result.stderr).strip() == ""


@pytest.mark.parametrize(
    "line",
    [
        "Type=notify",
        "Restart=always",
        "StartLimitIntervalSec=0",
        "ExecReload=/bin/sh -c 'kill -HUP $MAINPID'",
        "ProtectSystem=strict",
        "StateDirectory=wattpost",
        "RuntimeDirectory=wattpost",
    ],
)
def test_the_unit_keeps_what_the_daemon_relies_on(line: str) -> None:
    assert line in (FOLDER / "wattpost.service").read_text().splitlines()


def test_the_unit_leaves_visible_what_the_daemon_reads() -> None:
    """The boot id, /proc/sys/kernel/random/boot_id, dates every record; ProcSubset=pid hides it."""
    assert "ProcSubset=pid" not in (FOLDER / "wattpost.service").read_text()


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not here")
def test_sysusers_makes_the_user(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "group").write_text("dialout:x:20:\n")
    (etc / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    command = ["systemd-sysusers", f"--root={tmp_path}", str(FOLDER / "wattpost.sysusers")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert result.returncode == 0, result.stderr
    assert "/usr/sbin/nologin" in next(
        line for line in (etc / "passwd").read_text().splitlines() if line.startswith("wattpost:")
    )
    assert "dialout:x:20:wattpost" in (etc / "group").read_text()


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="systemd-tmpfiles is not here")
def test_tmpfiles_makes_the_folders(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "group").write_text("root:x:0:\nwattpost:x:990:\n")
    (tmp_path / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    command = ["systemd-tmpfiles", "--create", f"--root={tmp_path}", str(FOLDER / "wattpost.tmpfiles")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    if os.geteuid() == 0:
        assert result.returncode == 0, result.stderr
        assert (tmp_path / "etc/wattpost/certs").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "etc/wattpost/profiles").is_dir()

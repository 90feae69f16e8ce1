"""A disk that is really full: a small tmpfs in a mount namespace of its own, which ends with the process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCENARIOS = Path(__file__).parents[2] / "support" / "full_disk.py"
NAMESPACE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]


def namespaces_work() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces: root, or user namespaces")


@pytest.mark.parametrize(
    ("scenario", "size"),
    [
        ("thins_when_full", "3m"),
        ("survives_somebody_elses_file", "6m"),
        ("gives_up_the_oldest_at_last", "3m"),
        ("starts_and_deletes_when_full", "6m"),
        ("deletes_when_full", "6m"),
        ("stays_within_its_limit", "10m"),
        ("leaves_a_small_backlog_alone", "8m"),
        ("thins_for_the_reserve_one_level_only", "10m"),
        ("keeps_a_way_to_write", "8m"),
    ],
)
@pytest.mark.timeout(180)  # a guard against a hang: a busy machine takes minutes
def test_a_full_disk(scenario: str, size: str, tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size={size} tmpfs {tmp_path} && exec {sys.executable} {SCENARIOS} {scenario} {tmp_path}"
    done = subprocess.run([*NAMESPACE, "sh", "-c", mount], capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stderr[-3_000:]

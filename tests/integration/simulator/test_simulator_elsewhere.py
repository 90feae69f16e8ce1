"""`python hardware-sim` with a Python that has nothing of what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "hardware-sim"
HAS_SOURCES = (FOLDER / "meter_sim").exists()


@pytest.mark.skipif(not HAS_SOURCES, reason="the sources are not beside the tests of an installed wheel")
def test_it_says_with_which_python_it_runs() -> None:
    command = [sys.executable, "-S", "-E", str(FOLDER)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert ended.returncode == os.EX_UNAVAILABLE
    assert ended.stderr.startswith("hardware-sim: needs the Python package ")
    assert ended.stderr.endswith("; set it up with `make demo`, then run it with .venv/bin/python\n")

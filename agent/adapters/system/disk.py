"""How much room a file system has."""

from __future__ import annotations

import os
from pathlib import Path


def free_bytes(folder: Path) -> int:
    """What the agent's user may still write there; raises `OSError`."""
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize

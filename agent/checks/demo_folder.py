"""The folder of `wattpost demo`, as seen from outside: what to say of a demo whose status is not there."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

USUAL_NAME = ".demo"
FILES = ("cloud.log", "agent.toml")  # a demo makes both


def is_of_demo(folder: Path) -> bool:
    """Whether a demo has run in `folder`, or would by default."""
    return all((folder / name).exists() for name in FILES) or (folder.name == USUAL_NAME and not folder.exists())


def why_no_status(folder: Path) -> tuple[str, str]:
    """Why a demo's folder has no status file, and the next step."""
    if not folder.exists():
        return f"no demo has run in {folder}", another(folder)
    if is_in_use(folder):
        return f"the demo in {folder} is starting", "wait a minute for its status"
    return f"the demo in {folder} has ended", another(folder)


def another(folder: Path) -> str:
    """How to start a demo there."""
    if folder.resolve() == (Path() / USUAL_NAME).resolve():
        return "start a demo: make demo, or wattpost demo"
    return f"start a demo: wattpost demo --dir {folder}"


def is_in_use(folder: Path) -> bool:
    """Whether a demo holds the lock on its folder."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # somebody else's, who may say so
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False

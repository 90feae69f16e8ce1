"""Whether a process that wrote something is still there."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")
START_FIELD = 19  # of /proc/PID/stat after the name: when it began, in ticks since boot (proc(5), field 22)
ROUNDING_MS = 1_000


def is_running(pid: int, at_ms: int) -> bool:
    """Whether `pid` is the process that had this number at `at_ms` of this boot, and not a later one."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is another user's, and it is there
    began_ms = _began_ms(pid)
    return began_ms is None or began_ms <= at_ms + ROUNDING_MS


def _began_ms(pid: int) -> int | None:
    """Boot clock at its start; None where /proc does not say."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[START_FIELD]) * 1000 // os.sysconf("SC_CLK_TCK")

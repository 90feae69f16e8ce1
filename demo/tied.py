"""`python -m demo.tied PARENT COMMAND...`: become COMMAND, which is told to end when PARENT is gone.

For parents that are killed and can tell nobody. The kernel does it (Linux); elsewhere COMMAND lives on.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2); kept across exec


def main() -> None:
    """Never returns, but where the parent is gone already."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() == parent:  # otherwise it died before we asked
        os.execvp(command[0], command)  # noqa: S606 - the demo's own commands, no shell


if __name__ == "__main__":
    main()

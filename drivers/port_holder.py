"""Which other program has a serial device, as far as we may see that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path


def holder_of(path: str) -> str | None:
    """`name (pid N)` of the process that has locked `path`, else of one that has it open, where we may see that."""
    for pid in chain(_lockers(path), _openers(path)):
        with suppress(OSError):
            if pid != os.getpid():
                return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (pid {pid})"
    return None


def _lockers(path: str) -> Iterator[int]:
    """From /proc/locks, which shows other users' processes too."""
    try:
        node = Path(path).stat()
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return
    file = f"{os.major(node.st_dev):02x}:{os.minor(node.st_dev):02x}:{node.st_ino}"
    for fields in locks:
        if fields[1] == "FLOCK" and fields[5] == file:
            yield int(fields[4])


def _openers(path: str) -> Iterator[int]:
    real = os.path.realpath(path)
    for descriptors in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):
            if any(os.path.realpath(entry) == real for entry in descriptors.iterdir()):
                yield int(descriptors.parent.name)

"""What rest costs a process here, and a way to measure without it.

A virtual machine's host may take pages away that were not touched for a second, and lend them again only when they are
touched: that can cost more than all that a reading does (Linux: idle page tracking, proactive reclaim). `page_cost_us`
says whether this machine does so. `python bench/resting.py PID...` touches all pages of the processes 50 times a
second, through process_vm_readv(2), so that what they use is counted as on a machine of one's own.
"""

from __future__ import annotations

import ctypes
import mmap
import random
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PAGE = mmap.PAGESIZE
PROBED_PAGES = 1000
RESTS = 5
PERIOD_S = 0.02
LOOK_AGAIN_S = 5.0
IOV_MAX = 1024  # of one call, limits.h
PRESENT = 1 << 63  # in a word of /proc/PID/pagemap
WORD = 8


def page_cost_us(rest_s: float) -> float:
    """What touching a page costs that was not touched for `rest_s`, in microseconds of elapsed time."""
    order = random.Random(1).sample(range(PROBED_PAGES), PROBED_PAGES)
    with mmap.mmap(-1, PROBED_PAGES * PAGE) as memory:
        for page in order:
            memory[page * PAGE] = 1
        spent_s = 0.0
        for _ in range(RESTS):
            time.sleep(rest_s)
            began_s = time.perf_counter()
            for page in order:
                memory[page * PAGE]
            spent_s += time.perf_counter() - began_s
    return spent_s / RESTS / PROBED_PAGES * 1e6


class _Piece(ctypes.Structure):
    """struct iovec of uio(3)."""

    _fields_ = (("base", ctypes.c_void_p), ("bytes", ctypes.c_size_t))


@dataclass(frozen=True, slots=True)
class _Call:
    """One process_vm_readv of a byte each of up to IOV_MAX pages."""

    pid: int
    pieces: ctypes.Array[_Piece]


def calls_for(pid: int) -> list[_Call]:
    """The calls that touch every page which the process has in memory and may read."""
    pages: list[int] = []
    with Path(f"/proc/{pid}/pagemap").open("rb") as pagemap:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) r(?!.*\[v)", line)
            if found:
                start, end = int(found[1], 16), int(found[2], 16)
                pagemap.seek(start // PAGE * WORD)
                words = memoryview(pagemap.read((end - start) // PAGE * WORD)).cast("Q")
                pages += [start + index * PAGE for index, word in enumerate(words) if word & PRESENT]
    some = (pages[at : at + IOV_MAX] for at in range(0, len(pages), IOV_MAX))
    return [_Call(pid, (_Piece * len(each))(*((page, 1) for page in each))) for each in some]


def keep(pids: list[int]) -> None:
    """Touch all pages of these processes, until killed; `OSError` when one of them is gone."""
    read = ctypes.CDLL(None, use_errno=True).process_vm_readv
    bytes_ = ctypes.create_string_buffer(IOV_MAX)
    into = _Piece(ctypes.addressof(bytes_), IOV_MAX)
    calls: list[_Call] = []
    look_at_s = 0.0
    while True:
        if time.monotonic() >= look_at_s:
            calls = [call for pid in pids for call in calls_for(pid)]
            look_at_s = time.monotonic() + LOOK_AGAIN_S
        for call in calls:
            read(call.pid, ctypes.byref(into), 1, call.pieces, len(call.pieces), 0)
        time.sleep(PERIOD_S)


if __name__ == "__main__":
    keep([int(pid) for pid in sys.argv[1:]])

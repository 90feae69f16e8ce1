"""Puts the memory that lives until the end into huge pages, where the kernel has them.

Between readings the processor forgets where pages are (the more so in a virtual machine and on small cores), and a
reading touches hundreds of them: with the heap in a few huge pages there is less to find. Costs no memory but
the little that is not yet in use of regions that are nearly full. Source: madvise(2), MADV_COLLAPSE, Linux 6.1.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
PAGE_SIZE = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
SMAPS = Path("/proc/self/smaps")
MADV_COLLAPSE = 25
USED_MIN = 0.9  # of a region: the rest would come to be used by this
_REGION = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 *(\[heap\])?\n(?:.*\n)*?Rss: +(\d+) kB", re.MULTILINE)


def collapse_memory() -> int:
    """Ask for huge pages; returns how many there are now for it. Where that cannot be, nothing changes."""
    try:
        if "[never]" in SETTING.read_text():
            return 0
        page_bytes, smaps = int(PAGE_SIZE.read_text()), SMAPS.read_text()
    except OSError:  # a kernel without
        return 0
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return sum(madvise(start, page_bytes, MADV_COLLAPSE) == 0 for start in candidates(smaps, page_bytes))


def candidates(smaps: str, page_bytes: int) -> list[int]:
    """Where whole huge pages lie in private, writable memory of no file that is nearly all in use."""
    starts: list[int] = []
    for found in _REGION.finditer(smaps):
        start, end, used_bytes = int(found[1], 16), int(found[2], 16), int(found[4]) * 1024
        if used_bytes >= USED_MIN * (end - start):
            first, beyond = -(-start // page_bytes) * page_bytes, end // page_bytes * page_bytes
            starts += range(first, beyond, page_bytes)
    return starts

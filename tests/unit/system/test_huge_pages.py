"""Which memory is put into huge pages, and that the kernel does it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent.adapters.system import huge_pages
from agent.adapters.system.huge_pages import PAGE_SIZE, SETTING, candidates, collapse_memory

MIB = 1 << 20
PAGE = 2 * MIB


def region(start: int, size: int, used: int, rights: str = "rw-p", name: str = "", inode: int = 0) -> str:
    head = f"{start:x}-{start + size:x} {rights} 00000000 00:00 {inode} {name}".rstrip() + " " * (not name)
    return f"{head}\nSize: {size // 1024:14} kB\nRss: {used // 1024:15} kB\nPss: {used // 1024:15} kB\nVmFlags: rd wr\n"


def test_only_whole_pages_of_used_heap_are_taken() -> None:
    smaps = "".join(
        [
            region(0x1000, 4 * PAGE, 4 * PAGE, rights="r-xp", name="/usr/bin/python3.11", inode=5),
            region(10 * PAGE - MIB, 2 * PAGE + MIB, 2 * PAGE + MIB, name="[heap]"),
            region(20 * PAGE, 4 * PAGE, 64 * 1024),  # a thread's stack
            region(30 * PAGE, PAGE, PAGE),
            region(40 * PAGE + 4096, PAGE, PAGE),  # nothing of it is aligned
            region(50 * PAGE, 2 * PAGE, 2 * PAGE, rights="r--p"),
            region(60 * PAGE, 2 * PAGE, 2 * PAGE, rights="rw-p", name="/dev/zero", inode=7),
            region(70 * PAGE, 2 * PAGE, 2 * PAGE, name="[stack]"),
        ]
    )
    assert candidates(smaps, PAGE) == [10 * PAGE, 11 * PAGE, 30 * PAGE]


def test_nothing_happens_where_the_kernel_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huge_pages, "SETTING", tmp_path / "missing")
    assert collapse_memory() == 0


def test_nothing_happens_where_they_are_switched_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "enabled").write_text("always madvise [never]\n")
    monkeypatch.setattr(huge_pages, "SETTING", tmp_path / "enabled")
    assert collapse_memory() == 0


@pytest.mark.skipif(
    not SETTING.exists() or "[never]" in SETTING.read_text() or int(PAGE_SIZE.read_text()) > PAGE,
    reason="this kernel has no huge pages, or so large ones that this heap has none",
)
def test_memory_in_one_piece_comes_to_lie_in_huge_pages_and_keeps_what_is_in_it() -> None:
    program = """
import mmap
from pathlib import Path
from agent.adapters.system.huge_pages import collapse_memory
kept = mmap.mmap(-1, 16 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
written = b"0123456789abcdef" * (1 << 20)
kept.write(written)
print(collapse_memory(), Path("/proc/self/smaps_rollup").read_text())
assert kept[:] == written
"""
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    pages = int(said.split()[0])
    (huge_kb,) = re.findall(r"AnonHugePages: +(\d+) kB", said)
    assert pages >= 7
    assert int(huge_kb) * 1024 >= pages * int(PAGE_SIZE.read_text())

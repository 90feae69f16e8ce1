"""What the operating system says that a process has used: CPU, memory, writes; and what a block device has written."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class Account:
    """Totals since the process began. `written_bytes` is what it caused to be sent to storage (proc(5), io)."""

    cpu_s: float
    written_bytes: int
    wchar_bytes: int

    def __sub__(self, earlier: Account) -> Account:
        return Account(
            self.cpu_s - earlier.cpu_s,
            self.written_bytes - earlier.written_bytes,
            self.wchar_bytes - earlier.wchar_bytes,
        )


def account_of(pid: int) -> Account:
    """CPU from the scheduler's nanosecond clocks of all threads, writes from /proc/PID/io."""
    cpu_ns = sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return Account(cpu_ns / 1e9, int(fields["write_bytes"]), int(fields["wchar"]))


def cpu_clock_s(pid: int) -> float:
    """User and system time of the whole process, threads that ended included; in ticks of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def memory_kb(pid: int) -> tuple[int, int]:
    """Resident and proportional set size in KiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = {name: int(kb) for name, kb in re.findall(r"^(Rss|Pss):\s+(\d+) kB", text, re.MULTILINE)}
    return found["Rss"], found["Pss"]


def device_written_bytes(device: str) -> int:
    """Bytes that a block device, such as `loop0`, has been told to write (Documentation/block/stat)."""
    return int(Path(f"/sys/block/{device}/stat").read_text().split()[6]) * SECTOR_BYTES

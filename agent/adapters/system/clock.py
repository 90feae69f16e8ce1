"""The clocks of the machine. The only module that reads them."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Literal, Protocol

from agent.core.system.timekeeper import ClockReading
from wire.batch import BOOT_BYTES

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MACHINE_ID = Path("/etc/machine-id")
TIMESYNCD = Path("/run/systemd/timesync/synchronized")  # systemd-timesyncd.service(8)
TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
SYSTEM_UNCERTAINTY_MS = 1_000
LOOK_NS_MAX = 5_000_000
LOOKS_MAX = 5
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS has no CLOCK_BOOTTIME


class _Timex(ctypes.Structure):
    """`struct timex` of adjtimex(2), as far as it is read; padded to more than its size."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_byte * 256),
    )


class Clock(Protocol):
    """What the loops need of a clock."""

    def mono_ms(self) -> int:
        """Milliseconds since boot, suspension included; never steps."""

    def look(self) -> ClockReading:
        """Both clocks at one moment."""


class SystemClock:
    """The real one. `source="ntp"` asks the kernel whether something disciplines UTC; `"system"` believes it."""

    def __init__(self, source: Literal["ntp", "system"]) -> None:
        self._source = source
        self._libc = ctypes.CDLL(None) if source == "ntp" else None

    def mono_ms(self) -> int:
        return time.clock_gettime_ns(_BOOT_CLOCK) // 1_000_000

    def look(self) -> ClockReading:
        synchronised, uncertainty_ms = self._discipline()
        mono_ns, utc_ns = _both_ns()
        return ClockReading(mono_ns // 1_000_000, utc_ns // 1_000_000, synchronised, uncertainty_ms)

    def _discipline(self) -> tuple[bool, int]:
        """Whether something keeps UTC right, and how far off it may be."""
        adjtimex = getattr(self._libc, "adjtimex", None)
        if adjtimex is None:
            return True, SYSTEM_UNCERTAINTY_MS
        timex = _Timex()
        state = adjtimex(ctypes.byref(timex))
        if state == -1:  # not permitted, as under ProtectClock=yes; timesyncd says it in a file
            return TIMESYNCD.exists(), SYSTEM_UNCERTAINTY_MS
        return state != TIME_ERROR, -(-timex.maxerror // 1_000)


def _both_ns() -> tuple[int, int]:
    """Boot clock and UTC of one moment; a pause of the process between the two would look like a step of UTC."""
    pairs = []
    for _ in range(LOOKS_MAX):
        before_ns = time.clock_gettime_ns(_BOOT_CLOCK)
        utc_ns = time.time_ns()  # noqa: TID251 - this is the clock adapter
        took_ns = time.clock_gettime_ns(_BOOT_CLOCK) - before_ns
        pairs.append((took_ns, before_ns + took_ns // 2, utc_ns))
        if took_ns <= LOOK_NS_MAX:
            break
    _, mono_ns, utc_ns = min(pairs)
    return mono_ns, utc_ns


def boot_id() -> bytes:
    """The first BOOT_BYTES of the kernel's id of this boot; where there is none, a number made from the boot time."""
    try:
        return bytes.fromhex(BOOT_ID.read_text().strip().replace("-", ""))[:BOOT_BYTES]
    except OSError:
        booted_s = round(time.time() - time.clock_gettime(_BOOT_CLOCK))  # noqa: TID251 - this is the clock adapter
        return (booted_s // 60).to_bytes(BOOT_BYTES, "big")


def machine_id() -> str:
    """/etc/machine-id, or nothing where there is none."""
    try:
        return MACHINE_ID.read_text().strip()
    except OSError:
        return ""

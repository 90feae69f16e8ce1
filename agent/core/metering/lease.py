"""Lending a line to another program for a while: who asks, who has it, and until when. Pure.

A request is one line of text: `lend LINE PID SECONDS` or `return LINE PID`. A lease ends when its line is returned,
when the process is gone, or when its time is over, whatever the borrower does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from agent.core.time_units import MINUTE_MS

LEASE_MAX_MS = 2 * MINUTE_MS
PID_MAX = 2**22  # Linux's
REQUEST_BYTES_MAX = 128
LEND_WORDS, RETURN_WORDS = 4, 3

Ending = Literal["gone", "over"]


@dataclass(frozen=True, slots=True)
class Lend:
    """Process `pid` asks for `line`."""

    line: str
    pid: int
    seconds: int

    def __str__(self) -> str:
        return f"lend {self.line} {self.pid} {self.seconds}\n"


@dataclass(frozen=True, slots=True)
class Return:
    """Process `pid` needs `line` no longer."""

    line: str
    pid: int

    def __str__(self) -> str:
        return f"return {self.line} {self.pid}\n"


@dataclass(frozen=True, slots=True)
class Lease:
    """`line` is process `pid`'s until `until_ms` of the boot clock, at the latest."""

    line: str
    pid: int
    until_ms: int


def parse_request(text: str) -> Lend | Return | None:
    """The request that `text` is, None for anything else."""
    words = text.split()
    if len(words) == LEND_WORDS and words[0] == "lend" and _is_pid(words[2]) and _is_number(words[3]):
        return Lend(words[1], int(words[2]), int(words[3])) if int(words[3]) else None
    if len(words) == RETURN_WORDS and words[0] == "return" and _is_pid(words[2]):
        return Return(words[1], int(words[2]))
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(PID_MAX))


def _is_pid(text: str) -> bool:
    return _is_number(text) and 0 < int(text) <= PID_MAX


class LendingBook:
    """The leases in force, at most one per line."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}

    @property
    def leases(self) -> tuple[Lease, ...]:
        return tuple(self._leases.values())

    def lease(self, line: str) -> Lease | None:
        """Who has `line`, None while it is the daemon's."""
        return self._leases.get(line)

    def lend(self, request: Lend, now_ms: int) -> Lease:
        """The lease of that line: the asker's, or that of another process, who keeps it.

        Whoever asks again keeps the first end: no process has a line for longer than `LEASE_MAX_MS` at a time.
        """
        until_ms = now_ms + min(request.seconds * 1000, LEASE_MAX_MS)
        return self._leases.setdefault(request.line, Lease(request.line, request.pid, until_ms))

    def give_back(self, request: Return) -> Lease | None:
        """End the lease that the process has; None where it has none."""
        lease = self._leases.get(request.line)
        if lease is None or lease.pid != request.pid:
            return None
        return self._leases.pop(request.line)

    def end(self, now_ms: int, is_alive: Callable[[int], bool]) -> list[tuple[Lease, Ending]]:
        """End the leases whose time is over or whose process is gone; returns them."""
        ended: list[tuple[Lease, Ending]] = []
        for lease in self.leases:
            if now_ms >= lease.until_ms:
                ended.append((lease, "over"))
            elif not is_alive(lease.pid):
                ended.append((lease, "gone"))
        for lease, _ in ended:
            del self._leases[lease.line]
        return ended

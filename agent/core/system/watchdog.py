"""Is the agent alive? Each loop says by when it will be back at the latest; alive is when none is overdue."""

from __future__ import annotations


class Watchdog:
    """Deadlines by loop name, in milliseconds of the boot clock. Waiting for a cloud or a meter is no hang."""

    def __init__(self) -> None:
        self._back_by_ms: dict[str, int] = {}

    def beat(self, loop: str, back_by_ms: int) -> None:
        self._back_by_ms[loop] = back_by_ms

    def forget(self, loop: str) -> None:
        self._back_by_ms.pop(loop, None)

    def overdue(self, now_ms: int) -> list[str]:
        return sorted(loop for loop, back_by_ms in self._back_by_ms.items() if now_ms > back_by_ms)

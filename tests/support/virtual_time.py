"""An event loop whose time jumps to the next timer whenever nothing is ready: a simulated day takes a second.

For loops that do no real I/O; what would run on a thread runs at once, on `InlineExecutor`.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from agent.core.system.timekeeper import ClockReading

T = TypeVar("T")
BOOT_UTC_MS = 1_790_000_000_000  # a multiple of 10 s


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting, moves the clock."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout is None:
            raise AssertionError("everything waits for something that nobody will do")
        if not events and timeout is not None and timeout > 0:
            self.now_s += timeout
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s

    def jump(self, seconds: float) -> None:
        """Let time pass in which nothing runs."""
        self._jumping.now_s += seconds


def run_virtual(work: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, in no time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


class InlineExecutor(Executor):
    """Does the work when it is submitted."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - as the real ones: it is the caller's
            future.set_exception(error)
        return future


class LoopClock:
    """The clock of a box that booted when the loop began. `shift_ms` is how wrong its wall clock is."""

    def __init__(self, *, synchronised: bool = True) -> None:
        self.synchronised = synchronised
        self.shift_ms = 0
        self.uncertainty_ms = 20

    def mono_ms(self) -> int:
        return round(asyncio.get_running_loop().time() * 1000)

    def look(self) -> ClockReading:
        now_ms = self.mono_ms()
        return ClockReading(now_ms, BOOT_UTC_MS + now_ms + self.shift_ms, self.synchronised, self.uncertainty_ms)

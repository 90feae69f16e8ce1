"""A future that resumes the task waiting for it at once, and not in the event loop's next turn.

A turn of an idle loop costs as much as decoding a reading, and a poll once a second has little else: without the turns
that only hand a result on, a reading takes a tenth less CPU time. `asyncio.Task` takes whatever has the attribute
`_asyncio_future_blocking` and the methods below for a future.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Resume = Callable[[Any], object]


class Prompt(Generic[T]):
    """A result for one waiting task. Whoever sets it from within a task hands it on in the next turn, as usual."""

    __slots__ = ("_asyncio_future_blocking", "_context", "_done", "_error", "_loop", "_result", "_resume")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._resume: Resume | None = None
        self._context: Context | None = None
        self._result: T | None = None
        self._error: BaseException | None = None
        self._done = False

    def done(self) -> bool:
        return self._done

    def set_result(self, result: T) -> None:
        """The waiter goes on with `result`, unless it has been told to go on before, or was cancelled."""
        if not self._done:
            self._result = result
            self._finish()

    def set_exception(self, error: BaseException) -> None:
        """The waiter goes on with `error` raised, unless it has been told to go on before."""
        if not self._done:
            self._error = error
            self._finish()

    def _finish(self) -> None:
        self._done = True
        resume, context = self._resume, self._context
        if resume is None or context is None:
            return
        if asyncio.current_task(self._loop) is None:
            context.run(resume, self)
        else:
            self._loop.call_soon(resume, self, context=context)

    def __await__(self) -> Generator[Any, None, T]:
        if not self._done:
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    # What a task asks of a future

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # it is set: the waiter asks when it is done

    def add_done_callback(self, resume: Resume, *, context: Context) -> None:
        if self._done:
            self._loop.call_soon(resume, self, context=context)
        self._resume, self._context = resume, context

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002 - asyncio's signature
        if self._done:
            return False
        self._done, self._error = True, asyncio.CancelledError()
        if self._resume is not None:
            self._loop.call_soon(self._resume, self, context=self._context)
        return True

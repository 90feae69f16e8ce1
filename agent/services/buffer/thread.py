"""The buffer's thread: a slow card never delays a poll."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from typing import TypeVar

from agent.adapters.buffer.buffer import Buffer
from agent.core.records import Layout
from agent.services.progress import Progress
from drivers.prompt import Prompt

T = TypeVar("T")


class BufferThread:
    """Runs the buffer's methods, one after another."""

    def __init__(self, buffer: Buffer, executor: Executor) -> None:
        self.buffer = buffer
        self._executor = executor

    async def run(self, work: Callable[[], T]) -> T:
        """As `loop.run_in_executor`, with one turn of the loop instead of two at the end."""
        loop = asyncio.get_running_loop()
        prompt: Prompt[T] = Prompt(loop)
        future = self._executor.submit(work)
        future.add_done_callback(partial(_hand_over, loop, prompt))
        try:
            return await prompt
        except asyncio.CancelledError:
            future.cancel()
            raise

    async def layout_id(self, layout: Layout) -> int:
        """The buffer's id of `layout`."""
        return await self.run(lambda: self.buffer.layout_id(layout))

    async def look(self, progress: Progress) -> None:
        """Note in `progress` what is on the disk, after that has changed."""
        progress.oldest, progress.used_bytes = await self.run(self.buffer.look)


def _hand_over(loop: asyncio.AbstractEventLoop, prompt: Prompt[T], future: Future[T]) -> None:
    """On the thread."""
    with suppress(RuntimeError):  # the loop has ended
        if future.cancelled():
            loop.call_soon_threadsafe(prompt.cancel)
        elif (error := future.exception()) is not None:
            loop.call_soon_threadsafe(prompt.set_exception, error)
        else:
            loop.call_soon_threadsafe(prompt.set_result, future.result())

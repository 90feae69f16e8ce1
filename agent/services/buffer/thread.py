"""The buffer's thread: a slow card never delays a poll."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from agent.adapters.buffer.buffer import Buffer
from agent.core.records import Layout
from agent.services.progress import Progress

T = TypeVar("T")


class BufferThread:
    """Runs the buffer's methods, one after another."""

    def __init__(self, buffer: Buffer, executor: Executor) -> None:
        self.buffer = buffer
        self._executor = executor

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns. Cancelled, it takes back work that has not begun; begun, the work goes on to its end."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def layout_id(self, layout: Layout) -> int:
        """The buffer's id of `layout`."""
        return await self.run(lambda: self.buffer.layout_id(layout))

    async def look(self, progress: Progress) -> None:
        """Note in `progress` what is on the disk, after that has changed."""
        progress.oldest, progress.used_bytes = await self.run(self.buffer.look)

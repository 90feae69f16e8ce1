"""The bell, and the thread of the buffer."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from agent.adapters.buffer.buffer import Buffer
from agent.services.bell import Bell
from agent.services.buffer.thread import BufferThread


def test_a_bell_rung_while_nobody_listens_is_heard_later_and_once() -> None:
    async def main() -> None:
        bell = Bell()
        bell.ring()
        bell.ring()
        await bell.heard()
        listener = asyncio.create_task(bell.heard())
        await asyncio.sleep(0)
        assert not listener.done()
        bell.ring()
        await listener

    asyncio.run(main())


def test_a_listener_that_was_cancelled_takes_no_ring_with_it() -> None:
    async def main() -> None:
        bell = Bell()
        listener = asyncio.create_task(bell.heard())
        await asyncio.sleep(0)
        listener.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listener
        bell.ring()
        await bell.heard()

    asyncio.run(main())


def test_cancelled_work_is_taken_back_unless_it_has_begun() -> None:
    began, go_on = threading.Event(), threading.Event()
    done: list[Any] = []

    def first() -> None:
        began.set()
        go_on.wait(10)
        done.append("first")

    async def main(executor: ThreadPoolExecutor) -> None:
        thread = BufferThread(cast("Buffer", None), executor)
        tasks = [asyncio.create_task(thread.run(work)) for work in (first, lambda: done.append("second"))]
        await asyncio.to_thread(began.wait, 10)
        for task in tasks:
            task.cancel()
        assert await asyncio.gather(*tasks, return_exceptions=True)
        go_on.set()
        await thread.run(lambda: done.append("third"))

    with ThreadPoolExecutor(1) as executor:
        asyncio.run(main(executor))
    assert done == ["first", "third"]


def test_an_error_of_the_work_is_raised_where_it_is_awaited() -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    with ThreadPoolExecutor(1) as executor, pytest.raises(OSError, match="No space"):
        asyncio.run(BufferThread(cast("Buffer", None), executor).run(fail))

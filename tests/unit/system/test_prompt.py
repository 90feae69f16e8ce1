"""A result that resumes its waiter at once."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from drivers.prompt import Prompt


def in_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(**arguments: Any) -> None:
        async def main() -> None:
            await test(**arguments)

        asyncio.run(main())

    return run


@in_a_loop
async def test_the_waiter_goes_on_within_the_callback_that_sets_the_result() -> None:
    loop = asyncio.get_running_loop()
    prompt: Prompt[int] = Prompt(loop)
    seen: list[object] = []

    async def wait() -> None:
        seen.append(await prompt)

    def answer() -> None:
        prompt.set_result(7)
        seen.append("set")

    waiter = asyncio.create_task(wait())
    await asyncio.sleep(0)
    loop.call_soon(answer)
    await waiter
    assert seen == [7, "set"]


@in_a_loop
async def test_set_from_a_task_it_goes_on_in_the_next_turn() -> None:
    prompt: Prompt[int] = Prompt(asyncio.get_running_loop())
    waiter = asyncio.create_task(_value(prompt))
    await asyncio.sleep(0)
    prompt.set_result(7)
    assert not waiter.done()
    assert await waiter == 7


@in_a_loop
async def test_a_result_that_was_there_before_costs_no_turn() -> None:
    prompt: Prompt[str] = Prompt(asyncio.get_running_loop())
    prompt.set_result("early")
    prompt.set_result("late")
    prompt.set_exception(OSError("later"))
    assert await prompt == "early"
    assert prompt.done()


@pytest.mark.parametrize("within_a_callback", [True, False])
@in_a_loop
async def test_an_error_is_raised_in_the_waiter(within_a_callback: bool) -> None:
    loop = asyncio.get_running_loop()
    prompt: Prompt[None] = Prompt(loop)
    waiter = asyncio.create_task(_value(prompt))
    await asyncio.sleep(0)
    if within_a_callback:
        loop.call_soon(prompt.set_exception, OSError("gone"))
    else:
        prompt.set_exception(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        await waiter


@in_a_loop
async def test_a_waiter_can_be_cancelled_and_a_late_result_is_nobodys() -> None:
    prompt: Prompt[int] = Prompt(asyncio.get_running_loop())
    waiter = asyncio.create_task(_value(prompt))
    await asyncio.sleep(0)
    waiter.cancel()
    prompt.set_result(7)
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert not prompt.cancel()


@in_a_loop
async def test_time_outs_work() -> None:
    prompt: Prompt[int] = Prompt(asyncio.get_running_loop())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await prompt


@in_a_loop
async def test_it_can_be_gathered() -> None:
    loop = asyncio.get_running_loop()
    prompts: list[Prompt[int]] = [Prompt(loop) for _ in range(3)]
    for number, prompt in enumerate(prompts):
        loop.call_soon(prompt.set_result, number)
    assert await asyncio.gather(*(_value(prompt) for prompt in prompts)) == [0, 1, 2]


async def _value(prompt: Prompt[int] | Prompt[None]) -> object:
    return await prompt

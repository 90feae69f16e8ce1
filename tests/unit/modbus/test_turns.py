"""Turns on a line: in order, handed on, never waited for beyond the deadline."""

from __future__ import annotations

import asyncio
import random

import pytest
from virtual_time import run_virtual

from drivers.meter import MeterError
from drivers.turns import Turns


def turns() -> Turns:
    return Turns("line rs485 (/dev/ttyUSB0)", "lengthen the interval")


def test_who_waits_too_long_is_told_what_to_do() -> None:
    async def go() -> None:
        line = turns()
        async with line.claim():
            said = r"use line rs485 .*: other meters needed .*; lengthen the interval"
            with pytest.raises(MeterError, match=said) as caught:
                async with line.claim(asyncio.get_running_loop().time() + 1):
                    pytest.fail("has no turn")
        assert caught.value.reason == "line_busy"
        async with line.claim(0):
            pass  # free: no time is needed

    run_virtual(go())


@pytest.mark.parametrize("seed", range(20))
def test_any_mix_of_waiting_giving_up_and_being_cancelled_leaves_the_line_free(seed: int) -> None:
    dice = random.Random(seed)
    using: list[int] = []
    served: list[int] = []
    refused: list[int] = []

    async def use(line: Turns, number: int) -> None:
        try:
            async with line.claim(asyncio.get_running_loop().time() + dice.uniform(0, 5)):
                assert not using
                using.append(number)
                served.append(number)
                try:
                    await asyncio.sleep(dice.choice([0, 0.5, 1]))
                finally:
                    using.clear()
        except MeterError:
            refused.append(number)

    async def go() -> None:
        line = turns()
        tasks = []
        for number in range(40):
            tasks.append(asyncio.create_task(use(line, number)))
            await asyncio.sleep(dice.choice([0, 0, 0.3]))
            if dice.random() < 0.3:
                dice.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() or task.exception() is None for task in tasks)
        async with line.claim(0):
            pass

    run_virtual(go())
    assert served == sorted(served), f"seed {seed}: somebody overtook"
    assert refused


def test_who_is_cancelled_while_the_turn_is_handed_over_hands_it_on() -> None:
    async def go() -> None:
        line = turns()
        await line.take(100)
        first = asyncio.create_task(line.take(100))
        second = asyncio.create_task(line.take(100))
        await asyncio.sleep(0)
        line.give_back()
        first.cancel()
        await second
        assert first.cancelled()

    run_virtual(go())

"""A line is claimed in order and never for longer than the claimer has time."""

from __future__ import annotations

import asyncio

import pytest
from virtual_time import run_virtual

from drivers.meter import MeterError
from drivers.modbus.line import ModbusLine


def test_who_comes_as_the_line_goes_to_a_waiting_one_waits_no_longer_than_its_deadline() -> None:
    """A lock that was just released is not locked, and yet not free."""

    async def hold(line: ModbusLine, seconds: float) -> None:
        async with line.claim(asyncio.get_running_loop().time() + 100):
            await asyncio.sleep(seconds)

    async def go() -> float:
        line = ModbusLine("rs485", "/dev/null")
        loop = asyncio.get_running_loop()
        async with line.claim(100):
            waiting = asyncio.create_task(hold(line, 5))
            await asyncio.sleep(1)
        started = loop.time()
        with pytest.raises(MeterError) as caught:
            async with line.claim(started + 0.5):
                pass
        assert caught.value.reason == "line_busy"
        took = loop.time() - started
        await waiting
        async with line.claim(loop.time()):
            return took

    assert run_virtual(go()) == pytest.approx(0.5)

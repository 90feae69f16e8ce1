"""Serial lines as they are: failing, noisy, late, unplugged; each failure named, the line goes on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from modbus_peers import (
    LATE_VOLTS,
    PROFILE,
    VOLTS,
    Asked,
    Script,
    Terminal,
    failure,
    good,
    once,
    opened,
    rtu_good,
    scripted_server,
    scripted_terminal,
    tcp_good,
    works,
)

from drivers.modbus.line import ModbusLine
from drivers.modbus.meter import ModbusMeter
from drivers.profile.files import find_profile
from drivers.profile.parse import parse_profile
from meter_sim.modbus.frames import rtu_frame, tcp_frame


@pytest.mark.parametrize(
    ("broken", "reason", "says"),
    [
        (lambda _asked: [], "silent", "no answer within"),
        (lambda asked: [rtu_frame(asked.unit + 1, good(asked))], "garbage", "unit 2 instead of 1"),
        (lambda asked: [rtu_frame(asked.unit, good(asked, VOLTS[:2]))], "garbage", "2 bytes of data instead of 4"),
        (lambda asked: [rtu_frame(asked.unit, good(asked))[:5]], "garbage", "short answer, 5 of 9 bytes"),
        (lambda _asked: [bytes(range(7, 47))], "garbage", "no Modbus answer"),
        (lambda asked: [rtu_frame(asked.unit, good(asked))[:-1] + b"\0"], "garbage", "checksum"),
        (lambda asked: [rtu_frame(asked.unit, b"\x84\x02")], "exception", "illegal data address"),
        (lambda asked: [rtu_frame(asked.unit, b"\x84\x0b")], "silent", "gateway target"),
        (lambda asked: [rtu_frame(asked.unit, b"\x84\x63")], "exception", "exception 99 (unknown)"),
    ],
)
def test_a_serial_meter_that_fails_is_named_and_the_line_goes_on(broken: Script, reason: str, says: str) -> None:
    async def scenario() -> None:
        with scripted_terminal(broken) as terminal:
            async with opened(terminal.path) as meter:
                error = await failure(meter)
                assert (error.reason, says in error.cause) == (reason, True), str(error)
                assert "meter main (unit 1 on rs485)" in str(error)
                terminal.script = rtu_good
                await works(meter)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "first",
    [
        lambda _asked: [],
        lambda asked: [rtu_frame(2, good(asked))],
        lambda asked: [rtu_frame(asked.unit, b"\x84\x06")],
    ],
    ids=["silent", "wrong unit", "busy"],
)
def test_one_disturbance_is_retried_within_the_budget(first: Script) -> None:
    async def scenario() -> None:
        with scripted_terminal(once(first)) as terminal:
            async with opened(terminal.path) as meter:
                await works(meter)

    asyncio.run(scenario())


@pytest.mark.parametrize("budget_ms", [40, 90, 170, 260])
def test_a_silent_meter_is_said_to_have_been_waited_for(budget_ms: int) -> None:
    """However the budget falls upon the retry: never "no answer within 0 ms"."""

    async def scenario() -> None:
        with scripted_terminal(lambda _asked: []) as terminal:
            async with opened(terminal.path) as meter:
                for _ in range(3):
                    error = await failure(meter, budget_ms)
                    assert "no answer within 0 ms" not in error.cause

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "parts",
    [
        lambda frame: [b"\0", frame],
        lambda frame: [frame, b"\0"],
        lambda frame: [bytes((byte,)) for byte in frame],
        lambda frame: [bytes.fromhex("01040000000271cb"), frame],
    ],
    ids=["noise before", "noise after", "byte by byte", "echo"],
)
def test_a_good_answer_is_found_whatever_is_around_it(parts: Callable[[bytes], list[bytes]]) -> None:
    async def scenario() -> None:
        with scripted_terminal(lambda asked: parts(rtu_good(asked)[0])) as terminal:
            async with opened(terminal.path) as meter:
                await works(meter)
                await works(meter)

    asyncio.run(scenario())


def test_a_late_serial_answer_is_not_taken_for_the_next() -> None:
    """The meter answers after the budget's end: the reading after that must not get the old value."""

    async def scenario() -> None:
        with scripted_terminal(lambda _asked: []) as terminal:
            async with opened(terminal.path) as meter:
                assert (await failure(meter, 120)).reason == "silent"
                late = rtu_frame(1, good(Asked(1, 4, 0, 2), LATE_VOLTS))
                asyncio.get_running_loop().call_later(0.05, terminal.write, late)
                terminal.script = rtu_good
                await works(meter)

    asyncio.run(scenario())


def test_an_unplugged_adapter_is_noticed_and_a_returned_one_used(tmp_path: Path) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        link = tmp_path / "by-id"
        terminal = Terminal(lambda _asked: [])
        link.symlink_to(terminal.path)
        async with opened(str(link)) as meter:
            await meter.line.open()
            os.close(terminal.masters_end)

            def unplug() -> None:
                link.unlink()
                os.close(terminal.meters_end)

            loop.call_later(0.02, unplug)
            started = loop.time()
            error = await failure(meter, 3000)
            assert error.reason in {"line_lost", "line_missing"}, str(error)
            assert loop.time() - started < 0.09, "without waiting for the time-out"
            assert not meter.line.is_open
            with scripted_terminal(rtu_good) as again:
                link.symlink_to(again.path)
                await works(meter)

    asyncio.run(scenario())


def test_who_waits_too_long_for_the_line_is_told() -> None:
    async def scenario() -> None:
        with scripted_terminal(lambda asked: rtu_good(asked) if asked.unit == 1 else []) as terminal:
            async with opened(terminal.path, unit=2) as dead:
                meter = ModbusMeter(dead.line, 1, PROFILE, "main")
                reading = asyncio.create_task(failure(dead))
                await asyncio.sleep(0)
                error = await failure(meter, 50)
                assert error.reason == "line_busy"
                assert "other meters" in error.cause
                assert (await reading).reason == "silent"
                await works(meter)

    asyncio.run(scenario())


def test_meters_of_one_line_wait_for_each_other() -> None:
    async def scenario() -> None:
        with scripted_terminal(rtu_good) as terminal:
            async with opened(terminal.path) as first:
                second = ModbusMeter(first.line, 7, PROFILE, "second")
                await asyncio.gather(*(works(meter) for meter in (first, second) * 3))

    asyncio.run(scenario())


def test_a_cancelled_read_leaves_the_line_usable() -> None:
    async def scenario() -> None:
        asked = asyncio.Event()

        def silent_once(_asked: Asked) -> list[bytes]:
            asked.set()
            return []

        with scripted_terminal(once(silent_once)) as terminal:
            async with opened(terminal.path) as meter:
                reading = asyncio.create_task(meter.read(1000))
                await asked.wait()
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
                await works(meter)

    asyncio.run(scenario())


def test_a_refused_block_is_read_in_smaller_ones_from_then_on() -> None:
    counts: list[int] = []

    def old_meter(asked: Asked) -> list[bytes]:
        counts.append(asked.count)
        return [tcp_frame(asked, b"\x84\x03" if asked.count > 60 else good(asked, bytes(2 * asked.count)))]

    async def scenario() -> None:
        async with scripted_server(old_meter) as server, opened(server.url, find_profile("eastron-sdm630")) as meter:
            assert len((await meter.read(1000)).values) == 16
            assert counts[0] > 60
            assert len(meter.blocks) == 2
            del counts[:]
            await meter.read(1000)
            assert len(counts) == 2
            assert max(counts) <= 60

    asyncio.run(scenario())


def test_a_refusal_of_the_smaller_blocks_too_is_the_error() -> None:
    def refuse(asked: Asked) -> list[bytes]:
        return [tcp_frame(asked, b"\x84\x02")]

    async def scenario() -> None:
        async with scripted_server(refuse) as server, opened(server.url, find_profile("eastron-sdm630")) as meter:
            assert (await failure(meter)).reason == "exception"
            assert (await failure(meter)).reason == "exception"

    asyncio.run(scenario())


def test_the_box_applies_a_transformer_ratio_only_where_the_profile_says_so() -> None:
    text = """
model = "ct-meter"
vendor = "Test"
description = "One current"
sources = ["this test"]
ct = "{ct}"
[registers]
current_l1 = {{ address = 0, resolution = 0.1 }}
"""

    async def read(ct: str, url: str) -> tuple[int | None, ...]:
        line = ModbusLine("net", url)
        sample = await ModbusMeter(line, 1, parse_profile(text.format(ct=ct)), "m", ["current_l1"], 40).read(1000)
        await line.close()
        return sample.values

    async def scenario() -> None:
        async with scripted_server(tcp_good) as server:
            assert await read("box", server.url) == (92080,)
            assert await read("meter", server.url) == (2302,)

    asyncio.run(scenario())

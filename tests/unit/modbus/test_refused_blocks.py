"""Meters that refuse a block, or say nothing to it: what can be read is read, what cannot is named, and remembered."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable
from contextlib import suppress

import pytest
from scripted_port import ScriptedPort, Sends, scripted_meter
from virtual_time import run_virtual

from drivers.meter import MeterError, Sample
from drivers.modbus.meter import ModbusMeter
from drivers.profile.files import find_profile
from drivers.profile.parse import Profile, parse_profile
from meter_sim.modbus.frames import Asked, answer_body, refusal_body, rtu_frame
from wire.batch import Quality

Says = Callable[[Asked], int | None]  # exception code, 0 an answer, None silence
NOT_AVAILABLE = int(Quality.NOT_AVAILABLE)


def profile(count: int, step: int = 1, limits: str = "") -> Profile:
    """Values at 0, `step`, 2 * `step` ..."""
    names = ("voltage", "current", "power_active", "power_reactive", "power_apparent", "power_factor")
    measurands = [f"{name}_l{phase}{'_n' * (name == 'voltage')}" for name in names for phase in (1, 2, 3)][:count]
    registers = "".join(
        f"{name} = {{ address = {number * step}, resolution = 1, type = 'uint16' }}\n"
        for number, name in enumerate(measurands)
    )
    return parse_profile(f"""
model = "test-meter"
vendor = "Test"
description = "Values in a row"
sources = ["this test"]
[timing]
answer_timeout_ms = 100
answer_typical_ms = 10
[limits]
{limits}
[registers]
{registers}
""")


def script(says: Says) -> Callable[[Asked], Sends]:
    """Each register holds its address."""

    def answer(asked: Asked) -> Sends:
        code = says(asked)
        if code is None:
            return []
        if code:
            return [(0.01, rtu_frame(asked.unit, refusal_body(asked, code)))]
        words = struct.pack(f">{asked.count}H", *range(asked.address, asked.address + asked.count))
        return [(0.01, rtu_frame(asked.unit, answer_body(asked, words)))]

    return answer


def touches(asked: Asked, *addresses: int) -> bool:
    return any(asked.address <= address < asked.address + asked.count for address in addresses)


class Run:
    """Polls every second; `samples` None where a poll failed."""

    def __init__(self, meter: ModbusMeter, port: ScriptedPort) -> None:
        self.meter = meter
        self.port = port
        self.samples: list[Sample | None] = []

    async def polls(self, count: int, every_s: float = 1.0) -> list[Sample | None]:
        loop = asyncio.get_running_loop()
        came: list[Sample | None] = []
        for _ in range(count):
            started = loop.time()
            sample = None
            with suppress(MeterError):
                sample = await self.meter.read(900)
            assert loop.time() - started <= 0.91
            came.append(sample)
            await asyncio.sleep(started + every_s - loop.time())
        self.samples += came
        return came

    def notices(self, kind: str) -> list[tuple[str, int]]:
        return [
            (notice.data["measurand"], notice.data["address"])
            for sample in self.samples
            if sample is not None
            for notice in sample.notices
            if notice.kind == kind
        ]


@pytest.mark.parametrize("bad", range(16))
@pytest.mark.parametrize("code", [2, 3])
def test_a_refused_register_is_left_out_and_the_others_are_read(bad: int, code: int) -> None:
    async def scenario() -> None:
        refuse = script(lambda asked: code if touches(asked, bad) else 0)
        async with scripted_meter(refuse, profile(16)) as (meter, port):
            run = Run(meter, port)
            (last,) = (await run.polls(6))[-1:]
            assert last is not None
            assert last.values == tuple(None if at == bad else at for at in range(16))
            assert last.flags == tuple(NOT_AVAILABLE if at == bad else 0 for at in range(16))
            assert [address for _, address in run.notices("register_refused")] == [bad]
            del port.requests[:]
            await run.polls(10)
            assert len(port.requests) <= 10 * 2, "learnt anew with each poll, or read in more pieces than needed"
            assert not any(touches(asked, bad) for asked in port.requests)

    run_virtual(scenario())


def test_several_refused_registers() -> None:
    async def scenario() -> None:
        bad = (0, 7, 8, 17)
        async with scripted_meter(script(lambda asked: 2 if touches(asked, *bad) else 0), profile(18)) as (meter, port):
            run = Run(meter, port)
            (last,) = (await run.polls(20))[-1:]
            assert last is not None
            assert last.values == tuple(None if at in bad else at for at in range(18))
            assert sorted(address for _, address in run.notices("register_refused")) == list(bad)
            del port.requests[:]
            await run.polls(1)
            assert [(asked.address, asked.count) for asked in port.requests] == [(1, 6), (9, 8)]

    run_virtual(scenario())


def test_a_refused_gap_is_left_out_and_no_value_with_it() -> None:
    async def scenario() -> None:
        async with scripted_meter(script(lambda asked: 2 if touches(asked, 3) else 0), profile(2, 6)) as (meter, port):
            run = Run(meter, port)
            await run.polls(4)
            assert run.samples[-1] is not None
            assert run.samples[-1].values == (0, 6)
            assert run.notices("register_refused") == []
            assert [(block.address, block.count) for block in meter.blocks] == [(0, 1), (6, 1)]

    run_virtual(scenario())


@pytest.mark.parametrize("count_max", [1, 3, 8, 17])
def test_a_meter_that_allows_shorter_blocks_than_its_profile_says(count_max: int) -> None:
    async def scenario() -> None:
        refuse = script(lambda asked: 3 if asked.count > count_max else 0)
        async with scripted_meter(refuse, profile(18)) as (meter, port):
            run = Run(meter, port)
            (last,) = (await run.polls(6))[-1:]
            assert last is not None
            assert last.values == tuple(range(18))
            assert run.notices("register_refused") == []
            del port.requests[:]
            await run.polls(1)
            assert all(asked.count <= count_max for asked in port.requests)

    run_virtual(scenario())


def test_a_block_that_the_meter_says_nothing_to_is_split_as_well() -> None:
    """The others it answers, so it is not dead."""

    async def scenario() -> None:
        mute = script(lambda asked: None if touches(asked, 120) else 0)
        async with scripted_meter(mute, profile(9, 30)) as (meter, port):
            run = Run(meter, port)
            (last,) = (await run.polls(30))[-1:]
            assert last is not None
            assert last.values == tuple(None if at == 120 else at for at in range(0, 270, 30))
            assert [address for _, address in run.notices("register_refused")] == [120]

    run_virtual(scenario())


def test_a_meter_with_one_block_that_it_says_nothing_to_is_told_from_a_dead_one() -> None:
    """It answers the shorter question that is put after a lost answer."""

    async def scenario() -> None:
        mute = script(lambda asked: None if touches(asked, 5) else 0)
        async with scripted_meter(mute, profile(6)) as (meter, port):
            run = Run(meter, port)
            (last,) = (await run.polls(30))[-1:]
            assert last is not None
            assert last.values == (0, 1, 2, 3, 4, None)

    run_virtual(scenario())


@pytest.mark.parametrize("lost", [0.1, 0.5])
def test_what_a_noisy_line_cut_apart_is_read_together_again(lost: float) -> None:
    """Each further request makes a noisy line worse, and costs the other meters their time when it is quiet again."""

    async def scenario() -> None:
        dice, quiet = random.Random(1), False
        noisy = script(lambda _asked: None if not quiet and dice.random() < lost else 0)
        async with scripted_meter(noisy, profile(16, 5, "registers_max = 45")) as (meter, port):
            run, blocks, loop = Run(meter, port), meter.blocks, asyncio.get_running_loop()
            counts = set()
            for _ in range(2_000):
                with suppress(MeterError):
                    await meter.read(1_000)
                counts.add(len(meter.blocks))
                await asyncio.sleep(10)
            assert len(blocks) == 2
            assert (max(counts) > len(blocks)) == (lost > 0.1), counts
            quiet, began = True, loop.time()
            while meter.blocks != blocks:
                await run.polls(1)
                await asyncio.sleep(10)
                assert loop.time() - began < 2 * 3600
            (last,) = await run.polls(1)
            assert last is not None
            assert last.values == tuple(range(0, 80, 5))

    run_virtual(scenario())


def test_silence_does_not_make_a_profile_fall_back_for_good() -> None:
    async def scenario() -> None:
        quiet = False
        noisy = script(lambda asked: 0 if quiet or asked.address else None)
        async with scripted_meter(noisy, profile(16, 5, "registers_max = 45\nfallback = { gaps = false }")) as (
            meter,
            port,
        ):
            run, blocks = Run(meter, port), meter.blocks
            await run.polls(20)
            assert meter.blocks != blocks
            quiet = True
            await run.polls(7200)
            assert meter.blocks == blocks

    run_virtual(scenario())


def test_a_block_that_is_cut_because_of_its_length_is_asked_for_ever_more_rarely() -> None:
    """Some meters say nothing to what is too long for them."""

    async def scenario() -> None:
        short = script(lambda asked: None if asked.count > 20 else 0)
        async with scripted_meter(short, profile(9, 4)) as (meter, port):
            run, loop = Run(meter, port), asyncio.get_running_loop()
            await run.polls(30)
            asked, ended = len(port.requests), loop.time() + 24 * 3600
            while loop.time() < ended:
                (last,) = await run.polls(1)
                assert last is not None
                assert None not in last.values
                await asyncio.sleep(10)
            assert 20 <= sum(each.count > 20 for each in port.requests[asked:]) <= 60

    run_virtual(scenario())


def test_a_dead_meter_teaches_nothing() -> None:
    async def scenario() -> None:
        dead = True
        async with scripted_meter(script(lambda _asked: None if dead else 0), profile(9, 30)) as (meter, port):
            run, blocks = Run(meter, port), meter.blocks
            await run.polls(60)
            dead = False
            await run.polls(12)
            assert run.samples[-1] is not None
            assert None not in run.samples[-1].values
            assert meter.blocks == blocks

    run_virtual(scenario())


def test_a_dead_meter_costs_one_time_out() -> None:
    async def scenario() -> None:
        async with scripted_meter(script(lambda _asked: None), profile(2)) as (meter, _port):
            loop = asyncio.get_running_loop()
            took = []
            for _ in range(4):
                started = loop.time()
                with suppress(MeterError):
                    await meter.read(2000)
                took.append(loop.time() - started)
                await asyncio.sleep(20)
            assert took[0] == pytest.approx(2 * took[1], abs=0.02)
            assert max(took[1:]) < 0.14

    run_virtual(scenario())


def test_a_meter_that_refuses_everything_is_an_error_and_is_asked_little() -> None:
    async def scenario() -> None:
        code = 2
        async with scripted_meter(script(lambda _asked: code), profile(16)) as (meter, port):
            run = Run(meter, port)
            assert await run.polls(10) == [None] * 10
            del port.requests[:]
            await run.polls(10)
            assert len(port.requests) == 10
            code = 0
            await run.polls(2)
            assert run.samples[-1] is not None
            assert run.samples[-1].values == tuple(range(16))
            assert run.notices("register_refused") == []
            assert len(meter.blocks) == 1

    run_virtual(scenario())


def test_a_refusal_that_is_not_repeated_changes_nothing() -> None:
    async def scenario() -> None:
        codes = iter([2])
        async with scripted_meter(script(lambda _asked: next(codes, 0)), profile(16)) as (meter, port):
            run, blocks = Run(meter, port), meter.blocks
            await run.polls(3)
            assert None not in run.samples
            assert meter.blocks == blocks

    run_virtual(scenario())


def test_a_register_left_out_is_asked_for_again_ever_more_rarely_and_taken_back() -> None:
    async def scenario() -> None:
        bad = 4
        refuse = script(lambda asked: 2 if touches(asked, bad) else 0)
        async with scripted_meter(refuse, profile(8)) as (meter, port):
            run = Run(meter, port)
            await run.polls(6)
            del port.requests[:]
            await run.polls(8 * 3600 // 10, 10)
            again = [asked for asked in port.requests if touches(asked, 4)]
            assert 8 <= len(again) <= 12
            bad = -1
            await run.polls(400, 10)
            assert run.notices("register_back") == [("current_l2", 4)]
            assert run.samples[-1] is not None
            assert run.samples[-1].values == tuple(range(8))
            assert len(meter.blocks) == 1

    run_virtual(scenario())


def test_the_profiles_own_smaller_limits_come_first() -> None:
    """No probing where the manual of an older generation says what it allows."""

    async def scenario() -> None:
        sdm630 = find_profile("eastron-sdm630")
        everything = sdm630.select(tuple(each.measurand for each in sdm630.registers))
        refuse = script(lambda asked: 3 if asked.count > 60 else 0)
        async with scripted_meter(refuse, sdm630) as (_, port):
            meter = ModbusMeter(_.line, 1, sdm630, "all", [each.measurand for each in everything])
            first = max(block.count for block in meter.blocks)
            run = Run(meter, port)
            await run.polls(4)
            assert run.samples[-1] is not None
            assert run.notices("register_refused") == []
            assert max(block.count for block in meter.blocks) <= 60
            assert (first > 60) == (sum(asked.count > 60 for asked in port.requests) == 2)

    run_virtual(scenario())

"""Serial meters that answer too late, adapters that echo, lines that are never silent: no reading is another's.

In virtual time, over a port without a device.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable
from contextlib import suppress

import pytest
from scripted_port import ScriptedPort, Sends, scripted_meter
from virtual_time import run_virtual

from drivers.meter import MeterError
from drivers.modbus.line import ModbusLine
from drivers.modbus.meter import ModbusMeter
from drivers.profile.parse import Profile, parse_profile
from meter_sim.modbus.frames import Asked, answer_body, refusal_body, rtu_frame

HEAD = """
model = "test-meter"
vendor = "Test"
description = "Values that say when they were asked for"
sources = ["this test"]
[timing]
answer_timeout_ms = 100
answer_typical_ms = 10
[limits]
{limits}
[registers]
voltage_l1_n = {{ address = 0, resolution = 1, type = 'uint16' }}
"""
ONE = parse_profile(HEAD.format(limits=""))
ONE_ALONE = parse_profile(HEAD.format(limits="forbidden = [[1, 65535]]"))
TWO = parse_profile(
    HEAD.format(limits="gaps = false") + "voltage_l2_n = { address = 100, resolution = 1, type = 'uint16' }"
)
THREE = parse_profile(
    HEAD.format(limits="")
    + "".join(f"voltage_l{n}_n = {{ address = {n - 1}, resolution = 1, type = 'uint16' }}\n" for n in (2, 3))
)
PROFILES = {"one": ONE, "two of one shape": TWO, "three in a block": THREE}


class Meter:
    """Answers in order, each request after `delay_s`; every register holds the request's number and the address."""

    def __init__(self, profile: Profile) -> None:
        registers = {at for each in profile.registers for at in range(each.address, each.end)}
        self.registers = registers
        self.delay: Callable[[], float] = lambda: 0.01
        self.numbers = 0
        self.refuses_longer = False
        self.free_at = 0.0
        self.busy_until: list[float] = []

    def __call__(self, asked: Asked) -> Sends:
        self.numbers += 1
        now = asyncio.get_running_loop().time()
        self.busy_until = [at for at in self.busy_until if at > now]
        if len(self.busy_until) > 1:
            return []  # it hears no more than two questions at a time
        self.free_at = max(self.free_at, now + self.delay())
        self.busy_until.append(self.free_at)
        if self.refuses_longer and not self.registers >= {*range(asked.address, asked.address + asked.count)}:
            return [(self.free_at - now, rtu_frame(asked.unit, refusal_body(asked, 2)))]
        words = [100 * (self.numbers % 300) + (asked.address + at) % 99 for at in range(asked.count)]
        frame = rtu_frame(asked.unit, answer_body(asked, struct.pack(f">{asked.count}H", *words)))
        return [(self.free_at - now, frame)]

    def check(self, meter: ModbusMeter, values: tuple[int | None, ...], before: int) -> None:
        """Each value is of its own register, and of a request made after the first `before`."""
        for register, value in zip(meter.profile.registers, values, strict=True):
            assert value is not None
            number, address = divmod(value, 100)
            assert address == register.address % 99, "a value of other registers"
            assert (number - before) % 300 in range(1, 20), f"an answer to request {number}, this began after {before}"


async def polls(meter: ModbusMeter, slow: Meter, count: int, interval_s: float, budget_ms: int) -> list[bool]:
    """Whether each of `count` polls brought a reading; those that did must be of their own requests."""
    loop = asyncio.get_running_loop()
    came = []
    for _ in range(count):
        started, before = loop.time(), slow.numbers
        values: tuple[int | None, ...] = ()
        with suppress(MeterError):
            values = (await meter.read(budget_ms)).values
            slow.check(meter, values, before)
        assert loop.time() - started <= budget_ms / 1000 + 0.01
        came.append(bool(values))
        await asyncio.sleep(max(started + interval_s - loop.time(), 0))
    return came


@pytest.mark.parametrize("refuses_longer", [False, True])
@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("delay_s", [0.12, 0.25, 0.44, 0.47, 0.6, 0.9])
def test_a_meter_slower_than_its_time_out_is_read_in_step(
    delay_s: float, profile: Profile, refuses_longer: bool
) -> None:
    """And never one answer behind: once it is known to be slow it is waited for."""

    async def scenario() -> None:
        slow = Meter(profile)
        slow.delay, slow.refuses_longer = (lambda: delay_s), refuses_longer
        async with scripted_meter(slow, profile) as (meter, _port):
            assert (await polls(meter, slow, 20, 3, 3000))[-10:] == [True] * 10

    run_virtual(scenario())


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("interval_s", [0.3, 0.47, 0.6])
def test_a_meter_slower_than_its_interval_is_not_read_one_answer_behind(profile: Profile, interval_s: float) -> None:
    """Every answer comes in the middle of a later poll; when the meter has recovered, so do its readings."""

    async def scenario() -> None:
        slow = Meter(profile)
        slow.delay = lambda: 0.65
        async with scripted_meter(slow, profile) as (meter, _port):
            await polls(meter, slow, 50, interval_s, round(interval_s * 1000))
            slow.delay = lambda: 0.01
            assert (await polls(meter, slow, 100, interval_s, round(interval_s * 1000)))[-20:] == [True] * 20

    run_virtual(scenario())


@pytest.mark.parametrize("seed", range(20))
def test_no_pattern_of_delays_brings_the_value_of_another_request(seed: int) -> None:
    async def scenario() -> None:
        dice = random.Random(seed)
        profile = dice.choice(list(PROFILES.values()))
        slow = Meter(profile)
        slow.refuses_longer = dice.random() < 0.5
        slow.delay = lambda: dice.choice((0.005, 0.01, 0.02, 0.1, 0.2, 0.5, 1, 2))
        async with scripted_meter(slow, profile) as (meter, _port):
            came = await polls(meter, slow, 300, dice.choice((0.3, 1, 3)), dice.choice((250, 900)))
            slow.delay = lambda: 0.01
            came = await polls(meter, slow, 60, 1, 900)
            assert came[-20:] == [True] * 20

    run_virtual(scenario())


def test_a_meter_of_which_only_one_register_may_be_touched_is_waited_out() -> None:
    """No other question can be put to it, so only time can tell; up to `LATE_S` after the time-out."""

    async def scenario() -> None:
        slow = Meter(ONE_ALONE)
        slow.delay = lambda: 0.35
        async with scripted_meter(slow, ONE_ALONE) as (meter, _port):
            await polls(meter, slow, 20, 1, 1000)

    run_virtual(scenario())


def test_a_lost_answer_costs_one_short_question_more() -> None:
    async def scenario() -> None:
        slow = Meter(THREE)
        async with scripted_meter(slow, THREE) as (meter, port):
            slow.delay = lambda: 100
            with suppress(MeterError):
                await meter.read(115)
            slow.delay, slow.free_at = (lambda: 0.01), 0
            await polls(meter, slow, 2, 1, 1000)
            assert [asked.count for asked in port.requests] == [3, 2, 3, 3]

    run_virtual(scenario())


def good_frame(asked: Asked) -> bytes:
    return rtu_frame(asked.unit, answer_body(asked, bytes(2 * asked.count)))


def request_frame(asked: Asked) -> bytes:
    return rtu_frame(asked.unit, struct.pack(">BHH", asked.function_code, asked.address, asked.count))


def read_once(script: Callable[[Asked], Sends], budget_ms: int = 1000, profile: Profile = ONE) -> MeterError | None:
    """The error of one read, None if it succeeded."""

    async def scenario() -> MeterError | None:
        async with scripted_meter(script, profile) as (meter, _port):
            try:
                await meter.read(budget_ms)
            except MeterError as error:
                return error
            return None

    return run_virtual(scenario())


@pytest.mark.parametrize("glitch", [b"", b"\0", b"\xff\0"])
def test_an_adapters_echo_is_no_answer_and_no_garbage(glitch: bytes) -> None:
    error = read_once(lambda asked: [(0.008, glitch + request_frame(asked))])
    assert error is not None
    assert (error.reason, "no answer within" in error.cause) == ("silent", True), str(error)
    assert read_once(lambda asked: [(0.008, glitch + request_frame(asked)), (0.03, good_frame(asked))]) is None


def test_too_little_time_is_not_the_meters_fault() -> None:
    """Question and answer take 16 ms on the wire alone."""
    error = read_once(lambda asked: [(0.01, good_frame(asked))], budget_ms=15)
    assert error is not None
    assert (error.reason, "no time is left" in error.cause) == ("line_busy", True), str(error)
    assert read_once(lambda asked: [(0.01, good_frame(asked))], budget_ms=40) is None


def babble(port: ScriptedPort, seconds: float, every_s: float, piece: Callable[[], bytes]) -> None:
    for at in range(round(seconds / every_s)):
        port.say(at * every_s, piece())


@pytest.mark.parametrize("seed", range(5))
def test_a_line_that_is_never_silent_is_read_through_its_noise(seed: int) -> None:
    """A byte of noise every 3 ms: the line never has 3.5 characters of silence, and the meter answers all the same."""

    async def scenario() -> None:
        dice = random.Random(seed)
        async with scripted_meter(lambda asked: [(0.02, good_frame(asked))], ONE) as (meter, port):
            await meter.line.open()
            babble(port, 10, 0.003, lambda: dice.randbytes(1))
            await asyncio.sleep(0.5)
            loop = asyncio.get_running_loop()
            for _ in range(5):
                started = loop.time()
                assert (await meter.read(1000)).values == (0,)
                assert loop.time() - started < 0.4

    run_virtual(scenario())


@pytest.mark.parametrize("seed", range(5))
def test_babble_ends_each_read_in_time_and_fills_no_memory(seed: int) -> None:
    async def scenario() -> None:
        dice = random.Random(seed)
        async with scripted_meter(lambda _asked: [], ONE) as (meter, port):
            await meter.line.open()
            babble(port, 6, 0.001, lambda: dice.randbytes(200))
            loop = asyncio.get_running_loop()
            for _ in range(10):
                started = loop.time()
                with pytest.raises(MeterError) as caught:
                    await meter.read(500)
                assert caught.value.reason in {"garbage", "silent"}
                assert loop.time() - started < 0.51
                assert len(meter.line._buffer) <= 1024
                assert len(meter.line._stray) <= 1024

    run_virtual(scenario())


def test_after_the_noise_the_line_is_waited_for_again() -> None:
    """An old disturbance must not make later ones be talked over."""

    async def scenario() -> None:
        async with scripted_meter(lambda asked: [(0.02, good_frame(asked))], ONE) as (meter, port):
            loop = asyncio.get_running_loop()
            await meter.read(500)
            babble(port, 0.5, 0.003, lambda: b"\x55")
            await asyncio.sleep(10)
            await meter.read(500)
            babble(port, 0.1, 0.003, lambda: b"\x55")
            await asyncio.sleep(0)
            await asyncio.sleep(0.0031)
            started = loop.time()
            await meter.read(500)
            assert loop.time() - started > 0.1

    run_virtual(scenario())


def test_an_answer_found_at_the_last_moment_does_not_cost_the_next_request_its_time() -> None:
    """The time-out looks once more at what the kernel has; the reader goes on at once, and asks for the next block."""

    class Held(ScriptedPort):
        """Bytes stay with the kernel until somebody looks, as while a `SerialPort` rests."""

        held = b""

        def drain(self) -> None:
            held, self.held = self.held, b""
            if held:
                self._arrive(held)

    async def scenario() -> None:
        def script(asked: Asked) -> Sends:
            if asked.address == 0:
                port.held = good_frame(asked)
                return []
            return [(0.03, good_frame(asked))]

        port = Held(script)
        meter = ModbusMeter(ModbusLine("rs485", "scripted", way=port), 1, TWO, "main")
        assert (await meter.read(1000)).values == (0, 0)
        assert [asked.address for asked in port.requests] == [0, 100]

    run_virtual(scenario())

"""Bad days of a serial line under a fake clock: polling goes on for ever, and every slot is a reading or explained.

Real `LinePoller`, `ModbusMeter` and `ModbusLine`; port, meters and time are simulated. `make sim` plays 24 hours
for SIM_LINE_SEEDS seeds (default 3); a failure names the seed, SIM_SEED picks a single one.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from scripted_port import ScriptedPort, Sends
from virtual_time import LoopClock, VirtualTimeLoop, run_virtual

from agent.core.metering.slots import MeterSlots
from agent.core.records import NewEvent, NewReading, NewRecord
from agent.core.system.watchdog import Watchdog
from agent.services.metering.polled_meter import PolledMeter
from agent.services.progress import MeterProgress
from agent.tasks.polling import LinePoller
from drivers.meter import REASONS, Sample
from drivers.modbus.line import ModbusLine
from drivers.modbus.meter import ModbusMeter
from drivers.profile.parse import parse_profile
from meter_sim.modbus.frames import Asked, answer_body, refusal_body, rtu_frame
from wire.batch import Column, Quality

LONG = "SIM_LONG" in os.environ
FIRST_SEED = int(os.environ.get("SIM_SEED", "1"))
SEEDS = range(
    FIRST_SEED, FIRST_SEED + (int(os.environ.get("SIM_LINE_SEEDS", "3")) if "SIM_SEED" not in os.environ else 1)
)
HOUR_S = 3_600
INTERVALS_MS = (1_000, 2_000, 10_000, 60_000)
MENDED_S = 600  # at the end of the day nothing fails any more
RECOVERY_S = 130  # twice the longest pause of a meter that was silent
ASKED_WITHIN_S = 75  # the longest pause, and what the others need
PROFILE = parse_profile(
    """
model = "test-meter"
vendor = "Test"
description = "Ten values in three blocks"
sources = ["this test"]
[timing]
answer_timeout_ms = 150
answer_typical_ms = 15
[registers]
"""
    + "".join(
        f"{name} = {{ address = {address}, resolution = 1, type = 'uint16' }}\n"
        for name, address in {
            "voltage_l1_n": 0,
            "voltage_l2_n": 1,
            "voltage_l3_n": 2,
            "current_l1": 4,
            "current_l2": 5,
            "power_active_l1": 200,
            "power_active_l2": 201,
            "power_active_l3": 202,
            "frequency": 500,
            "energy_active_import_total": 501,
        }.items()
    )
)


def word(unit: int, address: int, number: int) -> int:
    """What a register holds when the meter hears its request `number`."""
    return (unit * 40_503 + address * 7_919 + number * 2_741) & 0xFFFF


@dataclass
class Weather:
    """What goes wrong now, and how much of it has."""

    dead: set[int] = field(default_factory=set)
    slow_s: dict[int, float] = field(default_factory=dict)
    refuses: dict[int, int] = field(default_factory=dict)  # unit -> address
    spoiled: float = 0.0
    noise: float = 0.0
    stalled_s: float = 0.0
    happened: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        self.happened[what] = self.happened.get(what, 0) + 1


class Meters:
    """The meters' side of the line."""

    def __init__(self, dice: random.Random, weather: Weather) -> None:
        self.dice = dice
        self.weather = weather
        self.numbers: dict[int, int] = {}
        self.answering: dict[int, list[float]] = {}  # when a unit will have answered what it has heard

    def __call__(self, asked: Asked) -> Sends:
        number = self.numbers[asked.unit] = self.numbers.get(asked.unit, 0) + 1
        weather, now = self.weather, asyncio.get_running_loop().time()
        if asked.unit in weather.dead:
            return []
        refused = weather.refuses.get(asked.unit)
        words = [word(asked.unit, asked.address + index, number) for index in range(asked.count)]
        body = answer_body(asked, struct.pack(f">{asked.count}H", *words))
        if refused is not None and asked.address <= refused < asked.address + asked.count:
            body = refusal_body(asked, 2)
        delay_s = weather.slow_s.get(asked.unit, 0.015) * self.dice.uniform(0.7, 1.3)
        queue = self.answering[asked.unit] = [at for at in self.answering.get(asked.unit, []) if at > now]
        if len(queue) > 1:
            return []  # no meter keeps more questions in mind
        queue.append(max([now, *queue]) + delay_s)
        return [(queue[-1] - now, frame) for frame in self._spoil(asked, rtu_frame(asked.unit, body))]

    def _spoil(self, asked: Asked, frame: bytes) -> list[bytes]:
        """One fault of a kind of its own, at times."""
        dice = self.dice
        if dice.random() >= self.weather.spoiled:
            return [frame]
        kind = dice.choice(
            ("lost", "cut", "bit", "unit", "function", "busy", "before", "behind", "echo", "twice", "short")
        )
        if kind in {"short", "unit", "function"} and asked.unit in self.weather.slow_s:
            kind = "cut"  # a good checksum over a wrong head, and late: that is told from nothing (decision 0008)
        self.weather.count(kind)
        at = dice.randrange(1, len(frame))
        echo = rtu_frame(asked.unit, struct.pack(">BHH", asked.function_code, asked.address, asked.count))
        good = frame[1:-2]
        spoiled = {
            "lost": [],
            "cut": [frame[:at]],
            "bit": [frame[:at] + bytes((frame[at] ^ 1 << dice.randrange(8),)) + frame[at + 1 :]],
            "unit": [rtu_frame(asked.unit % 4 + 1, good)],
            "function": [rtu_frame(asked.unit, bytes((asked.function_code ^ 7,)) + good[1:])],
            "busy": [rtu_frame(asked.unit, refusal_body(asked, dice.choice((4, 5, 6))))],
            "before": [dice.randbytes(dice.randrange(1, 9)) + frame],
            "behind": [frame + dice.randbytes(dice.randrange(1, 9))],
            "echo": [echo, frame],
            "twice": [frame, frame],
            "short": [rtu_frame(asked.unit, good[:1] + bytes((max(len(good) - 4, 0),)) + good[2:-2])],
        }
        return spoiled[kind]


class CheckedMeter:
    """A `ModbusMeter` whose values are looked at: each must be of a request of this very reading."""

    def __init__(self, meter: ModbusMeter, meters: Meters, weather: Weather) -> None:
        self.meter = meter
        self.meters = meters
        self.weather = weather
        self.name = meter.name
        self.typical_ms = meter.typical_ms
        self.asked_s: list[float] = []

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.meter.columns

    @property
    def read_max_ms(self) -> int:
        return self.meter.read_max_ms

    async def identify(self, budget_ms: int) -> Mapping[str, str]:
        return await self.meter.identify(budget_ms)

    async def read(self, budget_ms: int) -> Sample:
        loop, unit = asyncio.get_running_loop(), self.meter.unit
        started, before, stalled_s = loop.time(), self.meters.numbers.get(unit, 0), self.weather.stalled_s
        self.asked_s.append(started - stalled_s)
        try:
            sample = await self.meter.read(budget_ms)
        finally:
            took_s = loop.time() - started - (self.weather.stalled_s - stalled_s)
            assert took_s <= budget_ms / 1000 + 0.002, "longer than its budget"
        numbers = range(before + 1, self.meters.numbers.get(unit, 0) + 1)
        flags = sample.flags or (0,) * len(sample.values)
        for register, value, flag in zip(PROFILE.registers, sample.values, flags, strict=True):
            if value is None:
                assert flag == Quality.NOT_AVAILABLE
            else:
                assert value in [word(unit, register.address, number) for number in numbers], "another request's value"
        return sample


class Notebook(list[NewRecord]):
    add = list.extend


class Day:
    """One line with four meters, polled for `seconds`."""

    def __init__(self, seed: int, seconds: int) -> None:
        self.dice = random.Random(f"line {seed}")
        self.seconds = seconds
        self.weather = Weather()
        self.meters = Meters(self.dice, self.weather)
        self.port = ScriptedPort(self.meters)
        self.notebook = Notebook()
        self.watchdog = Watchdog()
        self.polled: list[PolledMeter] = []
        self.checked: list[CheckedMeter] = []
        self.first_ms: list[int] = []
        self.overdue: list[str] = []
        self.ended_ms = 0

    async def run(self) -> None:
        clock = LoopClock()
        line = ModbusLine("rs485", "scripted", 9600, way=self.port)
        for number, interval_ms in enumerate(INTERVALS_MS):
            meter = CheckedMeter(ModbusMeter(line, number + 1, PROFILE, f"meter{number}"), self.meters, self.weather)
            slots = MeterSlots(meter.name, interval_ms, 1)
            self.first_ms.append(slots.next_ms)
            self.checked.append(meter)
            self.polled.append(PolledMeter(meter, slots, number, MeterProgress()))
        journal: Any = self.notebook
        poller = asyncio.create_task(LinePoller("rs485", self.polled, journal, clock, self.watchdog).run())
        weather = asyncio.create_task(self._weather())
        while clock.mono_ms() < (self.seconds - MENDED_S) * 1000:
            await asyncio.sleep(30)
            assert not poller.done(), "polling has stopped"
            self.overdue += self.watchdog.overdue(clock.mono_ms())
            assert len(line._buffer) + len(line._stray) < 4096
            assert len(line._late._given_up) < 60
        weather.cancel()
        await asyncio.gather(weather, return_exceptions=True)
        self._mend()
        await asyncio.sleep(MENDED_S)
        poller.cancel()
        await asyncio.gather(poller, return_exceptions=True)
        self.ended_ms = clock.mono_ms()
        for one in self.polled:
            self.notebook.add(one.slots.end(self.ended_ms))

    def _mend(self) -> None:
        weather = self.weather
        weather.dead, weather.slow_s, weather.refuses = set(), {}, {}
        weather.spoiled = weather.noise = 0.0
        self.port.plugged = True

    async def _weather(self) -> None:
        """Good and bad times of all kinds; several may come together."""
        dice, weather = self.dice, self.weather
        noise = asyncio.create_task(self._noise())
        try:
            while True:
                await asyncio.sleep(dice.expovariate(1 / 90))
                kind = dice.choice(("unplug", "dead", "slow", "refuse", "spoil", "noise", "stall", "mend", "mend"))
                weather.count(kind)
                unit = dice.randrange(1, 5)
                if kind == "unplug":
                    self.port.unplug()
                    await asyncio.sleep(dice.choice((0.2, 5, 60, 600)))
                    self.port.plugged = True
                elif kind == "dead":
                    weather.dead ^= {unit}
                elif kind == "slow":
                    weather.slow_s[unit] = dice.choice((0.05, 0.2, 0.4, 1, 2))
                elif kind == "refuse":
                    weather.refuses[unit] = dice.choice((0, 3, 5, 200, 501))
                elif kind == "spoil":
                    weather.spoiled = dice.choice((0.02, 0.2, 0.6))
                elif kind == "noise":
                    weather.noise = dice.choice((0.002, 0.02, 1.0))
                elif kind == "stall":
                    self._stall(dice.choice((0.3, 3, 100)))
                else:
                    self._mend()
        finally:
            noise.cancel()

    def _stall(self, seconds: float) -> None:
        """The whole process stands still."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop.jump(seconds)
        self.weather.stalled_s += seconds

    async def _noise(self) -> None:
        """Bytes that nobody sent: single ones now and then, or without end for a while."""
        while True:
            pause_s = self.weather.noise
            await asyncio.sleep(pause_s or 5)
            if pause_s:
                self.port.say(0, self.dice.randbytes(self.dice.choice((1, 1, 1, 20))))
                if self.dice.random() < 0.002:
                    self.weather.noise = 0.0

    def check(self) -> None:
        """Every slot once, and every failure by one of the names."""
        assert self.overdue == []
        for layout, one in enumerate(self.polled):
            interval_ms, first_ms = INTERVALS_MS[layout], self.first_ms[layout]
            read = [r.mono_ms for r in self.notebook if isinstance(r, NewReading) and r.layout == layout]
            gaps = [
                e.data
                for e in self.notebook
                if isinstance(e, NewEvent) and (e.kind, e.meter) == ("gap", one.meter.name)
            ]
            slots = [(at - first_ms) // interval_ms for at in read]
            for gap in gaps:
                assert gap["reason"] in {*REASONS, "late", "not_running"}
                assert gap["to_ms"] - gap["from_ms"] == gap["slots"] * interval_ms
                slots += range((gap["from_ms"] - first_ms) // interval_ms, (gap["to_ms"] - first_ms) // interval_ms)
            due = (self.ended_ms - first_ms) // interval_ms + 1
            assert sorted(slots) == list(range(due)), f"{one.meter.name}: slots missing or twice"
            assert one.slots.due_since_last() == due
            mended_ms = self.ended_ms - (MENDED_S - RECOVERY_S) * 1000
            assert [g for g in gaps if g["from_ms"] > mended_ms and g["reason"] != "not_running"] == []
            asked_s = self.checked[layout].asked_s
            pauses = [after - before for before, after in pairwise(asked_s)]
            assert max(pauses) < max(2 * interval_ms / 1000, ASKED_WITHIN_S), "polling paused for too long"


def play(seed: int, seconds: int) -> Day:
    day = Day(seed, seconds)
    try:
        run_virtual(day.run())
        day.check()
    except AssertionError as error:
        pytest.fail(
            f"seed {seed}: {error}\nplay it again: SIM_SEED={seed} make sim ARGS=tests/simulation/test_line_day.py"
        )
    return day


@pytest.mark.parametrize("seed", range(100, 103))
def test_a_bad_hour_leaves_no_slot_unexplained(seed: int) -> None:
    day = play(seed, HOUR_S)
    assert len(day.weather.happened) > 12, "the hour was too quiet to mean anything"
    assert sum(isinstance(record, NewReading) for record in day.notebook) > 1_000


@pytest.mark.skipif(not LONG, reason="make sim plays it")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_bad_day_leaves_no_slot_unexplained(seed: int) -> None:
    day = play(seed, 24 * HOUR_S)
    assert len(day.weather.happened) == 19

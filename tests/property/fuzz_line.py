# ruff: noqa: T201 - a script that prints
"""Seeded faults against the real line and the real meters, in virtual time: no hang, no foreign error, no wrong value.

    python tests/property/fuzz_line.py [--frames 1000000] [--seed 1] [--episode N]

An episode is a line with its own speed, meters, blocks and mix of faults; `--episode N` plays one of them again. Every
register says whose it is and which request it answers, so that a value of any other answer is known as wrong. Prints
frames, faults by kind, readings and errors by reason.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(root), str(root / "hardware-sim"), str(root / "tests" / "support")]

from fault_port import FaultyPort, Meters, Tally, words
from virtual_time import run_virtual

from drivers.meter import REASONS, MeterError, Sample
from drivers.modbus.line import ModbusLine
from drivers.modbus.meter import ModbusMeter
from drivers.profile.model import Profile, ReadLimits, Register, Timing
from meter_sim.faults.schedule import DEFAULT_TIME_S, WIRE, Dice, Fault
from meter_sim.modbus.frames import Asked
from wire.measurand import VOCABULARY
from wire.resolution import Resolution

FRAMES_PER_EPISODE = 1_000
BUDGET_SLACK_S = 0.05
STALL_S = 60.0  # of real time: an episode takes about one second
RECOVERIES = 4  # readings after the last fault by which every meter must be well again
KINDS = (*WIRE, "unplug")
SPEEDS = (1200, 2400, 9600, 9600, 19200, 115200)


class WrongError(AssertionError):
    """What must not happen, with how to see it again."""


@dataclass
class Episode:
    """Everything about it follows from `seed`."""

    seed: str
    frames: int = FRAMES_PER_EPISODE
    tally: Tally = field(default_factory=Tally)
    outcomes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        dice = self.dice
        self.tcp = dice.random() < 0.25
        self.baudrate = dice.choice(SPEEDS)
        self.units = dice.sample(range(1, 248), dice.randint(1, 4))
        self.ghosts = dice.sample([unit for unit in range(1, 248) if unit not in self.units], dice.choice((0, 0, 1)))
        self.mix = [self._fault(kind) for kind in dice.sample(KINDS, dice.choice((1, 2, 3, 5, len(KINDS))))]
        self.interval_s = dice.choice((0.5, 1.0, 5.0)) * (4 if self.baudrate < 9600 else 1)

    def _fault(self, kind: str) -> Fault:
        dice = self.dice
        share = dice.choice((0.01, 0.03, 0.1, 0.3)) * (0.1 if kind in ("unplug", "babble") else 1)
        unit = dice.choice(self.units) if dice.random() < 0.2 else None
        time_s = DEFAULT_TIME_S.get(kind, 0) * dice.choice((0.1, 0.5, 1, 1))
        return Fault(kind, share, time_s, unit)

    def _profile(self) -> Profile:
        """Values of 32 and 64 bits here and there, so that blocks of one shape and of different ones come up."""
        dice = self.dice
        names = [measurand.name for measurand in VOCABULARY]
        registers, address = [], dice.randrange(100)
        for name in dice.sample(names, dice.randint(1, 12)):
            code, wide = dice.choice((3, 3, 3, 4)), dice.random() < 0.3
            kind = "uint64" if wide else "uint32"
            registers.append(Register(name, code, address, kind, Resolution(1, 0)))  # type: ignore[arg-type]
            address += (4 if wide else 2) + dice.choice((0, 0, 0, 2, 40, 150))
        registers_max = dice.choice((4, 8, 20, 125))
        limits = ReadLimits(registers_max, gaps=dice.random() < 0.7)
        tighter = ReadLimits(4, gaps=False) if dice.random() < 0.3 and registers_max > 4 else None
        timing = Timing(dice.choice((5, 40)), dice.choice((100, 300, 500, 1000)), dice.choice((0, 0, 20)))
        chosen = tuple(register.measurand for register in registers)
        return Profile("fuzz", "fuzz", "", tuple(registers), chosen, limits=limits, fallback=tighter, timing=timing)

    async def play(self) -> None:
        character_s = 0 if self.tcp else 10 / self.baudrate
        faults = Dice(self.mix, self.seed)
        most = self.dice.choice((0, 0, 0, 4, 8))  # registers of one request that a pickier firmware would refuse
        meters = Meters(self.units, self.dice.choice((0.0, 0.005, 0.04)), lambda asked: self._refused(asked, most))
        self.port = FaultyPort(meters, faults, self.tally, character_s, tcp=self.tcp)
        where = "tcp://192.0.2.1:502" if self.tcp else "/dev/fuzz"
        line = ModbusLine("fuzz", where, self.baudrate, way=self.port)
        asyncio.get_running_loop().set_exception_handler(self._complain)
        readers = [ModbusMeter(line, unit, self._profile(), f"meter{unit}") for unit in [*self.units, *self.ghosts]]
        await asyncio.gather(*(self._poll(reader) for reader in readers))
        faults.clear()
        await asyncio.sleep(2 * max(DEFAULT_TIME_S.values()) + 60)
        await asyncio.gather(*(self._recover(reader) for reader in readers if reader.unit in self.units))
        await line.close()

    def _refused(self, asked: Asked, most: int) -> int:
        return 3 if most and asked.count > max(most, 4) and asked.unit == self.units[0] else 0

    def _complain(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        raise WrongError(self.say(f"an error in the event loop: {context}"))

    def say(self, what: str) -> str:
        """`what`, and how to see it again."""
        line = "TCP" if self.tcp else f"{self.baudrate} baud"
        mix = ", ".join(map(str, self.mix))
        return f"{what}\nsee it again: fuzz_line.py --episode {self.seed}  ({line}; {mix})\n{self.port.trace}"

    async def _poll(self, meter: ModbusMeter) -> None:
        """Until enough frames have been seen; a line whose meters hardly ever answer ends by the number of readings."""
        loop = asyncio.get_running_loop()
        for _ in range(self.frames):
            if self.tally.frames >= self.frames:
                return
            started = loop.time()
            await self._read(meter, self.dice.choice((0.1, 1.0, 1.0, 3.0)) * self.interval_s)
            await asyncio.sleep(max(started + self.interval_s - loop.time(), 0))

    async def _read(self, meter: ModbusMeter, budget_s: float) -> bool:
        loop = asyncio.get_running_loop()
        started, before = loop.time(), self.port.number
        try:
            sample = await meter.read(round(budget_s * 1000))
        except MeterError as error:
            self._check_error(error)
            self.outcomes[error.reason] += 1
            good = False
        else:
            self._check_values(meter, sample, before)
            self.outcomes["reading"] += 1
            good = True
        if loop.time() - started > budget_s + BUDGET_SLACK_S:
            took = f"{loop.time() - started:.3f} s of a budget of {budget_s} s"
            raise WrongError(self.say(f"the reading of {meter.name} took {took}"))
        for number in [number for number in self.port.asked if number < before - 500]:
            del self.port.asked[number]
        return good

    def _check_error(self, error: MeterError) -> None:
        if error.reason not in REASONS or "\n" in str(error):
            raise WrongError(self.say(f"an error that says too little or too much: {error.reason} {error}"))

    def _check_values(self, meter: ModbusMeter, sample: Sample, before: int) -> None:
        told: dict[tuple[int, int], bytes] = {}
        for block in sample.words:
            asked = Asked(meter.unit, block.function_code, block.address, len(block.data) // 2)
            numbers = [number for number, one in self.port.asked.items() if _same(one, asked)]
            from_number = next((number for number in numbers if words(asked, number) == block.data), None)
            if from_number is None or from_number <= before:
                whose = (
                    "no request" if from_number is None else f"request {from_number}, {before - from_number + 1} before"
                )
                raise WrongError(self.say(f"{meter.name} got the answer to {whose} as that to {asked}"))
            for index in range(asked.count):
                told[asked.function_code, asked.address + index] = block.data[2 * index : 2 * index + 2]
        flags = sample.flags or (0,) * len(sample.values)
        for register, value, flag in zip(meter.profile.select(), sample.values, flags, strict=True):
            places = [(register.function_code, register.address + index) for index in range(register.count)]
            number = int.from_bytes(b"".join(told.get(place, b"") for place in places), "big")
            right = (value, flag) == (number, 0) and told.keys() >= set(places)
            if not right and not (value is None and flag):
                raise WrongError(self.say(f"{meter.name} {register.measurand} is {value} instead of {number}"))

    async def _recover(self, meter: ModbusMeter) -> None:
        for _ in range(RECOVERIES):
            if await self._read(meter, 10 + 3 * len(meter.blocks)):
                self.outcomes["well again"] += 1
                return
        raise WrongError(self.say(f"{meter.name} is not read any more after the last fault"))


def _same(one: Asked, other: Asked) -> bool:
    return (one.unit, one.function_code, one.address, one.count) == (
        other.unit, other.function_code, other.address, other.count
    )  # fmt: skip


def run(frames: int, seed: str, per_episode: int = FRAMES_PER_EPISODE) -> tuple[Tally, Counter[str], int]:
    """Play episodes until there were `frames`; what was seen, how readings ended, and the number of episodes."""
    tally, outcomes, number = Tally(), Counter[str](), 0
    while tally.frames < frames:
        episode = play(f"{seed}/{number}", min(per_episode, frames - tally.frames))
        tally.frames += episode.tally.frames
        for kind, count in episode.tally.faults.items():
            tally.faults[kind] = tally.faults.get(kind, 0) + count
        outcomes += episode.outcomes
        number += 1
    return tally, outcomes, number


def play(seed: str, frames: int = FRAMES_PER_EPISODE) -> Episode:
    """One episode; any exception that is not of ours names it."""
    episode = Episode(seed, frames)
    ended = False
    try:
        run_virtual(episode.play())
        ended = True
    finally:
        if not ended:
            sys.stderr.write(episode.say("failed") + "\n")
    return episode


def main() -> None:
    parser = argparse.ArgumentParser(description="Seeded faults against the Modbus line, in virtual time.")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--episode", help="play this one alone, such as 1/17")
    options = parser.parse_args()
    started = time.monotonic()
    if options.episode:
        episode = play(options.episode)
        tally, outcomes, episodes = episode.tally, episode.outcomes, 1
    else:
        tally, outcomes, episodes = run(options.frames, options.seed)
    spoiled = tally.frames - tally.faults.pop("none", 0)
    took = f"{time.monotonic() - started:.0f} s"
    print(f"{tally.frames} frames ({spoiled} spoiled) of {episodes} lines, seed {options.seed}, {took}")
    print("faults:   " + ", ".join(f"{kind} {count}" for kind, count in sorted(tally.faults.items())))
    print("readings: " + ", ".join(f"{name} {count}" for name, count in outcomes.most_common()))


if __name__ == "__main__":
    main()

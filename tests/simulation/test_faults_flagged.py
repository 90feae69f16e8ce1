"""What no check on the wire can show: stuck values, zeros, resets, rollovers, another meter. A flag or an event tells.

The simulator's meter, its registers and its faults, read by the real driver over a port in memory, judged by the agent.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Mapping

import pytest
from virtual_time import run_virtual

from agent.core.records import NewEvent
from agent.core.truth.plausibility import MeterTruth
from agent.services.metering.origins import DriverOrigins
from agent.services.metering.ratings import ratings
from drivers.meter import MeterError
from drivers.modbus.line import ModbusLine
from drivers.modbus.sunspec_meter import modbus_meter
from drivers.port import Sink
from drivers.profile.files import find_profile
from meter_sim.faults.condition import Condition
from meter_sim.faults.schedule import Dice, Fault, parse_faults
from meter_sim.faults.spoil import Piece, RtuWire
from meter_sim.modbus.frames import take_rtu
from meter_sim.modbus.line import Line, SimulatedMeter
from meter_sim.modbus.registers import RegisterMap
from meter_sim.world.household import Household
from meter_sim.world.instrument import Instrument
from wire.batch import Quality

SEED = os.environ.get("WATTPOST_SEED", "1")
INTERVAL_S = 5  # of virtual time, below the 10 s after which drivers.modbus.late_answers expects no answer any more
STALE_S = 10 * 60
MODELS = [
    "eastron-sdm630", "eastron-sdm120", "schneider-iem3155", "carlo-gavazzi-em24", "abb-b23", "sunspec-203",
    "finder-7e23", "orno-we516", "siemens-pac2200", "janitza-umg96rm",
]  # fmt: skip
COARSE = ("finder-7e23",)  # volts without decimals and no frequency: nothing that is never the same for an hour


class MemoryPort:
    """`drivers.port.Port`, with a simulated line behind it, whose bytes take no time but what their faults do."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.true: dict[str, float] = {}  # what the last answers would have told without the meter's faults
        self._sink: Sink | None = None
        self._held = b""
        self._busy_until = 0.0

    @property
    def is_open(self) -> bool:
        return self._sink is not None

    async def open(self, sink: Sink, timeout_s: float) -> None:
        self._sink = sink

    def write(self, data: bytes) -> None:
        asked, _ = take_rtu(data)
        assert asked is not None
        outcome = self.line.serve(RtuWire(), asked, data)
        assert outcome is not None
        assert self._sink is not None
        self.true |= outcome.reply.values
        self.true |= outcome.reply.true
        held, self._held = self._held, outcome.sent.held
        when = max(asyncio.get_running_loop().time(), self._busy_until)  # a meter answers in the order of the questions
        for piece in (Piece(0, held), *outcome.sent.pieces):
            when += piece.pause_s + 1e-6
            if piece.data:
                asyncio.get_running_loop().call_at(when, self._arrive, piece.data)
        self._busy_until = when

    def _arrive(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink.received(data)

    def rest(self, seconds: float) -> None:
        """Everything comes in one piece."""

    def drain(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        self._sink = None


class Site:
    """One meter, read every five seconds of virtual time."""

    def __init__(self, model: str, faults: str = "") -> None:
        profile = find_profile(model)
        phases = 3 if "voltage_l3_n" in profile.measurands else 1
        registers = RegisterMap(profile)
        self.condition = Condition(SEED, registers.wraps)
        self.meter = SimulatedMeter(registers, Instrument(Household(SEED, phases), SEED, 1), self.condition)
        registers.name_it(self.condition.serial_number)
        self.now_s = 0.0
        dice = Dice(parse_faults(faults), SEED)
        line = Line({1: self.meter}, lambda: self.now_s, lambda: 0.0, None, dice)
        self.port = MemoryPort(line)
        self.reader = modbus_meter(ModbusLine("line", "/dev/memory", way=self.port), 1, profile, "main")
        self.truth = MeterTruth("main", self.reader.columns, ratings(profile), DriverOrigins(self.reader))
        self.events: list[NewEvent] = []

    async def read(self) -> tuple[Mapping[str, int | None], Mapping[str, int]]:
        """Values and flags of the next reading."""
        self.now_s += INTERVAL_S
        await asyncio.sleep(INTERVAL_S)
        sample = await self.reader.read(5000)
        flags, events = self.truth.judge(round(self.now_s * 1000), sample)
        self.events += events
        return self._named(sample.values), self._named(flags or (0,) * len(sample.values))

    def wrong(self, values: Mapping[str, int | None], flags: Mapping[str, int]) -> list[str]:
        """The values that are not true and carry no flag."""
        steps = {column.measurand: float(column.resolution.step) for column in self.reader.columns}
        return [
            name
            for name, value in values.items()
            if value is not None and not flags[name] and abs(value * steps[name] - self.port.true[name]) > steps[name]
        ]

    def _named(self, values: tuple[int | None, ...]) -> dict[str, int]:
        return {column.measurand: value for column, value in zip(self.reader.columns, values, strict=True)}  # type: ignore[misc]

    async def healthy(self, readings: int) -> None:
        """So many without a flag."""
        for _ in range(readings):
            values, flags = await self.read()
            assert {name: flag for name, flag in flags.items() if flag & ~Quality.NOT_AVAILABLE} == {}, values

    def counters(self) -> list[str]:
        return [
            column.measurand for column in self.reader.columns if column.measurand.startswith("energy_active_import")
        ]

    def kinds(self) -> Counter[str]:
        return Counter(event.kind for event in self.events)


@pytest.mark.parametrize("model", MODELS)
def test_zeros_are_flagged_to_the_last_value(model: str) -> None:
    async def go() -> None:
        site = Site(model)
        await site.healthy(10)
        site.meter.suffer(Fault("zeros", 1, 5 * INTERVAL_S), site.now_s)
        for _ in range(4):
            try:
                assert site.wrong(*await site.read()) == []
            except MeterError as error:  # a SunSpec meter is looked for before each reading
                assert (model[:7], error.reason) == ("sunspec", "exception")  # noqa: PT017 - one of two good ends
        assert site.kinds()["implausible"] > 0 or model.startswith("sunspec")
        site.now_s += 5 * INTERVAL_S
        await site.healthy(10)
        assert site.kinds()["plausible"] == site.kinds()["implausible"]

    run_virtual(go())


@pytest.mark.parametrize("model", [model for model in MODELS if model not in COARSE])
def test_stuck_registers_are_flagged_before_they_are_old(model: str) -> None:
    async def go() -> None:
        site = Site(model)
        await site.healthy(10)
        site.meter.suffer(Fault("stuck", 1, 3600), site.now_s)
        since_s, unflagged = site.now_s, 0
        while site.now_s < since_s + 3500:
            _, flags = await site.read()
            if site.now_s > since_s + STALE_S + INTERVAL_S:
                assert all(flag & (Quality.STALE | Quality.NOT_AVAILABLE) for flag in flags.values())
            unflagged += not any(flags.values())
        assert unflagged <= STALE_S / INTERVAL_S + 1
        site.now_s += 3600
        await site.read()
        await site.healthy(10)

    run_virtual(go())


@pytest.mark.parametrize("model", MODELS)
def test_a_reset_is_flagged_at_once_and_recorded(model: str) -> None:
    async def go() -> None:
        site = Site(model)
        await site.healthy(60)
        site.meter.suffer(Fault("reset"), site.now_s)
        _, flags = await site.read()
        found = [name for name in site.counters() if flags[name]]
        assert found == site.counters() or site.kinds()["counter_reset"] > 0
        for _ in range(200):
            _, flags = await site.read()
        assert not any(flags[name] & ~Quality.NOT_AVAILABLE for name in site.counters())
        assert site.kinds()["counter_reset"] > 0
        assert site.kinds()["implausible"] == site.kinds()["plausible"]

    run_virtual(go())


@pytest.mark.parametrize("model", ["carlo-gavazzi-em24", "carlo-gavazzi-em340", "siemens-pac1600", "orno-we514"])
def test_a_counter_that_rolls_over_is_recorded_and_not_flagged(model: str) -> None:
    async def go() -> None:
        site = Site(model)
        wraps = RegisterMap(site.reader.profile).wraps
        site.meter.suffer(Fault("rollover"), 0)
        for _ in range(2000):
            await site.healthy(1)
            if site.kinds()["rollover"]:
                break
        assert [event.kind for event in site.events] == ["rollover"] * len(site.events)
        assert {event.data["measurand"] for event in site.events} <= wraps.keys()
        assert site.events
        await site.healthy(100)

    run_virtual(go())


@pytest.mark.parametrize("model", ["carlo-gavazzi-em24", "siemens-pac1600"])
def test_a_counter_that_jumps_to_its_end_is_flagged(model: str) -> None:
    async def go() -> None:
        site = Site(model)
        await site.healthy(60)
        site.meter.suffer(Fault("rollover"), site.now_s)
        _, flags = await site.read()
        wraps = RegisterMap(site.reader.profile).wraps.keys() & set(site.counters())
        assert wraps
        assert all(flags[name] & (Quality.JUMP | Quality.BACKWARDS | Quality.OUT_OF_RANGE) for name in wraps)

    run_virtual(go())


@pytest.mark.parametrize("model", ["eastron-sdm630", "schneider-iem3155", "abb-b23", "orno-we516"])
def test_another_meter_is_known_by_its_serial_number(model: str) -> None:
    async def go() -> None:
        site = Site(model)
        site.truth.identified(0, (await site.reader.identify(2000))["serial_number"])
        await site.healthy(10)
        old = site.condition.serial_number
        site.meter.suffer(Fault("swap"), site.now_s)
        number = (await site.reader.identify(2000))["serial_number"]
        (event,) = site.truth.identified(round(site.now_s * 1000), number)
        assert (event.kind, event.data) == (
            "meter_replaced",
            {"old": str(old), "new": str(site.condition.serial_number)},
        )
        await site.healthy(10)
        assert site.kinds() == {}

    run_virtual(go())


WIRE_FAULTS = "crc=4%, truncation=3%, lead=4%, trail=4%, echo=3%, hole=3%, late=1%, slow=1%, silence=3%, exception=2%"


@pytest.mark.parametrize("model", [model for model in MODELS if model not in {*COARSE, "sunspec-203"}])
def test_in_any_mix_no_wrong_value_is_without_a_flag(model: str) -> None:
    """Faults of the wire by chance, and spells of zeros and of stuck registers: flagged, but for the latter's first ten
    minutes, in which they are what they were.
    """

    async def go() -> None:
        site, dice = Site(model, WIRE_FAULTS), random.Random(f"{SEED}:{model}")
        outcomes, stuck_since_s, until_s = Counter[str](), 0.0, 0.0
        for _ in range(1500):
            if dice.random() < 0.004 and site.now_s > until_s:
                kind, time_s = dice.choice(("zeros", "stuck")), dice.choice((30, 300, 1500))
                site.meter.suffer(Fault(kind, 1, time_s), site.now_s)
                until_s = site.now_s + time_s
                stuck_since_s = site.now_s if kind == "stuck" else until_s
            try:
                values, flags = await site.read()
            except MeterError as error:
                outcomes[error.reason] += 1
                continue
            outcomes["flagged" if any(flags.values()) else "good"] += 1
            young = stuck_since_s <= site.now_s <= min(until_s, stuck_since_s + STALE_S + 10 * INTERVAL_S)
            assert young or site.wrong(values, flags) == [], (SEED, site.now_s, values)
        assert outcomes["good"] > 300, outcomes
        assert outcomes["flagged"] > 0, outcomes
        assert outcomes["garbage"] + outcomes["silent"] > 0, outcomes

    run_virtual(go())

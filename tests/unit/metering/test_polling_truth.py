"""Judging and asking for the serial number on a polled line: what is recorded, and that no slot is lost by it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from virtual_time import LoopClock, run_virtual

from agent.core.metering.slots import MeterSlots
from agent.core.records import NewEvent, NewReading, NewRecord
from agent.core.system.watchdog import Watchdog
from agent.core.truth.bounds import Ratings
from agent.core.truth.plausibility import MeterTruth
from agent.services.metering.polled_meter import PolledMeter
from agent.services.metering.serial_number import SerialNumber
from agent.services.progress import MeterProgress
from agent.tasks.polling import LinePoller
from drivers.meter import Sample
from wire.batch import Column, Quality
from wire.resolution import Resolution

COLUMNS = (Column("frequency", Resolution(1, -2)), Column("energy_active_import_total", Resolution(1, 0)))


class Told:
    """A meter whose reading of the second `s` is `says(s)`; each takes 50 ms, its serial number `asked_takes_ms`."""

    name = "main"
    columns = COLUMNS
    read_max_ms = 5_000

    def __init__(self, says: Callable[[int], tuple[int | None, ...]], asked_takes_ms: int = 50) -> None:
        self.says = says
        self.asked_takes_ms = asked_takes_ms
        self.asked_ms: list[int] = []

    def _now_ms(self) -> int:
        return round(asyncio.get_running_loop().time() * 1000)

    async def read(self, budget_ms: int) -> Sample:
        now_ms = self._now_ms()
        await asyncio.sleep(0.05)
        return Sample(self.says(now_ms // 1000))

    async def identify(self, budget_ms: int) -> Mapping[str, str]:
        self.asked_ms.append(self._now_ms())
        await asyncio.sleep(min(self.asked_takes_ms, budget_ms) / 1000)
        return {"serial_number": "123"} if self.asked_takes_ms <= budget_ms else {}


class Line:
    """A line with one such meter, polled each second for a while."""

    def __init__(self, meter: Told, meters: int = 1) -> None:
        self.records: list[NewRecord] = []
        self.heard: list[str] = []
        self.progress = MeterProgress(COLUMNS)
        self.polled = []
        for layout in range(meters):
            truth = MeterTruth(meter.name, COLUMNS, Ratings(100))
            slots = MeterSlots(meter.name, 1_000, 1)
            number = SerialNumber(meter, 1_000, self._hear)
            self.polled.append(PolledMeter(meter, slots, layout, self.progress, truth, number))

    async def _hear(self, number: str) -> None:
        self.heard.append(number)

    def add(self, records: Iterable[NewRecord]) -> None:
        self.records += records

    def run(self, seconds: float) -> Line:
        async def scenario() -> None:
            journal: Any = self
            task = asyncio.create_task(LinePoller("rs485", self.polled, journal, LoopClock(), Watchdog()).run())
            await asyncio.sleep(seconds)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        run_virtual(scenario())
        return self

    def readings(self, layout: int = 0) -> list[NewReading]:
        return [r for r in self.records if isinstance(r, NewReading) and r.layout == layout]

    def events(self) -> list[tuple[str, str]]:
        return [(r.kind, r.data["flag"]) for r in self.records if isinstance(r, NewEvent)]


def test_what_cannot_be_true_is_recorded_as_read_with_its_flag(caplog: pytest.LogCaptureFixture) -> None:
    meter = Told(lambda s: (5_000 + s, 0 if s == 5 else 7_000_000))
    with caplog.at_level(logging.INFO):
        line = Line(meter).run(10.5)
    flagged = {r.mono_ms: (r.values, r.flags) for r in line.readings() if r.flags}
    assert flagged == {5_000: ((5_005, 0), (0, int(Quality.BACKWARDS)))}
    assert line.events() == [("implausible", "backwards"), ("plausible", "backwards")]
    assert next(r for r in caplog.records if r.levelno == logging.WARNING).getMessage() == (
        "meter main: energy_active_import_total = 0 cannot be true: backwards, last good 7000000"
    )
    progress = line.progress
    assert (progress.flagged_values, progress.last_quality()) == (1, {})
    assert progress.doubt is not None
    assert progress.doubt.mono_ms == 5_000


def test_the_status_knows_what_is_wrong_with_the_last_reading() -> None:
    line = Line(Told(lambda s: (5_000 + s, 0 if s >= 5 else 7_000_000))).run(8.5)
    assert (line.progress.flagged_values, line.progress.last_quality()) == (
        4,
        {"energy_active_import_total": ["backwards"]},
    )


def test_asking_for_the_serial_number_costs_no_slot() -> None:
    meter = Told(lambda s: (5_000 + s, s))
    line = Line(meter).run(2 * 3_600 + 0.5)
    assert [r.mono_ms for r in line.readings()] == list(range(1_000, 7_201_000, 1_000))
    assert [ms // 1_000 for ms in meter.asked_ms] == [1, 3_601]
    assert line.heard == ["123", "123"]


def test_each_meter_of_a_line_is_asked_in_its_breaks() -> None:
    meter = Told(lambda s: (5_000 + s, s))
    line = Line(meter, meters=4).run(5.5)
    assert len(meter.asked_ms) == 4
    assert [len(line.readings(layout)) for layout in range(4)] == [5] * 4


def test_a_line_that_is_full_never_asks() -> None:
    """Twenty readings of 50 ms in each second."""
    meter = Told(lambda s: (5_000 + s, s))
    line = Line(meter, meters=20).run(60.5)
    assert meter.asked_ms == []
    assert min(len(line.readings(layout)) for layout in range(20)) >= 58


def test_a_reading_is_not_lost_when_it_ends_while_the_meter_is_asked() -> None:
    line = Line(Told(lambda s: (5_000 + s, s), asked_takes_ms=400)).run(1.2)
    assert [r.mono_ms for r in line.readings()] == [1_000]

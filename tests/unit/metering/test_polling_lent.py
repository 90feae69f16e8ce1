"""A line that is lent, in virtual time: every slot meanwhile is explained, none before or after is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from virtual_time import LoopClock, run_virtual

from agent.core.metering.lease import Lend, LendingBook, Return
from agent.core.metering.slots import MeterSlots
from agent.core.records import NewEvent, NewReading, NewRecord
from agent.core.system.watchdog import Watchdog
from agent.services.metering.polled_meter import PolledMeter
from agent.services.progress import LineProgress, MeterProgress
from agent.tasks.lending import Loan
from agent.tasks.polling import LinePoller
from drivers.meter import Sample
from wire.batch import Column
from wire.resolution import Resolution


class SteadyMeter:
    columns = (Column("voltage_l1_n", Resolution(1, -1)),)
    read_max_ms = 5_000

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked_ms: list[int] = []

    async def read(self, budget_ms: int) -> Sample:
        self.asked_ms.append(round(asyncio.get_running_loop().time() * 1000))
        await asyncio.sleep(0.05)
        return Sample((2300,))

    async def identify(self, budget_ms: int) -> dict[str, str]:
        return {}


class Notebook:
    def __init__(self) -> None:
        self.records: list[NewRecord] = []

    def add(self, records: Iterable[NewRecord]) -> None:
        self.records += records


class LentLine:
    """Two meters once a second; a process asks for the line at 10.4 s, for 15 s, and may return it before."""

    def __init__(self, returned_s: float | None = None) -> None:
        self.notebook = Notebook()
        self.meters = [SteadyMeter("a"), SteadyMeter("b")]
        self.closed_s: list[float] = []
        self.stated: list[bool] = []
        self.overdue: list[str] = []
        self.progress = LineProgress("/dev/null")
        run_virtual(self._scenario(returned_s))

    async def _scenario(self, returned_s: float | None) -> None:
        clock, watchdog, book = LoopClock(), Watchdog(), LendingBook()
        loan = Loan(
            "rs485", self._close, book, self.progress, lambda: self.stated.append(self.progress.lent is not None)
        )
        polled = [
            PolledMeter(meter, MeterSlots(meter.name, 1_000, 1), layout, MeterProgress())
            for layout, meter in enumerate(self.meters)
        ]
        journal: Any = self.notebook
        task = asyncio.create_task(LinePoller("rs485", polled, journal, clock, watchdog, loan=loan).run())
        await asyncio.sleep(10.4)
        book.lend(Lend("rs485", 17, 15), clock.mono_ms())
        loan.wake()
        if returned_s is not None:
            await asyncio.sleep(returned_s - 10.4)
            book.give_back(Return("rs485", 17))
            loan.wake()
        for _ in range(300):
            await asyncio.sleep(0.1)
            if book.end(clock.mono_ms(), lambda _pid: True):
                loan.wake()
            self.overdue += watchdog.overdue(clock.mono_ms())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for one in polled:
            self.notebook.add(one.slots.end(clock.mono_ms()))

    async def _close(self) -> None:
        self.closed_s.append(asyncio.get_running_loop().time())

    def read_s(self, layout: int) -> list[int]:
        """Seconds in which the meter was read."""
        return [r.mono_ms // 1000 for r in self.notebook.records if isinstance(r, NewReading) and r.layout == layout]

    def gaps(self, meter: str) -> list[tuple[str, int, int]]:
        events = [r for r in self.notebook.records if isinstance(r, NewEvent) and (r.kind, r.meter) == ("gap", meter)]
        return [(e.data["reason"], e.data["from_ms"], e.data["slots"]) for e in events]


def test_slots_are_explained_until_the_lease_is_over() -> None:
    line = LentLine()
    assert line.closed_s == [10.4]
    for layout, meter in enumerate(("a", "b")):
        assert line.gaps(meter)[0] == ("lent", 11_000, 15)
        assert line.read_s(layout)[:12] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 26, 27]
    assert line.stated == [True, False]
    assert line.overdue == []
    assert line.progress.lent is None


def test_reading_goes_on_with_the_next_slot_after_the_return() -> None:
    line = LentLine(returned_s=13.2)
    assert line.gaps("a")[0] == ("lent", 11_000, 3)
    assert line.read_s(0)[9:12] == [10, 14, 15]


def test_a_line_that_is_returned_within_a_slot_misses_none() -> None:
    line = LentLine(returned_s=10.7)
    assert [gap for gap in line.gaps("a") if gap[0] == "lent"] == []
    assert line.read_s(0)[8:12] == [9, 10, 11, 12]

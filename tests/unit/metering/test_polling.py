"""One line polled in virtual time: aligned, fair, quiet in the log, and every slot accounted for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from virtual_time import LoopClock, VirtualTimeLoop, run_virtual

from agent.core.metering.slots import MeterSlots
from agent.core.records import NewEvent, NewReading, NewRecord
from agent.core.system.watchdog import Watchdog
from agent.services.metering.polled_meter import PolledMeter
from agent.services.progress import MeterProgress
from agent.tasks.polling import LinePoller
from drivers.meter import MeterError, Notice, Reason, Sample
from wire.batch import Column
from wire.resolution import Resolution

Answer = Sample | Reason


def error(reason: Reason, cause: str = "why") -> MeterError:
    return MeterError(reason, operation="read", subject="meter", cause=cause, next_step="look")


class ScriptedMeter:
    """Answers after `takes_ms` what `script` says for the moment of asking; a failure takes the whole budget."""

    columns = (Column("voltage_l1_n", Resolution(1, -1)),)
    read_max_ms = 5_000

    def __init__(
        self, name: str, takes_ms: int = 50, script: Callable[[int], Answer | MeterError] | None = None
    ) -> None:
        self.name = name
        self.takes_ms = self.typical_ms = takes_ms
        self.script = script or (lambda _now_ms: Sample((2300,)))
        self.asked_ms: list[int] = []

    async def read(self, budget_ms: int) -> Sample:
        now_ms = round(asyncio.get_running_loop().time() * 1000)
        self.asked_ms.append(now_ms)
        answer = self.script(now_ms)
        if isinstance(answer, Sample) and self.takes_ms <= budget_ms:
            await asyncio.sleep(self.takes_ms / 1000)
            return answer
        if isinstance(answer, Sample):
            answer = "silent"
        if answer in {"silent", "garbage"}:
            await asyncio.sleep(budget_ms / 1000)
        raise error(answer) if isinstance(answer, str) else answer

    async def identify(self, budget_ms: int) -> dict[str, str]:
        await asyncio.sleep(budget_ms / 1000)
        return {}


class Notebook:
    """What the journal was given."""

    def __init__(self) -> None:
        self.records: list[NewRecord] = []

    def add(self, records: Iterable[NewRecord]) -> None:
        self.records += records

    def readings(self, layout: int = 0) -> list[int]:
        return [r.mono_ms for r in self.records if isinstance(r, NewReading) and r.layout == layout]

    def events(self, kind: str) -> list[NewEvent]:
        return [r for r in self.records if isinstance(r, NewEvent) and r.kind == kind]

    def gaps(self, meter: str) -> list[tuple[str, int, int]]:
        return [(e.data["reason"], e.data["from_ms"], e.data["slots"]) for e in self.events("gap") if e.meter == meter]


class Line:
    """A poller with its meters, run for a while."""

    def __init__(self, *meters: ScriptedMeter, interval_ms: int = 1_000) -> None:
        self.notebook = Notebook()
        self.watchdog = Watchdog()
        self.polled = [
            PolledMeter(meter, MeterSlots(meter.name, interval_ms, 1), layout, MeterProgress())
            for layout, meter in enumerate(meters)
        ]
        self.overdue: list[str] = []

    def run(self, seconds: float) -> Line:
        async def scenario() -> None:
            clock = LoopClock()
            journal: Any = self.notebook
            task = asyncio.create_task(LinePoller("rs485", self.polled, journal, clock, self.watchdog).run())
            await asyncio.sleep(0.5)
            for _ in range(round(seconds)):
                await asyncio.sleep(1)
                self.overdue += self.watchdog.overdue(clock.mono_ms())
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for one in self.polled:
                self.notebook.add(one.slots.end(clock.mono_ms()))

        run_virtual(scenario())
        return self

    def accounted(self, layout: int = 0) -> int:
        """Slots read or explained."""
        name = self.polled[layout].meter.name
        return len(self.notebook.readings(layout)) + sum(slots for _, _, slots in self.notebook.gaps(name))


def test_a_meter_is_read_at_the_beginning_of_each_slot() -> None:
    line = Line(ScriptedMeter("main")).run(60)
    assert line.notebook.readings() == list(range(1_000, 61_000, 1_000))
    assert line.notebook.gaps("main") == []
    assert line.polled[0].progress.readings == 60


def test_a_stall_is_one_gap_and_no_burst() -> None:
    """The loop itself stood still, as on a machine that was suspended."""
    meter = ScriptedMeter("main", script=lambda now_ms: stall() if now_ms == 5_000 else Sample((1,)))

    def stall() -> Sample:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop.jump(3.3)
        return Sample((1,))

    line = Line(meter).run(20)
    assert line.notebook.readings()[:8] == [1_000, 2_000, 3_000, 4_000, 5_000, 8_350, 9_000, 10_000]
    assert line.notebook.gaps("main") == [("late", 6_000, 2)]
    assert line.accounted() == 23


def test_meters_that_need_the_line_for_longer_than_there_is_share_it() -> None:
    """A read that starts in its slot is done, so neither is cut short, called silent, or starved by the other."""
    line = Line(ScriptedMeter("a", 700), ScriptedMeter("b", 700)).run(140)
    reads = [len(line.notebook.readings(layout)) for layout in (0, 1)]
    assert min(reads) >= 95
    assert {reason for name in ("a", "b") for reason, _, _ in line.notebook.gaps(name)} <= {"late", "not_running"}
    assert [line.accounted(0), line.accounted(1)] == [140, 140]


def test_a_dead_meter_hardly_delays_the_others() -> None:
    living = [ScriptedMeter(name, 100) for name in ("a", "b", "c")]
    dead = ScriptedMeter("dead", script=lambda _now_ms: "silent")
    line = Line(dead, *living).run(600)
    for layout in (1, 2, 3):
        assert len(line.notebook.readings(layout)) == 600
        assert line.accounted(layout) == 600
    assert line.accounted(0) == 600
    assert line.overdue == []


@pytest.mark.parametrize("dead_count", [1, 2, 3])
@pytest.mark.parametrize("interval_ms", [1_000, 2_000])
def test_dead_meters_leave_a_busy_line_to_the_living(dead_count: int, interval_ms: int) -> None:
    """Four fifths of the line are needed; who dies in the middle of it all takes nobody's slot."""
    living = [ScriptedMeter(f"living{number}", interval_ms // 5) for number in range(4)]
    dead = [
        ScriptedMeter(f"dead{number}", 20, lambda now_ms: Sample((1,)) if now_ms < 20_500 else "silent")
        for number in range(dead_count)
    ]
    line = Line(*dead, *living, interval_ms=interval_ms).run(200)
    for layout in range(dead_count, dead_count + 4):
        assert {reason for reason, _, _ in line.notebook.gaps(f"living{layout - dead_count}")} <= {"not_running"}
        assert len(line.notebook.readings(layout)) >= 200_000 // interval_ms - 1
    for layout in range(dead_count):
        assert line.accounted(layout) == 200_000 // interval_ms
        assert len(line.polled[layout].meter.asked_ms) > 15, "asked again, ever more rarely"  # type: ignore[attr-defined]


def test_a_meter_that_is_read_rarely_has_its_turn_on_a_line_that_is_too_busy() -> None:
    """Its deadline is always later than those of the others, until it has passed."""
    line = Line(*(ScriptedMeter(name, 900) for name in ("a", "b", "c")), ScriptedMeter("rare", 900))
    line.polled[3] = PolledMeter(line.polled[3].meter, MeterSlots("rare", 60_000, 1), 3, MeterProgress())
    line.run(1_200)
    assert len(line.notebook.readings(3)) >= 19
    assert min(len(line.notebook.readings(layout)) for layout in range(3)) > 400


def test_who_returns_on_a_busy_line_is_read_again() -> None:
    living = [ScriptedMeter(f"living{number}", 220) for number in range(3)]
    back = ScriptedMeter("back", 220, lambda now_ms: "silent" if 20_500 < now_ms < 100_500 else Sample((1,)))
    line = Line(back, *living).run(300)
    assert line.notebook.readings(0)[-1] >= 299_000
    assert len(line.notebook.readings(0)) > 150


def test_a_silent_meter_is_said_to_be_so_once_and_its_return_too(caplog: pytest.LogCaptureFixture) -> None:
    meter = ScriptedMeter("main", script=lambda now_ms: "silent" if 10_000 <= now_ms < 100_000 else Sample((1,)))
    with caplog.at_level(logging.INFO):
        line = Line(meter).run(200)
    (silent,), (back,) = line.notebook.events("meter_silent"), line.notebook.events("meter_back")
    assert (silent.meter, silent.data) == ("main", {"reason": "silent"})
    assert back.data["silent_ms"] == pytest.approx(back.mono_ms - 11_000, abs=1)
    assert 100_000 <= back.mono_ms <= 160_000
    ((reason, from_ms, slots),) = line.notebook.gaps("main")
    assert (reason, from_ms) == ("silent", 10_000)
    assert slots == (back.mono_ms - 10_000) // 1_000
    assert line.accounted() == 200
    assert [record.getMessage() for record in caplog.records] == [
        "meter main: answers",
        "meter main: read meter: why; look",
        "meter main: answers",
    ]


def test_one_bad_frame_is_a_gap_and_no_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    meter = ScriptedMeter("main", script=lambda now_ms: "garbage" if now_ms == 5_000 else Sample((1,)))
    with caplog.at_level(logging.INFO):
        line = Line(meter).run(20)
    assert line.notebook.gaps("main") == [("garbage", 5_000, 1)]
    assert [record.getMessage() for record in caplog.records] == ["meter main: answers"]
    assert line.notebook.events("meter_silent") == []


def test_a_missing_line_is_tried_in_each_slot_and_blames_no_meter() -> None:
    meter = ScriptedMeter("main", script=lambda now_ms: "line_missing" if now_ms < 30_000 else Sample((1,)))
    line = Line(meter).run(40)
    assert len(meter.asked_ms) == 40
    assert line.notebook.gaps("main") == [("line_missing", 1_000, 29)]
    assert line.notebook.events("meter_silent") == []
    assert line.notebook.readings()[0] == 30_000


def test_a_lost_line_is_said_each_time_it_is_lost_and_not_with_each_try(caplog: pytest.LogCaptureFixture) -> None:
    def script(now_ms: int) -> Sample | MeterError:
        lost = 10_000 <= now_ms < 20_000 or 30_000 <= now_ms < 40_000
        return error("line_missing", f"no answer within {987 + now_ms % 7} ms") if lost else Sample((1,))

    with caplog.at_level(logging.WARNING):
        Line(ScriptedMeter("main", script=script)).run(50)
    assert [record.getMessage() for record in caplog.records] == [
        "line rs485: read meter: no answer within 991 ms; look",
        "line rs485: read meter: no answer within 992 ms; look",
    ]


def test_another_cause_is_another_line(caplog: pytest.LogCaptureFixture) -> None:
    def script(now_ms: int) -> MeterError:
        return error("line_busy", "held by minicom (pid 7)") if now_ms < 10_000 else error("line_busy", "no permission")

    with caplog.at_level(logging.WARNING):
        Line(ScriptedMeter("main", script=script)).run(20)
    assert [record.getMessage() for record in caplog.records] == [
        "line rs485: read meter: held by minicom (pid 7); look",
        "line rs485: read meter: no permission; look",
    ]


def test_a_read_that_is_cut_off_at_the_end_is_accounted_for() -> None:
    line = Line(ScriptedMeter("main", 900)).run(5)
    assert line.notebook.readings() == [1_000, 2_000, 3_000, 4_000]
    assert line.notebook.gaps("main") == [("not_running", 5_000, 1)]


def test_slots_of_different_lengths_on_one_line() -> None:
    line = Line(ScriptedMeter("fast"), ScriptedMeter("slow"))
    line.polled[1] = PolledMeter(line.polled[1].meter, MeterSlots("slow", 60_000, 1), 1, MeterProgress())
    line.run(120)
    assert len(line.notebook.readings(0)) == 120
    assert line.notebook.readings(1) == [60_050, 120_050], "the one whose slot ends first is read first"


def test_a_telegram_is_dated_when_it_arrived() -> None:
    """A meter that sends by itself: what came 400 ms ago is no reading of now."""
    line = Line(ScriptedMeter("main", 0, lambda now_ms: Sample((1,), taken_s=now_ms / 1000 - 0.4))).run(5)
    assert line.notebook.readings() == [600, 1_600, 2_600, 3_600, 4_600]


def test_what_a_driver_learnt_is_an_event_and_a_line(caplog: pytest.LogCaptureFixture) -> None:
    notice = Notice("refused", {"address": 70}, "it refuses register 70")

    def script(now_ms: int) -> Sample:
        return Sample((1,), notices=(notice,) if now_ms == 2_000 else ())

    with caplog.at_level(logging.WARNING):
        line = Line(ScriptedMeter("main", script=script)).run(5)
    assert [(e.mono_ms, e.meter, e.data) for e in line.notebook.events("refused")] == [(2_000, "main", {"address": 70})]
    assert [record.getMessage() for record in caplog.records] == ["meter main: it refuses register 70"]

"""Hours of a customer port under the daemon's own poller, in virtual time: every slot is a reading or a reason."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Any

import pytest
from fake_port import FakePort, on_fake_port
from virtual_time import LoopClock, run_virtual

from agent.core.metering.slots import MeterSlots
from agent.core.records import NewEvent, NewReading, NewRecord
from agent.core.system.watchdog import Watchdog
from agent.services.metering.polled_meter import PolledMeter
from agent.services.progress import MeterProgress
from agent.tasks.polling import LinePoller
from drivers.building import build_line, build_meter
from drivers.meter import MeterError
from drivers.profile.files import find_profile
from drivers.telegrams.push import PushLine
from meter_sim.telegrams.encoders import p1

HOURS = 6
INTERVAL_MS = 10_000
GONE = MeterError("line_missing", operation="open", subject="line p1", cause="no such device", next_step="plug it in")


class Notebook:
    """What the journal was given."""

    def __init__(self) -> None:
        self.records: list[NewRecord] = []

    def add(self, records: Iterable[NewRecord]) -> None:
        self.records += records


def telegram(second: int) -> bytes:
    energy = f"1-0:1.8.0({second / 1000:010.3f}*kWh)"
    return p1(["1-3:0.2.8(50)", energy, f"1-0:1.7.0({second % 1000 / 1000:06.3f}*kW)", "1-0:2.7.0(00.000*kW)"])


async def meter_at_work(port: FakePort, dice: random.Random, seconds: int) -> int:
    """Sends each second; now and then it is silent, damaged, cut, behind noise, unplugged. How long it was away."""
    second = away_s = 0
    while second < seconds:
        await asyncio.sleep(1)
        second += 1
        whole = bytearray(telegram(second))
        match dice.random():
            case luck if luck < 0.002:
                quiet = dice.randrange(5, 120)
                await asyncio.sleep(quiet)
                second += quiet
                away_s += quiet
            case luck if luck < 0.004:
                port.lose("the device went away")
                port.refuses = GONE
                gone = dice.randrange(5, 120)
                await asyncio.sleep(gone)
                second += gone
                away_s += gone
                port.refuses = None
            case luck if luck < 0.05:
                whole[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
                port.arrive(bytes(whole))
            case luck if luck < 0.08:
                port.arrive(bytes(whole[: dice.randrange(len(whole))]))
            case luck if luck < 0.1:
                port.arrive(dice.randbytes(dice.randrange(80)) + bytes(whole))
            case _:
                port.arrive(bytes(whole))
    return away_s


@pytest.mark.parametrize("seed", range(2))
def test_hours_of_a_customer_port(seed: int) -> None:
    notebook, dice = Notebook(), random.Random(seed)

    async def scenario() -> tuple[PolledMeter, int]:
        profile = find_profile("dsmr-p1")
        line = build_line(profile, "p1", "/dev/nothing")
        assert isinstance(line, PushLine)
        meter = build_meter(line, 1, profile, "grid", ("energy_active_import_total", "power_active_total"))
        port = on_fake_port(line, FakePort())
        polled = PolledMeter(meter, MeterSlots("grid", INTERVAL_MS, 1), 0, MeterProgress())
        journal: Any = notebook
        poller = asyncio.create_task(LinePoller("p1", [polled], journal, LoopClock(), Watchdog()).run())
        away_s = await meter_at_work(port, dice, HOURS * 3600)
        poller.cancel()
        await asyncio.gather(poller, return_exceptions=True)
        notebook.add(polled.slots.end(LoopClock().mono_ms()))
        await line.close()
        return polled, away_s

    polled, away_s = run_virtual(scenario())
    readings = [record for record in notebook.records if isinstance(record, NewReading)]
    gaps = [r.data for r in notebook.records if isinstance(r, NewEvent) and r.kind == "gap"]
    due = polled.slots.next_ms // INTERVAL_MS - 1
    assert len(readings) + sum(gap["slots"] for gap in gaps) == due, f"seed {seed}"
    present = (HOURS * 3600 - away_s) * 1000 / INTERVAL_MS
    assert len(readings) > 0.95 * present, f"seed {seed}: {len(readings)} of {present}"
    assert {gap["reason"] for gap in gaps} <= {"silent", "garbage", "line_missing", "line_lost", "not_running"}
    times = [reading.mono_ms for reading in readings]
    assert times == sorted(set(times)), f"seed {seed}: each telegram is one reading"
    for reading in readings:
        energy_wh, power_w = reading.values
        assert energy_wh is not None
        assert power_w == energy_wh % 1000, f"seed {seed}: both of one telegram"
        assert abs(energy_wh - reading.mono_ms / 1000) < 5, f"seed {seed}: stamped when it came"


def test_an_interval_shorter_than_the_meters_costs_no_reading(caplog: pytest.LogCaptureFixture) -> None:
    """Each telegram is a reading; the slots between are pending, which is no silence and is said once."""
    notebook = Notebook()

    async def scenario() -> None:
        profile = find_profile("dsmr-p1")
        line = build_line(profile, "p1", "/dev/nothing")
        assert isinstance(line, PushLine)
        meter = build_meter(line, 1, profile, "grid", ("energy_active_import_total", "power_active_total"))
        port = on_fake_port(line, FakePort())
        polled = PolledMeter(meter, MeterSlots("grid", 1_000, 1), 0, MeterProgress())
        journal: Any = notebook
        poller = asyncio.create_task(LinePoller("p1", [polled], journal, LoopClock(), Watchdog()).run())
        for second in range(10, 610, 10):
            await asyncio.sleep(10)
            port.arrive(telegram(second))
        await asyncio.sleep(0.5)
        assert polled.progress.state == "ok"
        poller.cancel()
        await asyncio.gather(poller, return_exceptions=True)
        notebook.add(polled.slots.end(LoopClock().mono_ms()))
        await line.close()

    run_virtual(scenario())
    readings = [record.values[0] for record in notebook.records if isinstance(record, NewReading)]
    assert readings == list(range(10, 610, 10))
    gaps = [r.data for r in notebook.records if isinstance(r, NewEvent) and r.kind == "gap"]
    reasons = [gap["reason"] for gap in gaps]
    assert reasons == ["silent", *["pending"] * (len(reasons) - 2), "not_running"], "silent until the first one came"
    assert len(readings) + sum(gap["slots"] for gap in gaps) == 600
    said = [record.message for record in caplog.records if "lengthen the interval" in record.message]
    assert len(said) == 1, said

"""Intervals about as short as a reading, on a real line driver in virtual time: what can be read is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from scripted_port import Sends, scripted_meter
from virtual_time import LoopClock, run_virtual

from agent.core.metering.slots import MeterSlots
from agent.core.records import NewEvent, NewReading, NewRecord
from agent.core.system.watchdog import Watchdog
from agent.services.metering.polled_meter import PolledMeter
from agent.services.progress import MeterProgress
from agent.tasks.polling import LinePoller
from drivers.modbus.meter import ModbusMeter
from drivers.profile.files import find_profile
from meter_sim.modbus.frames import Asked, answer_body, rtu_frame


class Notebook:
    """What the journal was given: how many readings, and why there were no more."""

    def __init__(self) -> None:
        self.readings = 0
        self.reasons: set[str] = set()

    def add(self, records: Iterable[NewRecord]) -> None:
        for record in records:
            self.readings += isinstance(record, NewReading)
            if isinstance(record, NewEvent) and record.kind == "gap":
                self.reasons.add(record.data["reason"])


def quick(baudrate: int) -> Callable[[Asked], Sends]:
    """A meter that takes 5 ms and the time on the wire, much less than its profile calls typical."""

    def script(asked: Asked) -> Sends:
        answer = rtu_frame(asked.unit, answer_body(asked, bytes(2 * asked.count)))
        return [(0.005 + (8 + len(answer)) * 10 / baudrate, answer)]

    return script


def polled_for(seconds: float, model: str, baudrate: int, measurands: list[str] | None, interval_ms: int) -> Notebook:
    notebook = Notebook()

    async def go() -> None:
        profile = find_profile(model)
        async with scripted_meter(quick(baudrate), profile, baudrate=baudrate) as (default, _port):
            meter = ModbusMeter(default.line, 1, profile, "main", measurands)
            slots = MeterSlots("main", interval_ms, 1)
            journal: Any = notebook
            polled = PolledMeter(meter, slots, 0, MeterProgress())
            task = asyncio.create_task(LinePoller("rs485", [polled], journal, LoopClock(), Watchdog()).run())
            await asyncio.sleep(seconds)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            notebook.add(slots.close_gap())

    run_virtual(go())
    return notebook


@pytest.mark.parametrize(
    ("model", "baudrate", "measurands", "least"),
    [
        ("eastron-sdm120", 2400, ["voltage_l1_n"], 590),  # 110 ms at first, where 140 are typical
        ("eastron-sdm630", 9600, None, 400),  # two requests, 139 ms together, where 213 are typical
    ],
)
def test_a_request_is_tried_although_the_budget_is_less_than_what_is_typical(
    model: str, baudrate: int, measurands: list[str] | None, least: int
) -> None:
    """The budget comes of what its readings have taken, so refusing them for lack of time would never end."""
    notebook = polled_for(60, model, baudrate, measurands, interval_ms=100)
    assert notebook.readings >= least
    assert "line_busy" not in notebook.reasons

"""The simulator's faults as a master meets them: over a pseudo-terminal and TCP, from the real program."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from simulator_process import Say, simulator

from drivers.meter import MeterError, Sample
from drivers.modbus.line import ModbusLine
from drivers.modbus.meter import ModbusMeter
from drivers.profile.files import find_profile
from meter_sim.modbus.frames import rtu_frame


def served(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def outcome(meter: ModbusMeter, budget_ms: int = 1500) -> Sample | MeterError:
    try:
        return await meter.read(budget_ms)
    except MeterError as error:
        return error


def where(way: str, folder: Path) -> list[str]:
    return ["--pty", str(folder / "bus")] if way == "pty" else ["--tcp", "127.0.0.1:0"]


@pytest.mark.parametrize("way", ["pty", "tcp"])
def test_faults_come_and_go_on_command_and_the_log_tells_them(way: str, tmp_path: Path) -> None:
    log = tmp_path / "served.jsonl"

    async def go(port: str, say: Say) -> None:
        line = ModbusLine("bus", port)
        meter = ModbusMeter(line, 1, find_profile("eastron-sdm120"), "main")
        assert isinstance(await outcome(meter), Sample)
        assert say("fault exception, lead=0%") == "ok faults exception=100%"
        assert isinstance(await outcome(meter), MeterError)
        assert say("fault off") == "ok faults none"
        assert isinstance(await outcome(meter), Sample)
        await line.close()

    with simulator(*where(way, tmp_path), "--meter", "eastron-sdm120:1", "--served", str(log)) as (port, say):
        asyncio.run(go(port, say))
    entries = served(log)
    assert {tuple(entry.get("faults", ())) for entry in entries} == {(), ("exception",)}
    assert all(entry["good"] == ("faults" not in entry) for entry in entries)


@pytest.mark.parametrize("way", ["pty", "tcp"])
def test_an_unplugged_adapter_is_gone_and_comes_back(way: str, tmp_path: Path) -> None:
    async def go(port: str, say: Say) -> None:
        line = ModbusLine("bus", port)
        meter = ModbusMeter(line, 1, find_profile("eastron-sdm630"), "main")
        assert isinstance(await outcome(meter), Sample)
        assert say("unplug 700ms") == "ok unplugged for 0.7s"
        gone = [await outcome(meter, 200), await outcome(meter, 200)]
        assert {error.reason for error in gone if isinstance(error, MeterError)} <= {"line_lost", "line_missing"}
        assert all(isinstance(error, MeterError) for error in gone)
        async with asyncio.timeout(10):
            while not isinstance(await outcome(meter, 300), Sample):  # noqa: ASYNC110 - nobody tells when it is back
                await asyncio.sleep(0.05)
        await line.close()

    with simulator(*where(way, tmp_path)) as (port, say):
        asyncio.run(go(port, say))


def test_unplugging_by_chance_ends_too(tmp_path: Path) -> None:
    log = tmp_path / "served.jsonl"

    async def go(port: str) -> None:
        line = ModbusLine("bus", port)
        meter = ModbusMeter(line, 1, find_profile("eastron-sdm120"), "main")
        good = 0
        async with asyncio.timeout(30):
            while good < 20:
                good += isinstance(await outcome(meter, 300), Sample)
        await line.close()

    faults = ["--fault", "unplug=15%:100ms", "--meter", "eastron-sdm120:1", "--served", str(log)]
    with simulator("--pty", str(tmp_path / "bus"), *faults) as (port, _):
        asyncio.run(go(port))
    assert any(entry.get("faults") == ["unplug"] for entry in served(log))


def test_a_late_answer_comes_before_that_to_the_next_request(tmp_path: Path) -> None:
    """Whatever the driver makes of it, it takes no value that was not told upon a request of this very reading."""
    log = tmp_path / "served.jsonl"

    async def go(port: str) -> None:
        line = ModbusLine("bus", port)
        meters = [ModbusMeter(line, unit, find_profile("eastron-sdm120"), str(unit)) for unit in (1, 2)]
        for _ in range(10):
            for meter in meters:
                before = len(served(log))
                sample = await outcome(meter)
                if isinstance(sample, Sample):
                    told = [{**entry["values"], **entry.get("late", {})} for entry in served(log)[before:]]
                    for column, steps in zip(meter.columns, sample.values, strict=True):
                        name, resolution = column.measurand, column.resolution
                        assert steps in [resolution.to_steps(values[name]) for values in told if name in values]
        await line.close()

    meters = ["--meter", "eastron-sdm120:1", "--meter", "eastron-sdm120:2", "--speed", "3600"]
    with simulator(
        "--pty", str(tmp_path / "bus"), *meters, "--fault", "late=20%", "--served", str(log)
    ) as (port, _):  # fmt: skip
        asyncio.run(go(port))
    assert any(entry.get("faults") == ["late"] for entry in served(log))


def test_one_meter_of_the_line_may_be_slow_to_answer(tmp_path: Path) -> None:
    async def go(port: str) -> list[float]:
        loop = asyncio.get_running_loop()
        line = ModbusLine("bus", port)
        took = []
        for unit in (1, 2):
            meter = ModbusMeter(line, unit, find_profile("eastron-sdm120"), str(unit), ["voltage_l1_n"])
            await meter.read(1000)
            started = loop.time()
            await meter.read(1000)
            took.append(loop.time() - started)
        await line.close()
        return took

    meters = ["--meter", "eastron-sdm120:1", "--meter", "eastron-sdm120:2:idle"]
    with simulator("--pty", str(tmp_path / "bus"), *meters, "--answer-delay-ms", "300@2") as (port, _):
        quick, slow = asyncio.run(go(port))
    assert quick < 0.2
    assert 0.3 <= slow < 0.5


def test_a_slow_meter_answers_in_order_and_leaves_the_line_to_the_others(tmp_path: Path) -> None:
    def ask(unit: int, count: int) -> bytes:
        return rtu_frame(unit, struct.pack(">BHH", 4, 0, count))

    with simulator(
        "--pty", str(tmp_path / "bus"), "--meter", "eastron-sdm120:1", "--meter", "eastron-sdm120:2",
        "--fault", "slow:5s@1",
    ) as (port, _):  # fmt: skip
        master = os.open(port, os.O_RDWR | os.O_NOCTTY)
        try:
            for request in (ask(1, 2), ask(1, 4), ask(2, 6)):
                os.write(master, request)
                time.sleep(0.05)  # the silence between frames
            heard, until = b"", time.monotonic() + 15
            while len(heard) < 9 + 13 + 17 and time.monotonic() < until:
                heard += os.read(master, 100)
        finally:
            os.close(master)
    assert [heard[at : at + 3].hex() for at in (0, 17, 26)] == ["02040c", "010404", "010408"]


def test_commands_may_stand_in_a_file(tmp_path: Path) -> None:
    commands = tmp_path / "commands"
    commands.write_text("fault crc=1%\nnonsense\nfaults\n")
    command = [sys.executable, "-m", "meter_sim", "--pty", str(tmp_path / "bus"), "--control"]
    with commands.open() as file, subprocess.Popen(command, stdin=file, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline().split(":")[0].strip() for _ in range(4)]
        process.terminate()
        assert process.wait(timeout=5) == 0
    assert said == [f"ready {tmp_path / 'bus'}", "ok faults crc=1%", "error", "ok faults crc=1%"]

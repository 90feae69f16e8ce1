"""The simulator as a program: what it serves over pty and TCP is what the drivers read, value by value."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from drivers.meter import MeterError, Sample
from drivers.modbus.block_plan import WireCost
from drivers.modbus.line import ModbusLine
from drivers.modbus.meter import ModbusMeter
from drivers.modbus.sunspec_meter import modbus_meter
from drivers.profile.files import find_profile, load_profile, shipped_profiles
from drivers.profile.parse import Profile
from meter_sim.faults.condition import Condition
from meter_sim.modbus.frames import Asked, rtu_frame, take_rtu
from meter_sim.ports import Pace
from wire.batch import Quality

ROOT = Path(__file__).parents[3]
MODELS = [model for model, path in sorted(shipped_profiles().items()) if load_profile(path).protocol == "modbus"]
METERS = [argument for unit, model in enumerate(MODELS, start=1) for argument in ("--meter", f"{model}:{unit}")]


@contextmanager
def simulator(*arguments: str, command: tuple[str, ...] = ("-m", "meter_sim")) -> Iterator[str]:
    """Yields where it serves; afterwards it has ended cleanly on SIGTERM."""
    with subprocess.Popen([sys.executable, *command, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            assert line.startswith("ready "), line
            yield line.split()[1]
        finally:
            process.terminate()
            assert process.wait(timeout=5) == 0


def served(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_absent(profile: Profile, name: str, steps: int | None, flag: int) -> None:
    """A phase that the meter does not have reads as the profile's code for it, or as 0 where it has none."""
    (register,) = profile.select((name,))
    if register.not_available or register.data_type.startswith("float"):
        assert (steps, flag) == (None, Quality.NOT_AVAILABLE), (profile.model, name)
    else:
        assert (steps, flag) == (0, 0), (profile.model, name)


async def _read(meter: ModbusMeter, log: Path) -> tuple[int, Sample]:
    """The entries of the log before a reading, and the reading; another one where the machine was too busy for it."""
    for _ in range(2):
        with suppress(MeterError):
            return len(served(log)), await meter.read(5000)
    return len(served(log)), await meter.read(5000)


@pytest.mark.parametrize("way", ["pty", "tcp"])
def test_every_profile_reads_what_was_served(way: str, tmp_path: Path) -> None:
    log = tmp_path / "served.jsonl"
    where = ["--pty", str(tmp_path / "bus")] if way == "pty" else ["--tcp", "127.0.0.1:0"]

    async def read(port: str) -> None:
        line = ModbusLine("bus", port)
        for unit, model in enumerate(MODELS, start=1):
            profile = find_profile(model)
            names = [register.measurand for register in profile.registers]
            meter = modbus_meter(line, unit, profile, model, names)
            number = str(Condition(f"1:{unit}").serial_number)
            place = profile.identity.serial_number
            if profile.sunspec or (place and place.count * 2 >= len(number)):
                assert (await meter.identify(2000))["serial_number"] == number, model
            before, sample = await _read(meter, log)
            told: dict[str, float] = {}
            for entry in served(log)[before:]:
                if entry["unit"] != unit:
                    continue  # of a meter before: a busy machine answers it after its time-out, and so twice
                assert abs(entry["t_ms"] - time.time() * 1000) < 5000
                told |= entry["values"]
            flags = sample.flags or (0,) * len(names)
            for column, steps, flag in zip(meter.columns, sample.values, flags, strict=True):
                name, step = column.measurand, float(column.resolution.step)
                if name in told and told[name] != 0:
                    assert steps is not None, (model, name)
                    assert abs(steps * step - told[name]) <= 0.5000001 * step, (model, name)
                    assert flag == 0, (model, name)
                elif name in told and steps is None:  # SunSpec's counters say with a 0 that they do not count
                    assert model.startswith("sunspec"), (model, name)
                    assert flag == Quality.NOT_AVAILABLE
                elif name in told:
                    assert (steps, flag) == (0, 0), (model, name)
                else:
                    assert_absent(profile, name, steps, flag)
        await line.close()

    with simulator(*where, *METERS, "--served", str(log), "--speed", "100") as port:
        asyncio.run(read(port))


def test_it_runs_from_a_checkout_and_the_terminal_outlives_its_masters(tmp_path: Path) -> None:
    link = tmp_path / "bus"

    async def read() -> tuple[int | None, ...]:
        line = ModbusLine("bus", str(link))
        values = (await ModbusMeter(line, 1, find_profile("eastron-sdm630"), "main").read(1000)).values
        await line.close()
        return values

    with simulator("--pty", str(link), command=(str(ROOT / "hardware-sim"),)):
        for _ in range(3):
            assert len(asyncio.run(read())) == 16
    assert not link.is_symlink()


def test_a_stale_link_of_a_killed_run_is_replaced(tmp_path: Path) -> None:
    link = tmp_path / "bus"
    link.symlink_to("/dev/pts/9999")
    with simulator("--pty", str(link)):
        assert link.exists()


def test_it_ends_on_an_interrupt_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "meter_sim", "--pty", str(tmp_path / "bus")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready ")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=5) == 0


def test_pacing_takes_the_time_of_the_wire(tmp_path: Path) -> None:
    """Three readings of an SDM630 at 9600 baud, meter answering after 5 ms, within 10 % of the formula."""

    async def read(port: str) -> None:
        loop = asyncio.get_running_loop()
        line = ModbusLine("bus", port)
        meter = ModbusMeter(line, 1, find_profile("eastron-sdm630"), "main")
        cost = WireCost.serial(9600, meter_ms=5)
        expected_s = sum(cost.block_ms(block.count) for block in meter.blocks) / 1000
        await meter.read(1000)
        taken = []
        for _ in range(5):
            started = loop.time()
            await meter.read(1000)
            taken.append(loop.time() - started)
        await line.close()
        assert expected_s * 0.9 < min(taken) < expected_s * 1.1

    with simulator("--pty", str(tmp_path / "bus"), "--baud-pace", "--answer-delay-ms", "5") as port:
        asyncio.run(read(port))


def test_many_masters_on_tcp() -> None:
    async def read(port: str) -> None:
        lines = [ModbusLine(f"master{number}", port) for number in range(8)]
        meters = [ModbusMeter(line, 1, find_profile("eastron-sdm630"), "main") for line in lines]
        for _ in range(5):
            await asyncio.gather(*(meter.read(2000) for meter in meters))
        await asyncio.gather(*(line.close() for line in lines))

    with simulator("--tcp", "127.0.0.1:0") as port:
        asyncio.run(read(port))


def test_a_master_that_does_not_speak_modbus_is_cut_off() -> None:
    async def talk(port: str) -> bytes:
        host, _, number = port.removeprefix("tcp://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(number))
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        try:
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    with simulator("--tcp", "127.0.0.1:0") as port:
        assert asyncio.run(talk(port)) == b""


def test_same_seed_same_values(tmp_path: Path) -> None:
    async def read(port: str) -> tuple[int | None, ...]:
        line = ModbusLine("bus", port)
        values = (await ModbusMeter(line, 1, find_profile("eastron-sdm630"), "main").read(1000)).values
        await line.close()
        return values

    seen = []
    for seed in ("7", "7", "8"):
        with simulator("--pty", str(tmp_path / "bus"), "--seed", seed, "--refresh", "3600") as port:
            seen.append(asyncio.run(read(port)))
    assert seen[0] == seen[1] != seen[2]


def test_a_request_among_noise_and_of_other_units_leaves_the_line_usable(tmp_path: Path) -> None:
    async def talk(port: str) -> None:
        line = ModbusLine("bus", port)
        meter = ModbusMeter(line, 1, find_profile("eastron-sdm630"), "main")
        await line.open()
        line._port.write(b"\x01\x04noise")
        await asyncio.sleep(0.1)  # the silence after which a meter begins anew
        assert len((await meter.read(1000)).values) == 16
        await line.close()

    with simulator("--pty", str(tmp_path / "bus")) as port:
        asyncio.run(talk(port))


def test_the_silence_of_the_pace_is_the_standards() -> None:
    assert Pace().silence_s == 0
    assert Pace(10 / 9600).silence_s == pytest.approx(0.003646, abs=1e-6)
    assert Pace(10 / 115200).silence_s == 0.00175
    assert take_rtu(rtu_frame(1, bytes.fromhex("0400000002")))[0] == Asked(1, 4, 0, 2)

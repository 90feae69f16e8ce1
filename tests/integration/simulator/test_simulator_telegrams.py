"""Meters with telegrams: what the simulator says over a pseudo-terminal is what the drivers read, value by value."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.building import BuiltMeter, build_line, build_meter
from drivers.meter import MeterError, Sample
from drivers.profile.files import find_profile, load_profile, shipped_profiles
from meter_sim.faults.condition import Condition
from meter_sim.telegrams.telegram_meter import telegram_models
from wire.batch import Quality

MODELS = telegram_models()
PUSHED = [model for model in MODELS if find_profile(model).push or find_profile(model).protocol != "mbus"]
BUDGET_MS = 8000


@contextmanager
def simulator(link: Path, log: Path, *arguments: str) -> Iterator[str]:
    command = [sys.executable, "-m", "meter_sim", "--pty", str(link), "--served", str(log), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            assert line.startswith("ready "), line
            yield str(link)
        finally:
            process.terminate()
            assert process.wait(timeout=5) == 0


def served(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def meter(model: str, port: str, unit: int = 1) -> BuiltMeter:
    profile = find_profile(model)
    line = build_line(profile, "customer", port)
    return build_meter(line, unit, profile, "main", profile.measurands)


def check(sample: Sample, reader: BuiltMeter, told: list[dict[str, float]]) -> None:
    """Every measurand is as in one of the telegrams; what was not told is missing."""
    flags = sample.flags or (0,) * len(sample.values)
    rows = list(zip(reader.columns, sample.values, flags, strict=True))

    def says(values: dict[str, float]) -> bool:
        for column, steps, flag in rows:
            step, value = float(column.resolution.step), values.get(column.measurand)
            if value is None:
                if steps is not None or flag not in {0, Quality.NOT_AVAILABLE}:
                    return False
            elif steps is None or flag or abs(steps * step - value) > 0.5000001 * step:
                return False
        return True

    assert any(says(values) for values in told), (rows, told[-1:])


def test_every_profile_with_telegrams_has_a_simulated_meter() -> None:
    shipped = {model for model, path in shipped_profiles().items() if load_profile(path).protocol != "modbus"}
    assert shipped == set(MODELS)


@pytest.mark.parametrize(
    ("model", "scenario"),
    [
        *((model, "household") for model in MODELS),
        *((model, "pv") for model in ("dsmr-p1", "sml", "han-aidon", "mbus")),
    ],
)
def test_what_is_told_is_what_is_read(model: str, scenario: str, tmp_path: Path) -> None:
    log = tmp_path / "served.jsonl"

    async def go(port: str) -> None:
        reader = meter(model, port)
        number = str(Condition("1:1").serial_number)
        assert (await reader.identify(BUDGET_MS))["serial_number"].endswith(number)
        for _ in range(3):
            sample = await reader.read(BUDGET_MS)
            told = [entry["values"] for entry in served(log)]
            assert len(told[-1]) >= 2
            check(sample, reader, told)
        await reader.line.close()

    options = ["--telegram-interval", "0.3", "--speed", "600", "--refresh", "1"]
    with simulator(
        tmp_path / "bus",
        log,
        "--meter",
        f"{model}:{scenario}" if model in PUSHED else f"{model}:1:{scenario}",
        *options,
    ) as port:
        asyncio.run(go(port))
    if scenario == "pv" and "power_active_export" in served(log)[-1]["values"]:
        assert served(log)[-1]["values"]["power_active_export"] > 0


def test_several_meters_on_an_mbus(tmp_path: Path) -> None:
    log = tmp_path / "served.jsonl"

    async def go(port: str) -> None:
        profiles = {
            unit: find_profile(model) for unit, model in enumerate(("mbus", "mbus-heat", "mbus-water"), start=1)
        }
        line = build_line(profiles[1], "bus", port)
        readers = [
            build_meter(line, unit, profile, str(unit), profile.measurands) for unit, profile in profiles.items()
        ]
        for reader in readers * 2:
            sample = await reader.read(BUDGET_MS)
            check(sample, reader, [entry["values"] for entry in served(log) if entry["unit"] == reader.unit])
        await line.close()

    meters = ["--meter", "mbus:1", "--meter", "mbus-heat:2", "--meter", "mbus-water:3"]
    with simulator(tmp_path / "bus", log, *meters) as port:
        asyncio.run(go(port))


@pytest.mark.parametrize("model", ["dsmr-p1", "sml", "han-aidon", "mbus", "iec62056-21"])
def test_faults_cost_telegrams_and_no_value(model: str, tmp_path: Path) -> None:
    """What was read was told in a telegram that was good as it went out."""
    log = tmp_path / "served.jsonl"

    async def go(port: str) -> list[str]:
        reader = meter(model, port)
        errors = []
        for _ in range(12 if find_profile(model).push else 6):
            try:
                sample = await reader.read(3000)
            except MeterError as error:
                errors.append(error.reason)
            else:
                check(sample, reader, [entry["values"] for entry in served(log) if entry["good"]])
        await reader.line.close()
        return errors

    faults = "crc=20%, truncation=15%, lead=20%, trail=20%, silence=5%, babble=5%:300ms, hole=10%, unplug=2%:200ms"
    options = ["--meter", f"{model}:1", "--telegram-interval", "0.2", "--fault", faults, "--fault-seed", "3"]
    with simulator(tmp_path / "bus", log, *options) as port:
        errors = asyncio.run(go(port))
    assert set(errors) <= {"silent", "garbage", "line_lost", "line_missing", "pending"}
    entries = served(log)
    assert any(entry["good"] for entry in entries)
    assert any(not entry["good"] for entry in entries)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--meter", "dsmr-p1", "--meter", "sml:2"], "cannot share a line"),
        (["--meter", "mbus"], "MODEL:UNIT"),
        (["--meter", "dsmr-p1:night"], "no scenario 'night'"),
        (["--meter", "sml", "--telegram-interval", "0"], "--telegram-interval"),
    ],
)
def test_what_cannot_be_is_said(arguments: list[str], says: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "meter_sim", "--pty", str(tmp_path / "bus"), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 64
    assert says in ended.stderr

"""Transformers' ratios from the configuration to the value, for meters that leave them to the box and for others."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from register_table import Registers, serving

from agent.services.metering.meters import build_lines
from agent.settings import parse

PROFILE = """
model = "acme-one"
vendor = "Acme"
description = "One"
sources = ["this test"]
ct = "{applied}"
vt = "{applied}"
[defaults]
function = 3
type = "uint16"
[registers]
voltage_l1_n = {{ address = 0, resolution = 1 }}
current_l1 = {{ address = 1, scale = 0.001, resolution = 0.001 }}
power_active_total = {{ address = 2, resolution = 1 }}
energy_active_import_total = {{ address = 3, scale = 10, resolution = 10 }}
frequency = {{ address = 4, scale = 0.01, resolution = 0.01 }}
"""
CONFIG = """
[box]
id = "apt-1"
[[bus]]
name = "line"
port = "{url}"
[[meter]]
name = "main"
bus = "line"
model = "acme-one"
ct_ratio = 40
vt_ratio = 100
[uplink]
endpoint = "broker.example"
"""
WORDS = [58, 1250, 70, 12, 5001]


@pytest.mark.parametrize(
    ("applied", "expected"),
    [("box", (5800, 50_000, 280_000, 48_000, 5001)), ("meter", (58, 1250, 70, 12, 5001))],
)
def test_ratios_multiply_where_the_box_applies_them(tmp_path: Path, applied: str, expected: tuple[int, ...]) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/acme-one.toml").write_text(PROFILE.format(applied=applied))
    registers = Registers(dict(enumerate(WORDS)), random.Random(1), frozenset({3}))

    async def scenario() -> None:
        async with serving(registers) as url:
            settings = parse(CONFIG.format(url=url).encode(), tmp_path / "agent.toml")
            (line,) = build_lines(settings)
            (meter,) = line.meters
            assert (await meter.driver.read(1000)).values == expected
            assert (meter.descriptor["ct_ratio"], meter.descriptor["vt_ratio"]) == (40, 100)
            assert (meter.descriptor["ct_applied_by"], meter.descriptor["vt_applied_by"]) == (applied, applied)
            await line.line.close()

    asyncio.run(scenario())

"""Profiles as they were when they were last looked at: none changes unnoticed.

Changed on purpose: PYTHONPATH=. .venv/bin/python tests/golden/make_profiles.py, and look at what git shows.
"""

from __future__ import annotations

import importlib.util
import json
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from drivers.modbus.block_plan import Block
from drivers.modbus.decode import decode
from drivers.profile.files import find_profile
from drivers.profile.parse import Profile

FOLDER = Path(__file__).with_name("profiles")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = load("make_profiles")
PROFILES: list[Profile] = MAKE.modbus_profiles()


def golden(model: str) -> dict[str, Any]:
    tables: dict[str, Any] = json.loads((FOLDER / f"{model}.json").read_text())
    return tables


def test_every_profile_has_its_file() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {profile.model for profile in PROFILES}


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.model)
def test_a_profile_says_what_it_said(profile: Profile) -> None:
    kept = golden(profile.model)
    for name, table in MAKE.described(profile).items():
        assert kept[name] == table, name


@pytest.mark.parametrize("model", [profile.model for profile in PROFILES])
def test_registers_mean_what_they_meant(model: str) -> None:
    registers = {register.measurand: register for register in find_profile(model).registers}
    kept = golden(model)["examples"]
    assert set(kept) == set(registers)
    for name, rows in kept.items():
        register = registers[name]
        for words, exponent, value in rows:
            blocks = [Block(register.function_code, register.address, register.count)]
            answers = [bytes.fromhex(words)]
            if register.scale_register is not None:
                blocks.append(Block(register.function_code, register.scale_register, 1))
                answers.append(exponent.to_bytes(2, "big", signed=True))
            (steps,), flags = decode([register], blocks, answers)
            assert flags == (), name
            assert steps * register.resolution.step == Decimal(value), (name, words)

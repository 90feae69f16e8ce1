"""`wattpost check-profile --against` a simulated meter that agrees, and profiles with mistakes that only it shows."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.cli.main import main

PROFILE = """
model = "acme-one"
vendor = "Acme"
description = "One"
sources = ["this test"]
[identity]
serial_number = { function = 4, address = 100, type = "uint32" }
marks = [
  { function = 4, address = 110, any_of = [71, 72] },
  { function = 4, address = 120, count = 4, ascii = "ONE" },
]
[defaults]
function = 4
[registers]
voltage_l1_n = { address = 0, type = "uint16", scale = 0.1, resolution = 0.1 }
current_l1 = { address = 1, type = "uint32", scale = 0.001, resolution = 0.001 }
power_active_total = { address = 3, type = "int32", resolution = 1 }
frequency = { address = 5, type = "uint16", scale = 0.01, resolution = 0.01 }
energy_active_import_total = { address = 6, type = "uint32", scale = 10, resolution = 10 }
"""


@pytest.fixture(scope="module")
def meter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A simulated Acme One; where it is."""
    folder = tmp_path_factory.mktemp("profiles")
    (folder / "acme-one.toml").write_text(PROFILE)
    command = [sys.executable, "-m", "meter_sim", "--tcp", "127.0.0.1:0", "--profiles", str(folder)]
    command += ["--meter", "acme-one:1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            assert line.startswith("ready "), line
            yield line.split()[1]
        finally:
            process.terminate()


def check(folder: Path, url: str, old: str = "", new: str = "", capsys: Any = None) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of a check of the profile with a change, and what its values are, by measurand."""
    assert PROFILE.count(old) >= 1
    (folder / "acme-one.toml").write_text(PROFILE.replace(old, new, 1) if old else PROFILE)
    with pytest.raises(SystemExit) as ended:
        main(["check-profile", str(folder / "acme-one.toml"), "--against", url, "--unit", "1", "--json"])
    return int(ended.value.code or 0), json.loads(capsys.readouterr().out)["against"]


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    return {entry["measurand"]: entry["verdict"] for entry in document["values"] if entry["verdict"] != "good"}


def test_a_profile_that_its_meter_agrees_with(tmp_path: Path, meter: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = check(tmp_path, meter, capsys=capsys)
    assert (code, document["ok"], verdicts(document)) == (0, True, {})
    assert document["identity"]["serial_number"]
    assert {entry["from"] for entry in document["values"]} == {"FC4 0", "FC4 1", "FC4 3", "FC4 5", "FC4 6"}
    assert len(document["values"][0]["raw"]) == 4


@pytest.mark.parametrize(
    ("old", "new", "measurand", "says"),
    [
        ("scale = 0.1, resolution = 0.1", "resolution = 1", "voltage_l1_n", "outside of 80 to 300 V"),
        ("scale = 0.01, resolution = 0.01", "resolution = 1", "frequency", "outside of 45 to 65 Hz"),
        (
            "scale = 0.001, resolution = 0.001",
            "scale = 0.00001, resolution = 0.00001",
            "power_active_total",
            "more than",
        ),
        ("address = 6, ", "address = 600, ", "energy_active_import_total", "refused by the meter (exception 2)"),
        ("address = 1, ", "address = 200, ", "current_l1", "refused by the meter"),
    ],
)
def test_mistakes_that_only_the_meter_shows(
    tmp_path: Path, meter: str, old: str, new: str, measurand: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = check(tmp_path, meter, old, new, capsys=capsys)
    assert code == 1
    assert set(verdicts(document)) == {measurand}
    assert says in verdicts(document)[measurand]


def test_a_meter_that_says_that_it_is_another_model(
    tmp_path: Path, meter: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = check(tmp_path, meter, capsys=capsys)
    assert (code, document["remarks"]) == (0, [])
    assert all(text.endswith(", as acme-one") for text in document["marks"])
    code, document = check(tmp_path, meter, "[71, 72]", "[73]", capsys=capsys)
    assert (code, document["remarks"]) == (0, [])  # the other mark is enough
    (tmp_path / "acme-one.toml").write_text(PROFILE.replace("[71, 72]", "[73]").replace('"ONE"', '"TWO"'))
    with pytest.raises(SystemExit) as ended:
        main(["check-profile", str(tmp_path / "acme-one.toml"), "--against", meter, "--json"])
    (remark,) = json.loads(capsys.readouterr().out)["against"]["remarks"]
    assert ended.value.code == 1
    assert "does not identify itself as this model" in remark


def test_people_see_a_table(tmp_path: Path, meter: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "acme-one.toml").write_text(PROFILE.replace("address = 6, ", "address = 600, "))
    with pytest.raises(SystemExit) as ended:
        main(["check-profile", str(tmp_path / "acme-one.toml"), "--against", meter])
    assert ended.value.code == 1
    said = capsys.readouterr().out
    assert "it says: serial number" in said
    assert "5 measurands, 1 to look at" in said
    assert "missing" in next(line for line in said.splitlines() if line.startswith("energy_active_import_total"))


def test_a_meter_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    code, document = check(tmp_path, f"tcp://127.0.0.1:{port}", capsys=capsys)
    assert code == os.EX_UNAVAILABLE
    assert document["error"]["reason"] == "line_missing"

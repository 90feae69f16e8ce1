"""`wattpost demo` before it starts anything."""

from __future__ import annotations

import asyncio
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from agent.core.system.status import BufferStatus, MeterStatus, Status, UplinkStatus, encode_status
from demo import command as demo
from demo.compare import Comparison
from demo.folder import EARLIER_DEMO, own_folder
from demo.scenario import Plan, Scenario
from demo.screen import DemoScreen

STATUS = Status(
    box="apt-demo",
    pid=1,
    boot="00" * 8,
    mono_ms=1,
    meters={"main": MeterStatus(readings=9)},
    buffer=BufferStatus(pending_records=1, open_records=1, batch_records=2),
    uplink=UplinkStatus(published_batches=2, confirmed_records=10),
)


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Nothing is started; `plain` of each run that would be."""
    runs: list[bool] = []

    async def run(_scenario: object, *, plain: bool) -> int:
        runs.append(plain)
        return os.EX_OK

    monkeypatch.setattr(demo, "_run", run)
    return runs


def test_a_folder_with_somebodys_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    result = CliRunner().invoke(demo.command, ["--dir", str(tmp_path)])
    assert result.exit_code == os.EX_USAGE
    assert "name a new folder" in result.output
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("options", "least"),
    [(["--for", "9s"], "10s"), (["--for", "29s", "--outage", "20s"], "30s, 10s longer than --outage")],
)
def test_a_time_that_is_too_short_is_refused_with_the_shortest(
    options: list[str], least: str, tmp_path: Path, started: list[bool]
) -> None:
    result = CliRunner().invoke(demo.command, [*options, "--dir", str(tmp_path)])
    assert result.exit_code == 2
    assert f"--for {options[1]} is too short; give at least {least}\n" in result.output
    assert started == []


@pytest.mark.parametrize("options", [["--for", "10s"], ["--for", "30", "--outage", "20s", "--crash"]])
def test_the_shortest_times(options: list[str], tmp_path: Path, started: list[bool]) -> None:
    assert CliRunner().invoke(demo.command, [*options, "--dir", str(tmp_path)]).exit_code == os.EX_OK
    assert len(started) == 1


def test_the_shortest_time_is_documented() -> None:
    manual = (Path(__file__).parents[3] / "docs" / "commands.md").read_text()
    assert f"at least {demo.LEAST_S:g} s, and {demo.LEAST_S:g} s longer than `--outage`" in manual
    help_text = " ".join(CliRunner().invoke(demo.command, ["--help"]).output.split())
    assert f"at least {demo.LEAST_S:g}s, and {demo.LEAST_S:g}s longer than --outage" in help_text


def test_what_an_earlier_demo_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / EARLIER_DEMO).touch()
    (tmp_path / "buffer.db").write_text("old")
    assert CliRunner().invoke(demo.command, ["--dir", str(tmp_path)]).exit_code == os.EX_OK
    assert list(tmp_path.iterdir()) == []


def test_a_second_demo_in_one_folder_is_refused_and_takes_nothing_away(tmp_path: Path) -> None:
    with own_folder(tmp_path):
        (tmp_path / EARLIER_DEMO).touch()
        result = CliRunner().invoke(demo.command, ["--dir", str(tmp_path)])
        assert (tmp_path / EARLIER_DEMO).exists()
    assert result.exit_code == os.EX_UNAVAILABLE
    assert result.stderr == (
        f"Error: a demo is already running in {tmp_path}; end that one with Ctrl-C, or name another --dir\n"
    )
    assert CliRunner().invoke(demo.command, ["--dir", str(tmp_path)]).exit_code == os.EX_OK


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(demo.command, ["--dir", str(tmp_path / "file" / "demo")])
    assert result.exit_code == os.EX_CANTCREAT
    assert "name another --dir" in result.output


def test_without_a_terminal_it_speaks_in_lines(tmp_path: Path, started: list[bool]) -> None:
    assert CliRunner().invoke(demo.command, ["--dir", str(tmp_path)]).exit_code == os.EX_OK
    assert started == [True]


def test_without_its_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[bool]
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name == "ministack" else object())
    result = CliRunner().invoke(demo.command, ["--dir", str(tmp_path / "new")])
    assert result.exit_code == os.EX_UNAVAILABLE
    assert result.stderr == "Error: wattpost demo needs pip install 'wattpost[local]'\n"
    assert not (tmp_path / "new").exists()
    assert not started


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (120, 40), (200, 60), (80, 18)])
def test_the_live_screen_fits_the_terminal(tmp_path: Path, columns: int, lines: int) -> None:
    served = [{"t_ms": 1000 * at, "values": {"power_active_total": 500.0 + at % 7}} for at in range(400)]
    (tmp_path / "served.jsonl").write_text("".join(json.dumps(line) + "\n" for line in served))
    values = {"power_active_total": 12345.6, "voltage_l1_n": 230.1, "energy_active_import_total": 98_765_432}
    status = replace(STATUS, meters={"main": MeterStatus(readings=400, values=values)})
    (tmp_path / "status.json").write_bytes(encode_status(status))
    screen, scenario = DemoScreen(), Scenario(Plan(None), tmp_path, print)
    for at in range(30):
        screen.say(f"thing {at} happened " + "and it takes a long line to say all of it " * 4)
    console = Console(width=columns, height=lines, force_terminal=True, file=io.StringIO(), record=True)
    console.print(screen.render(scenario, columns, lines))
    shown = console.export_text().splitlines()
    assert min(lines, 38) == len(shown), shown
    assert max(map(len, shown)) <= columns
    assert any(line.startswith("│ thing 29 happened") for line in shown), shown
    assert any("12345.6 W" in line for line in shown)


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    """Nine readings, of which eight are stored; records are these and two events."""
    (tmp_path / "served.jsonl").write_text('{"t_ms": 0, "values": {"power_active_total": 5.0}}\n' * 9)
    (tmp_path / "status.json").write_bytes(encode_status(STATUS))
    return Scenario(Plan(None), tmp_path, print, stored=[{}] * 8)


def test_the_live_screen_says_what_it_counts(scenario: Scenario) -> None:
    console = Console(width=80, height=24, force_terminal=True, file=io.StringIO(), record=True)
    console.print(DemoScreen().render(scenario, 80, 24))
    _, of_what, done, numbers, frame = console.export_text().splitlines()[:5]
    assert of_what.split()[1:-1] == ["readings", "readings", "records", "the", "batches", "readings", "records"]
    assert done.split()[1:-1] == ["served", "read", "on", "the", "box", "network", "sent", "stored", "confirmed"]
    assert numbers.split()[1:-1] == ["9", "9", "4", "up", "2", "8", "10"]
    assert "records: readings and events; read, sent, confirmed since the agent began" in frame


def test_lines_of_text_say_what_they_count(scenario: Scenario) -> None:
    said = demo.progress(scenario)
    assert said.endswith("s  network up: readings read 9, records on the box 4, records confirmed 10")


def test_the_last_line_says_what_it_counts(scenario: Scenario, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(demo._say_stopped(scenario))
    readings, records, compared, _folder = capsys.readouterr().out.splitlines()
    assert readings.endswith("s; readings: served 9, read 9, stored in the cloud 8")
    assert records == "records (readings and events): confirmed 10"
    assert compared == "the two ends were not compared, value by value; --for does that"
    assert str(Comparison(50, 50, 0, 0, 0, 0)) == "served 50, stored 50, lost 0, duplicate 0, wrong 0"

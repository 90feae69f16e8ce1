"""`wattpost status` as a person and a script see it, from status files of daemons in all conditions."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent.adapters.system.clock import SystemClock, boot_id
from agent.adapters.system.process import is_running
from agent.cli.status import command as status_module
from agent.cli.status.command import command
from agent.core.texts import count, size, span, unit_of
from demo.folder import EARLIER_DEMO, own_folder

CLOCK = SystemClock("system")
CONFIG = """[box]
id = "apt-1"
[uplink]
endpoint = "broker.example"
[status]
path = "status.json"
"""


def status(**changes: Any) -> dict[str, Any]:
    """The status that this process would have written just now, were it a daemon; all is well."""
    meter = {"state": "ok", "error": None, "readings": 9, "slots_missed": 2, "age_ms": 4_000}
    document: dict[str, Any] = {
        "box": "apt-1",
        "version": "1.2.3",
        "pid": os.getpid(),
        "settings": {
            "config": "/etc/wattpost/agent.toml",
            "revision": "0badcafe",
            "status_interval_ms": 5_000,
            "buffer_path": "/var/lib/wattpost/buffer.db",
            "buffer_max_bytes": 512_000_000,
            "endpoint": "broker.example:8883",
            "confirm": "receipt",
            "confirm_interval_ms": 3_600_000,
            "meters": {"main": {"model": "eastron-sdm630", "bus": "rs485", "interval_ms": 10_000}},
        },
        "boot": boot_id().hex(),
        "mono_ms": CLOCK.mono_ms(),
        "utc_ms": 1_790_000_000_000,
        "up_ms": 10_000,
        "rss_max_bytes": 38_200_000,
        "meters": {"main": {**meter, "values": {"power_active_total": 512.5, "power_factor_total": None}}},
        "buffer": {
            "pending_records": 1,
            "open_records": 20,
            "batches": 3,
            "batch_records": 1_090,
            "oldest_age_ms": 1_200_000,
            "used_bytes": 2_000_000,
            "held_batches": 0,
            "dropped_records": 0,
            "committed_records": 3_700,
        },
        "uplink": {
            "connected": True,
            "connected_ms": 7_500_000,
            "state": "connected",
            "published_batches": 120,
            "confirmed_records": 3_600,
            "receipt_age_ms": 1_200_000,
        },
        "troubles": {},
    }
    for name, change in changes.items():
        document[name] = document[name] | change if isinstance(change, Mapping) else change
    return document


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "status.json"


def run(file: Path, document: Mapping[str, Any], *options: str) -> Result:
    file.write_text(json.dumps(document))
    return CliRunner().invoke(command, ["--file", str(file), *options])


def test_a_healthy_daemon_in_a_few_lines(file: Path) -> None:
    result = run(file, status())
    assert result.exit_code == 0, result.output
    verdict, empty, meters, *rest = result.stdout.splitlines()
    assert verdict == "good  apt-1 reads 1 meter and is connected; 1,111 records not yet confirmed"
    assert empty == ""
    assert re.fullmatch(r"meters +main +eastron-sdm630 +ok +[0-9.]+ s ago +512\.5 +W +2 slots missed", meters)
    assert rest == [
        "buffer  1,111 records wait: 1,090 in 3 batches, 20 not yet in a batch, 1 in memory; the oldest for 20 min",
        "        2 MB, 0.4 % of 512 MB, in /var/lib/wattpost/buffer.db",
        "uplink  connected to broker.example:8883 for 2 h 5 min",
        (
            "        last receipt 20 min ago (asked for about every 60 min); "
            "120 batches sent, 3,600 records confirmed since the start"
        ),
        f"agent   wattpost 1.2.3, box apt-1, pid {os.getpid()}, up 10 s, at most 38.2 MB of memory",
        "        configuration /etc/wattpost/agent.toml, revision 0badcafe",
    ]


def test_attention_says_what_and_the_next_step(file: Path) -> None:
    troubles = {"clock": "not synchronised; check systemd-timesyncd", "publishing": "denied; allow iot:Publish"}
    result = run(file, status(troubles=troubles, utc_ms=None))
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == "attention  clock       not synchronised; check systemd-timesyncd"
    assert lines[1] == "           publishing  denied; allow iot:Publish"
    assert "clock not known yet" in result.stdout


def test_nothing_waits(file: Path) -> None:
    nothing = {"pending_records": 0, "open_records": 0, "batches": 0, "batch_records": 0, "oldest_age_ms": None}
    result = run(file, status(buffer=nothing))
    assert "all is confirmed" in result.stdout
    assert "buffer  nothing waits" in result.stdout


def test_the_weaker_promise_is_named(file: Path) -> None:
    result = run(file, status(settings={"confirm": "puback"}))
    assert result.exit_code == 0
    assert 'weaker promise: with confirm = "puback" a batch is deleted once the broker has it' in result.stdout


def test_no_receipt_yet_and_no_connection(file: Path) -> None:
    result = run(file, status(uplink={"receipt_age_ms": None, "connected": False, "state": "not connected: refused"}))
    assert result.exit_code == 0, "it has just begun"
    assert "not connected to broker.example:8883" in result.stdout
    assert "no receipt yet; 120 batches sent" in result.stdout


def test_a_meter_that_was_never_read(file: Path) -> None:
    silent = {"state": "line_missing", "error": "open line x: gone; plug it in", "readings": 0, "slots_missed": 9}
    result = run(file, status(meters={"main": {**silent, "age_ms": None, "values": {}}}))
    assert result.exit_code == 1
    assert "attention  meter main  open line x: gone; plug it in" in result.stdout
    assert "line missing" in result.stdout
    assert "never" in result.stdout


FLAGGED = {
    "state": "ok", "error": None, "readings": 900, "slots_missed": 0, "age_ms": 4_000,
    "values": {"voltage_l1_n": 230.1, "frequency": 0.0, "energy_active_import_total": 0},
    "quality": {"energy_active_import_total": ["backwards"], "frequency": ["out_of_range"]},
    "flagged_values": 1_234, "doubt": "frequency = 0.0 cannot be true: out of range", "doubt_age_ms": 120_000,
}  # fmt: skip


def test_values_that_cannot_be_true_need_attention(file: Path) -> None:
    result = run(file, status(meters={"main": FLAGGED}))
    assert result.exit_code == 1
    text = " ".join(result.stdout.split())
    assert "meter main values that cannot be true, and are flagged: energy_active_import_total, frequency;" in text
    assert "1,234 values flagged" in text


def test_values_shows_flags_and_what_was_found(file: Path) -> None:
    lines = run(file, status(meters={"main": FLAGGED}), "--values").stdout.splitlines()
    assert [line.split() for line in lines[-4:]] == [
        ["main", "voltage_l1_n", "230.1", "V"],
        ["frequency", "0.0", "Hz", "out", "of", "range"],
        ["energy_active_import_total", "0", "Wh", "backwards"],
        ["2", "min", "ago:", "frequency", "=", "0.0", "cannot", "be", "true:", "out", "of", "range"],
    ]


def test_values_shows_all_of_the_last_reading(file: Path) -> None:
    lines = run(file, status(), "--values").stdout.splitlines()
    assert lines[-2].split() == ["main", "power_active_total", "512.5", "W"]
    assert lines[-1].split() == ["power_factor_total", "missing"]


def test_json_for_scripts(file: Path) -> None:
    document = json.loads(run(file, status(troubles={"clock": "x; y"}), "--json").stdout)
    assert document["verdict"] == "attention"
    found = {"check": "logged-troubles", "severity": "warning", "cause": "x; y", "next_step": ""}
    assert document["findings"] == [{"subject": "clock", "text": "x; y", **found}]
    assert document["running"] is True
    assert 0 <= document["age_ms"] < 60_000
    assert document["status"]["meters"]["main"]["values"]["power_active_total"] == 512.5


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_a_daemon_that_was_killed(file: Path, gone: int) -> None:
    result = run(file, status(pid=gone))
    assert result.exit_code == 69
    assert result.stdout.startswith(f"not running  agent  process {gone} ended without a clean stop; it wrote")
    assert "journalctl -u wattpost -n 50" in result.stdout
    assert "sudo systemctl start wattpost" in result.stdout
    assert "uplink" not in result.stdout


def test_a_status_of_an_earlier_boot(file: Path) -> None:
    result = run(file, status(boot="00" * 8))
    assert result.exit_code == 69
    assert "before this machine was restarted" in result.stdout


def test_a_stopped_daemon_leaves_no_file(file: Path) -> None:
    result = CliRunner().invoke(command, ["--file", str(file)])
    assert result.exit_code == 69
    assert f"not running  agent  there is no status file {file}; start it" in result.stdout
    document = json.loads(CliRunner().invoke(command, ["--file", str(file), "--json"]).stdout)
    assert (document["verdict"], document["status"]) == ("not running", None)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "\x00"])
def test_a_file_of_something_else(file: Path, text: str) -> None:
    file.write_text(text)
    result = CliRunner().invoke(command, ["--file", str(file)])
    assert result.exit_code == 65
    assert "is not a status that this version can read" in result.stderr
    assert "restart wattpost" in result.stderr


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["--file", str(tmp_path)])
    assert result.exit_code == 66
    assert f"cannot read the status {tmp_path}: Is a directory" in result.stderr


def test_the_configuration_says_where_the_status_is(tmp_path: Path, file: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(CONFIG)
    file.write_text(json.dumps(status()))
    assert CliRunner().invoke(command, ["--config", str(config)]).exit_code == 0


def test_a_configuration_with_mistakes_hides_no_daemon(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_module, "DEFAULT_STATUS_PATH", file)
    config = tmp_path / "agent.toml"
    config.write_text("[box]\nid = 5\n")
    nothing = CliRunner().invoke(command, ["--config", str(config)])
    assert nothing.exit_code == 78
    assert f"{config}:2: box.id" in nothing.stderr
    file.write_text(json.dumps(status()))
    result = CliRunner().invoke(command, ["--config", str(config)])
    assert result.exit_code == 1
    assert f"configuration  {config}:2: box.id" in result.stdout
    assert "the daemon still uses the earlier configuration" in result.stdout
    config.unlink()
    assert CliRunner().invoke(command, ["--config", str(config)]).exit_code == 0


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """The folder that a demo leaves."""
    folder = tmp_path / "shown"
    with own_folder(folder):
        for name in (EARLIER_DEMO, "agent.toml", "agent.log"):
            (folder / name).touch()
    return folder


def run_without_status(folder: Path) -> str:
    result = CliRunner().invoke(command, ["--file", str(folder / "status.json")])
    assert result.exit_code == os.EX_UNAVAILABLE
    assert "systemctl" not in result.stdout
    return result.stdout


def test_a_demo_that_has_ended(demo: Path) -> None:
    step = f"start a demo: wattpost demo --dir {demo}"
    assert run_without_status(demo) == f"not running  agent  the demo in {demo} has ended; {step}\n"


def test_a_demo_that_is_starting(demo: Path) -> None:
    with own_folder(demo):
        for name in (EARLIER_DEMO, "agent.toml"):
            (demo / name).touch()
        assert f"the demo in {demo} is starting" in run_without_status(demo)


def test_a_demo_whose_agent_was_killed(demo: Path, gone: int) -> None:
    result = run(demo / "status.json", status(pid=gone))
    assert result.exit_code == os.EX_UNAVAILABLE
    assert f"see why: {demo / 'agent.log'}; start a demo: wattpost demo --dir {demo}" in result.stdout
    assert "journalctl" not in result.stdout


def test_the_usual_folder_of_the_demo_before_the_first_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_without_status(Path(".demo")).endswith(
        "no demo has run in .demo; start a demo: make demo, or wattpost demo\n"
    )


def test_a_process_is_known_by_its_number_and_its_time(gone: int) -> None:
    assert is_running(os.getpid(), CLOCK.mono_ms())
    assert not is_running(gone, CLOCK.mono_ms())
    assert not is_running(os.getpid(), 0), "this one began later than that"
    assert is_running(1, CLOCK.mono_ms())


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [
        (-5, "0.0 s"),
        (9_940, "9.9 s"),
        (10_000, "10 s"),
        (119_999, "119 s"),
        (120_000, "2 min"),
        (7_200_000, "2 h 0 min"),
        (172_799_999, "47 h 59 min"),
        (172_800_000, "2 d 0 h"),
    ],
)
def test_spans(duration_ms: int, text: str) -> None:
    assert span(duration_ms) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (7_680, "7.7 kB"), (999_600, "1 MB"), (512_000_000, "512 MB")],
)
def test_sizes(size_bytes: int, text: str) -> None:
    assert size(size_bytes) == text


def test_counts_and_units() -> None:
    assert [count(n, "batch", "batches") for n in (0, 1, 2_000)] == ["0 batches", "1 batch", "2,000 batches"]
    assert count(2, "record") == "2 records"
    assert [unit_of(name) for name in ("frequency", "power_factor_total", "my_own")] == ["Hz", "", ""]

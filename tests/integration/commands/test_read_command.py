"""`wattpost read` against simulated meters on a terminal and over TCP, and against nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.cli.main import main
from drivers.profile.files import find_profile

METERS = ("--meter", "eastron-sdm630:1", "--meter", "schneider-iem3155:2")
CONFIG = """[box]
id = "apt-1"
[[bus]]
name = "rs485"
port = "{port}"
[[meter]]
name = "main"
bus = "rs485"
unit = 1
model = "eastron-sdm630"
measurands = ["voltage_l1_n", "energy_active_import_total"]
[[meter]]
name = "heatpump"
bus = "rs485"
unit = 2
model = "schneider-iem3155"
[[meter]]
name = "lift"
bus = "rs485"
unit = {third}
model = "eastron-sdm630"
[uplink]
endpoint = "broker.example"
"""


@contextmanager
def simulator(*arguments: str) -> Iterator[str]:
    """Yields where it serves."""
    command = [sys.executable, "-m", "meter_sim", *METERS, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            assert line.startswith("ready "), line
            yield line.split()[1]
        finally:
            process.terminate()
            process.wait(timeout=5)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("simulator") / "served.jsonl"


@pytest.fixture(scope="module")
def tcp(served: Path) -> Iterator[str]:
    with simulator("--tcp", "127.0.0.1:0", "--served", str(served)) as port:
        yield port


@pytest.fixture
def read(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command; returns exit code, standard output and standard error."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["read", *(str(argument) for argument in arguments)])
        assert isinstance(caught.value.code, int)
        return (caught.value.code, *capsys.readouterr())

    return run


def config_for(folder: Path, port: str, third: int = 3) -> Path:
    path = folder / "agent.toml"
    path.write_text(CONFIG.format(port=port, third=third))
    return path


def last_values(served: Path, count: int) -> dict[str, float]:
    lines = [json.loads(line)["values"] for line in served.read_text().splitlines()[-count:]]
    return {name: value for line in lines for name, value in line.items()}


def test_a_meter_without_a_configuration(tcp: str, read: Any, served: Path) -> None:
    code, out, err = read("--port", tcp, "--model", "eastron-sdm630", "--unit", "1", "--all", "--json")
    assert (code, err) == (0, "")
    (document,) = json.loads(out)
    profile = find_profile("eastron-sdm630")
    told = last_values(served, 10)
    assert list(document["values"]) == [register.measurand for register in profile.registers]
    for register in profile.registers:
        step = float(register.resolution.step)
        assert abs(document["values"][register.measurand] - told[register.measurand]) <= step * 0.51
        assert document["units"][register.measurand] == register.meaning.unit
    assert document["quality"] == {}
    assert (document["model"], document["unit"], document["port"]) == ("eastron-sdm630", 1, tcp)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document["at"])
    assert "words" not in document
    assert "error" not in document


def test_the_table_with_the_registers_behind_each_value(tcp: str, read: Any) -> None:
    code, out, err = read("--port", tcp, "--model", "eastron-sdm630", "-m", "frequency", "-m", "voltage_l2_n", "--raw")
    assert (code, err) == (0, "")
    title, header, frequency, voltage = out.splitlines()
    assert re.fullmatch(rf"eastron-sdm630  unit 1 on {tcp} \(Modbus TCP\), read in \d+ ms", title)
    assert header.split() == ["measurand", "value", "unit", "quality", "from", "registers"]
    assert re.fullmatch(r"frequency +(49|50)\.\d\d +Hz +good +FC4 70 +4[0-9A-F]{3} [0-9A-F]{4}", frequency)
    assert re.fullmatch(r"voltage_l2_n +2\d\d\.\d +V +good +FC4 2 +43[0-9A-F]{2} [0-9A-F]{4}", voltage)


def test_the_example_of_the_manual_is_what_is_printed(tcp: str, read: Any) -> None:
    manual = (Path(__file__).parents[3] / "docs" / "commands.md").read_text()
    block = re.findall(r"^    \$ wattpost read (.*)\n((?:    .+\n)+)", manual, re.MULTILINE)[0]
    arguments, printed = block[0].replace("tcp://127.0.0.1:5020", tcp), block[1]
    _, out, _ = read(*arguments.split())
    assert shape(out) == shape(printed)


def shape(text: str) -> list[str]:
    """Its lines without what differs from run to run."""
    return [re.sub(r" +", " ", re.sub(r"\b[0-9A-F]{4}\b|[0-9.]+", "N", line.strip())) for line in text.splitlines()]


def test_raw_words_in_json(tcp: str, read: Any) -> None:
    arguments = ("--port", tcp, "--model", "schneider-iem3155", "--unit", "2", "-m", "energy_active_import_total")
    _, out, _ = read(*arguments, "--raw", "--json")
    (document,) = json.loads(out)
    (block,) = document["words"]
    words = b"".join(word.to_bytes(2, "big") for word in block["words"])
    assert int.from_bytes(words, "big") == document["values"]["energy_active_import_total"]


@pytest.mark.parametrize("as_json", [True, False])
def test_reading_after_reading_until_ctrl_c(tcp: str, as_json: bool) -> None:
    command = [sys.executable, "-m", "agent", "read", "--port", tcp, "--model", "eastron-sdm630", "-m", "frequency"]
    command += ["--watch=0.2", *(["--json"] if as_json else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
    if as_json:
        assert [set(json.loads(line)["values"]) for line in lines] == [{"frequency"}] * 3
    else:
        for line in lines:
            assert re.fullmatch(r"20\d\d-\S+Z eastron-sdm630 frequency=(49|50)\.\d+Hz\n", line)


def test_a_table_that_changes_in_a_terminal(tcp: str) -> None:
    command = [sys.executable, "-m", "agent", "read", "--port", tcp, "--model", "eastron-sdm630", "--watch=0.2"]
    keyboard, screen = os.openpty()
    low = {**os.environ, "LINES": "8", "TERM": "xterm"}  # too low for all values
    with subprocess.Popen(
        command, stdin=screen, stdout=screen, stderr=screen, env=low, start_new_session=True
    ) as process:
        shown = ""
        while shown.count("Ctrl-C ends") < 2:
            shown += os.read(keyboard, 4096).decode()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    os.close(screen)
    os.close(keyboard)
    assert "change" in shown
    assert shown.index("Ctrl-C ends") < shown.index("change")
    assert "; Ctrl-C ends and shows " in shown
    assert "Traceback" not in shown


def test_several_meters_and_the_one_that_does_not_answer_stops_no_other(tcp: str, read: Any, tmp_path: Path) -> None:
    config = config_for(tmp_path, tcp)
    code, out, err = read("--config", config)
    assert code == 1
    assert re.search(r"^main  eastron-sdm630, unit 1", out, re.MULTILINE)
    assert re.search(r"^heatpump  schneider-iem3155, unit 2", out, re.MULTILINE)
    assert "lift" not in out
    assert "of meter lift (unit 3 on rs485): " in err
    assert err.splitlines()[-1] == "2 of 3 meters answered"
    code, out, _ = read("--config", config, "--json")
    main_document, _, lift = json.loads(out)
    assert list(main_document["values"]) == ["voltage_l1_n", "energy_active_import_total"]
    assert lift["values"] == {}
    assert set(lift["error"]) == {"reason", "text"}


def test_meters_by_name_with_measurands_of_choice(tcp: str, read: Any, tmp_path: Path) -> None:
    config = config_for(tmp_path, tcp)
    code, out, err = read("--config", config, "heatpump", "main", "-m", "frequency", "--json")
    assert (code, err) == (0, "")
    assert [(d["meter"], list(d["values"])) for d in json.loads(out)] == [
        ("main", ["frequency"]),
        ("heatpump", ["frequency"]),
    ]


def test_no_meter_answers(tcp: str, read: Any) -> None:
    code, out, err = read("--port", tcp, "--model", "eastron-sdm630", "--unit", "99")
    assert (code, out) == (69, "")
    assert err.count("\n") == 1
    assert err.startswith("Error: read registers ")
    assert "(unit 99 on 127.0.0.1:" in err


def test_a_line_that_is_not_there_is_tried_once_and_said_once(read: Any, tmp_path: Path) -> None:
    config = config_for(tmp_path, "/dev/ttyNOTHERE")
    code, out, err = read("--config", config)
    assert (code, out) == (69, "")
    assert err.count("open line rs485 (/dev/ttyNOTHERE): no such device; plug the adapter in") == 1


def test_a_port_that_nobody_listens_on(read: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    code, _, err = read("--port", f"tcp://127.0.0.1:{port}", "--model", "eastron-sdm630")
    assert code == 69
    assert f"open port tcp://127.0.0.1:{port}: connection refused; check the port number" in err


@pytest.mark.parametrize("unit", [0, 255])
def test_units_that_devices_on_a_network_have_for_themselves(read: Any, unit: int) -> None:
    with simulator("--tcp", "127.0.0.1:0", "--meter", f"eastron-sdm630:{unit}") as url:
        code, out, err = read("--port", url, "--model", "eastron-sdm630", "--unit", str(unit))
    assert (code, err) == (0, "")
    assert f"unit {unit} on {url}" in out


def test_a_terminal_with_settings_of_choice(read: Any, tmp_path: Path) -> None:
    with simulator("--pty", str(tmp_path / "bus")) as port:
        code, out, err = read("--port", port, "--model", "eastron-sdm630", "--baudrate", "19200", "--parity", "E")
        assert (code, err) == (0, "")
        assert f"unit 1 on {port} (19200 8E1)" in out
        code, out, _ = read("--port", port, "--model", "schneider-iem3155", "--unit", "2", "--stopbits", "2", "--json")
        assert code == 0
        assert "frequency" in json.loads(out)[0]["values"]


def test_settings_that_a_device_refuses_are_named(read: Any, tmp_path: Path) -> None:
    """A pseudo-terminal refuses parity where nothing else changes."""
    with simulator("--pty", str(tmp_path / "bus")) as port:
        for parity in ("N", "E"):
            code, _, err = read("--port", port, "--model", "eastron-sdm630", "--baudrate", "9600", "--parity", parity)
            assert "Errno" not in err
            assert "Invalid argument" not in err
        assert code == 0 or "the device cannot do 9600 8E1; set another speed or parity" in err


def test_a_terminal_that_another_program_has_locked(read: Any, tmp_path: Path) -> None:
    hold = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    with simulator("--pty", str(tmp_path / "bus")) as port:
        command = [sys.executable, "-c", hold, port]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            code, _, err = read("--port", port, "--model", "eastron-sdm630")
            holder.communicate("\n")
    assert code == 69
    assert f"(pid {holder.pid}); stop that program" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "eastron-sdm630"], "--model needs --port"),
        (["--baudrate", "9600"], "--baudrate needs --port"),
        (["--port", "/dev/null"], "--port needs --model"),
        (["--port", "/dev/null", "--model", "eastron-sdm631"], "did you mean 'eastron-sdm630'?"),
        (["--port", "/dev/null", "--model", "eastron-sdm630", "main"], "or --port, not both"),
        (["--port", "tcp://:x", "--model", "eastron-sdm630"], "is not tcp://host:port"),
        (["--port", "tcp://", "--model", "eastron-sdm630"], "is not tcp://host:port"),
        (["--port", "/dev/null", "--model", "eastron-sdm630", "-m", "frequenci"], "did you mean 'frequency'?"),
        (["--port", "/dev/null", "--model", "eastron-sdm630", "-m", "x", "--all"], "exclude each other"),
        (["--watch", "main"], "'main' is not a number of seconds; write --watch last, or --watch=2"),
        (["--watch=0"], "0 s is out of range; give 0.1 to 86400"),
        (
            ["--port", "/dev/null", "--model", "eastron-sdm630", "--unit", "248"],
            "--unit 248: no meter on a serial line can have it",
        ),
    ],
    ids=str,
)
def test_wrong_usage(read: Any, arguments: Sequence[str], message: str) -> None:
    code, _, err = read(*arguments)
    assert code == 64
    assert message in err


def test_what_is_not_in_the_configuration(read: Any, tmp_path: Path) -> None:
    config = config_for(tmp_path, "tcp://127.0.0.1:1")
    code, _, err = read("--config", config, "mian")
    assert code == 64
    assert "there is no meter 'mian' in the configuration; did you mean 'main'?" in err
    code, _, err = read("--config", config, "zzz")
    assert "it has: main, heatpump, lift" in err


def test_a_configuration_with_mistakes_or_without_meters(read: Any, tmp_path: Path) -> None:
    config = config_for(tmp_path, "nonsense")
    code, _, err = read("--config", config)
    assert code == 78
    assert f"{config}:5: bus[0].port: " in err
    assert "wattpost read --port PORT --model MODEL" in err
    config.write_text('[box]\nid = "apt-1"\n[uplink]\nendpoint = "broker.example"\n')
    code, _, err = read("--config", config)
    assert code == 78
    assert "no [[meter]] is configured; add a [[bus]] and a [[meter]]" in err

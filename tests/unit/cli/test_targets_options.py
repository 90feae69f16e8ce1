"""What `wattpost read` says of a line and a model that are given by options, before anything is opened."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from agent.cli.shared.targets import LineOptions, Wanted, described
from agent.settings import SettingsError, parse


def test_an_address_without_tcp_is_told_from_a_device(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError) as caught:
        described(LineOptions("127.0.0.1:5020"), "eastron-sdm630", 1, Wanted(), tmp_path)
    assert caught.value.message == (
        '--port is "127.0.0.1:5020"; expected a device path that begins with "/", or "tcp://host:port"; '
        'did you mean "tcp://127.0.0.1:5020"?'
    )


@pytest.mark.parametrize("port", ["192.168.1.5", "meter.local", "ttyUSB0", "COM3", "fe80::1", "http://192.168.1.5"])
def test_commands_say_of_a_port_what_check_config_says(port: str, tmp_path: Path) -> None:
    config = f'[[bus]]\nname = "a"\nport = "{port}"\n'
    with pytest.raises(SettingsError) as refused:
        parse(config.encode(), tmp_path / "agent.toml")
    (said,) = [mistake for mistake in refused.value.mistakes if mistake.path == "bus[0].port"]
    with pytest.raises(click.UsageError) as caught:
        described(LineOptions(port, option="--against"), "eastron-sdm630", 1, Wanted(), tmp_path)
    assert caught.value.message == f"--against {said.problem}; {said.expected}"


def test_a_device_in_this_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ttyV0").touch()
    assert described(LineOptions("ttyV0"), "eastron-sdm630", 1, Wanted(), tmp_path).profile.model == "eastron-sdm630"


def test_an_unknown_model_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError) as caught:
        described(LineOptions("/dev/ttyUSB0"), "sdm63O", 1, Wanted(), tmp_path)
    assert caught.value.message.startswith("--model sdm63O: no profile of this name, did you mean ")


def test_a_model_that_is_nearly_right_is_not_buried_under_all_others(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError) as caught:
        described(LineOptions("/dev/ttyUSB0"), "eastron-sdm63", 1, Wanted(), tmp_path)
    assert "did you mean 'eastron-sdm630' or 'eastron-sdm630-mct'?" in caught.value.message
    assert "abb-b23" not in caught.value.message


def test_settings_of_a_serial_line_are_useless_on_tcp(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    described(LineOptions("tcp://127.0.0.1:502"), "eastron-sdm630", 1, Wanted(), tmp_path)
    assert capsys.readouterr().err == ""
    described(LineOptions("tcp://127.0.0.1:502", 9600, "N"), "eastron-sdm630", 1, Wanted(), tmp_path)
    assert capsys.readouterr().err == "warning: --baudrate, --parity have no effect on a tcp:// line\n"


@pytest.mark.parametrize(
    ("model", "port", "unit", "expected"),
    [
        ("mbus-heat", "/dev/ttyUSB0", 250, ""),
        ("mbus", "/dev/ttyUSB0", 0, ""),
        ("mbus-water", "tcp://127.0.0.1:502", 254, ""),
        ("mbus", "/dev/ttyUSB0", 251, "no meter on an M-Bus can have it; give 0 to 250, or 254 for"),
        ("mbus", "tcp://127.0.0.1:502", 255, "no meter on an M-Bus can have it; give 0 to 250, or 254"),
        ("eastron-sdm630", "/dev/ttyUSB0", 250, "no meter on a serial line can have it; give 1 to 247"),
        ("eastron-sdm630", "tcp://127.0.0.1:502", 255, ""),
        ("dsmr-p1", "/dev/ttyUSB0", 250, ""),
    ],
)
def test_each_protocol_has_addresses_of_its_own(
    model: str, port: str, unit: int, expected: str, tmp_path: Path
) -> None:
    if not expected:
        described(LineOptions(port), model, unit, Wanted(), tmp_path)
        return
    with pytest.raises(click.UsageError) as caught:
        described(LineOptions(port), model, unit, Wanted(), tmp_path)
    assert expected in caught.value.message

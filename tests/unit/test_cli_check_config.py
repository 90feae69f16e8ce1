"""`wattpost check-config` as a person and a script see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent.cli.check_config import command

PEM = "-----BEGIN {0}-----\nAAAA\n-----END {0}-----\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_text(PEM.format("CERTIFICATE"))
    (tmp_path / "cert.pem").write_text(PEM.format("CERTIFICATE"))
    key = tmp_path / "device.key"
    key.write_text(PEM.format("EC PRIVATE KEY"))
    key.chmod(0o600)
    path = tmp_path / "agent.toml"
    path.write_text("""[box]
id = "apt-1"
[[bus]]
name = "tcp"
port = "tcp://127.0.0.1:502"
[[meter]]
name = "main"
bus = "tcp"
model = "eastron-sdm630"
[uplink]
endpoint = "broker.example"
ca = "ca.pem"
cert = "cert.pem"
key = "device.key"
""")
    return path


def run(config: Path, *options: str) -> Result:
    return CliRunner().invoke(command, ["--config", str(config), *options])


def test_a_good_file_is_summed_up(config: Path) -> None:
    result = run(config)
    assert result.exit_code == 0, result.output
    assert "is good: box apt-1" in result.stdout
    assert "meter main: eastron-sdm630, unit 1 on tcp://127.0.0.1:502, every 10s" in result.stdout
    assert result.stderr == ""


def test_all_mistakes_are_printed_with_file_and_line(config: Path) -> None:
    config.write_text(config.read_text().replace("apt-1", "apt 1").replace("eastron-sdm630", "eastron"))
    result = run(config)
    assert result.exit_code == 78
    assert f"{config}:2: box.id: " in result.stderr
    assert f"{config}:9: meter[0].model: " in result.stderr
    assert "2 mistakes" in result.stderr


def test_json_for_scripts(config: Path) -> None:
    config.write_text(config.read_text().replace("apt-1", "apt 1"))
    result = run(config, "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 78
    assert document["ok"] is False
    assert document["mistakes"][0] | {"problem": ""} == {
        "path": "box.id",
        "line": 2,
        "problem": "",
        "expected": "expected 1 to 128 letters, digits, and : _ -",
    }


def test_a_key_that_others_can_read_is_a_mistake_with_the_command_that_mends_it(config: Path) -> None:
    key = config.with_name("device.key")
    key.chmod(0o644)
    result = run(config)
    assert result.exit_code == 78
    assert f"{config}:14: uplink.key: " in result.stderr
    assert f"chmod 600 {key}" in result.stderr


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "device.key"])
def test_a_missing_file_is_a_mistake(config: Path, name: str) -> None:
    config.with_name(name).unlink()
    result = run(config)
    assert result.exit_code == 78
    assert f'{name}" cannot be read: No such file or directory' in result.stderr
    assert run(config, "--no-files").exit_code == 0


def test_a_key_in_place_of_the_certificate_is_a_mistake(config: Path) -> None:
    config.with_name("cert.pem").write_text(PEM.format("EC PRIVATE KEY"))
    assert "is not a PEM file with a CERTIFICATE" in run(config).stderr


def test_a_credential_is_looked_at_where_systemd_gave_it(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text(config.read_text().replace("device.key", "credential:device.key"))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    outside = run(config)
    assert outside.exit_code == 0
    assert "warning: " in outside.stderr
    assert "needs the systemd unit" in outside.stderr
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(config.parent))
    assert run(config).stderr == ""


def test_a_line_that_is_not_there_is_a_warning(config: Path) -> None:
    config.write_text(config.read_text().replace("tcp://127.0.0.1:502", "/dev/ttyNOTHERE"))
    result = run(config)
    assert result.exit_code == 0
    assert f'warning: {config}:5: bus[0].port: "/dev/ttyNOTHERE" is not there' in result.stderr

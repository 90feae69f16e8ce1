"""`wattpost check-config` as a person and a script see it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from broker import Authority, Days
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives import serialization

from agent.cli.check_config import command

PEM = "-----BEGIN {0}-----\nAAAA\n-----END {0}-----\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def config(tmp_path: Path, authority: Authority) -> Path:
    cert, key = authority.issue("apt-1")
    authority.ca.rename(tmp_path / "ca.pem")
    cert.rename(tmp_path / "cert.pem")
    key.rename(tmp_path / "device.key")
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


def test_files_are_looked_at_beside_other_mistakes(config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text().replace("apt-1", "apt 1").replace('"cert.pem"', '"gone.pem"'))
    (tmp_path / "device.key").chmod(0o644)
    result = run(config)
    assert result.exit_code == 78
    told = [line.split(": ")[1] for line in result.stderr.splitlines()[:-1]]
    assert told == ["box.id", "uplink.cert", "uplink.key"]
    assert "3 mistakes" in result.stderr


def test_a_file_that_is_named_wrongly_is_one_mistake(config: Path) -> None:
    config.write_text(config.read_text().replace('"device.key"', '"pkcs11:token=a"').replace('"ca.pem"', "7"))
    told = [line.split(": ")[1] for line in run(config).stderr.splitlines()[:-1]]
    assert told == ["uplink.ca", "uplink.key"]


def test_a_folder_that_is_not_there_yet_is_a_warning(config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text() + '[buffer]\npath = "data/buffer.db"\n')
    result = run(config)
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    folder = tmp_path / "data"
    assert line == f'warning: {config}:16: buffer.path: there is no folder "{folder}"; create it: mkdir -p {folder}'


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


def test_what_is_wrong_with_a_file_has_the_same_keys_for_scripts(config: Path) -> None:
    key = config.with_name("device.key")
    key.chmod(0o640)
    config.with_name("cert.pem").unlink()
    document = json.loads(run(config, "--json").stdout)
    (mistake,), (warning,) = document["mistakes"], document["warnings"]
    assert set(document) == {"file", "ok", "revision", "mistakes", "warnings"}
    assert set(mistake) == set(warning) == {"path", "line", "problem", "expected"}
    assert (mistake["path"], mistake["line"]) == ("uplink.cert", 13)
    assert (warning["path"], warning["line"]) == ("uplink.key", 14)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o666])
def test_a_key_file_that_others_have_access_to_is_a_mistake(config: Path, mode: int) -> None:
    key = config.with_name("device.key")
    key.chmod(mode)
    line = only_line(run(config))
    assert line.startswith(f'{config}:14: uplink.key: "{key}" has mode {mode:04o}, so every user of this machine has')
    assert f"chmod 600 {key}" in line


@pytest.mark.parametrize("mode", [0o640, 0o660, 0o620])
def test_a_key_file_that_its_group_has_access_to_is_a_warning(config: Path, mode: int) -> None:
    key = config.with_name("device.key")
    key.chmod(mode)
    result = run(config)
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith(f'warning: {config}:14: uplink.key: "{key}" has mode {mode:04o}, so the file\'s group has ')
    assert f"chmod 600 {key}" in line


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
    config.with_name("device.key").chmod(0o440)  # as systemd does, with an access list for the unit's user
    assert run(config).stderr == ""


def test_a_line_that_is_not_there_is_a_warning(config: Path) -> None:
    config.write_text(config.read_text().replace("tcp://127.0.0.1:502", "/dev/ttyNOTHERE"))
    result = run(config)
    assert result.exit_code == 0
    assert f'warning: {config}:5: bus[0].port: "/dev/ttyNOTHERE" is not there' in result.stderr


def test_the_file_may_be_given_without_its_option(config: Path) -> None:
    assert CliRunner().invoke(command, [str(config)]).exit_code == 0
    twice = CliRunner().invoke(command, [str(config), "--config", str(config)])
    assert twice.exit_code == 2
    assert "once" in twice.stderr


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert result.exit_code == 78
    cause, _ = result.stderr.splitlines()
    assert cause == f"{tmp_path}: cannot be read: Is a directory; name the file in it, such as {tmp_path}/agent.toml"


def test_a_file_that_this_user_may_not_read(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of others and mode 640, as it is on a box. Root, who may read everything, has to have it acted."""

    def denied(path: Path, *_arguments: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "access", lambda *_arguments, **_options: False)
    monkeypatch.setattr(Path, "open", denied)
    result = CliRunner().invoke(command, [str(config)])
    assert result.exit_code == 78
    assert f"{config}: cannot be read: Permission denied; run this with sudo, or make it readable" in result.stderr


def test_mistakes_of_all_kinds_and_warnings_come_at_once(config: Path) -> None:
    text = config.read_text().replace("apt-1", "apt 1").replace('"tcp"\nport', '"tcp"\nbaudrate = 9600\nport')
    config.write_text(text + 'topic = "wattpost/#"\n')
    result = run(config)
    assert f"{config}:2: box.id: " in result.stderr
    assert "uplink.topic: topic 'wattpost/#': wildcards" in result.stderr
    assert f"warning: {config}:5: bus[0].baudrate: has no effect on a tcp:// line; leave it out" in result.stderr
    assert "2 mistakes" in result.stderr


# What is inside of certificate, key and CA


def only_line(result: Result) -> str:
    """What is said of one thing that is wrong, without the summary."""
    assert result.exit_code == 78, result.output
    line, summary = result.stderr.splitlines()
    assert "1 mistake" in summary
    return line


def replace(path: Path, source: Path) -> None:
    path.write_bytes(source.read_bytes())
    path.chmod(0o600)


def test_a_key_of_another_certificate(config: Path, authority: Authority) -> None:
    replace(config.with_name("device.key"), authority.issue("other")[1])
    line = only_line(run(config))
    assert line.startswith(f'{config}:14: uplink.key: "{config.with_name("device.key")}" is not the key of ')
    assert line.endswith("; use the certificate and the key that were issued together for this box")


@pytest.mark.parametrize(("name", "key"), [("ca.pem", "ca"), ("cert.pem", "cert"), ("device.key", "key")])
@pytest.mark.parametrize("damage", [lambda s: s[: len(s) // 2] + "\n" + s[-30:], lambda s: s.replace("M", "!")])
def test_a_damaged_file(config: Path, name: str, key: str, damage: Callable[[str], str]) -> None:
    path = config.with_name(name)
    path.write_text(damage(path.read_text()))
    line = only_line(run(config))
    assert f'uplink.{key}: "{path}" is damaged; copy it again, as it was issued' in line


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_a_key_with_a_password_is_said_and_nothing_is_asked(config: Path, form: serialization.PrivateFormat) -> None:
    path = config.with_name("device.key")
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    protection = serialization.BestAvailableEncryption(b"secret")
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, protection))
    line = only_line(run(config))
    assert "is protected by a password" in line
    step = line.partition("take it off: ")[2].replace("openssl pkey", "openssl pkey -passin pass:secret")
    subprocess.run(["sh", "-c", step], capture_output=True, timeout=30, check=True)
    assert run(config).stderr == ""


@pytest.mark.parametrize(
    ("days", "says"),
    [((-10, -1), "expired on 20"), ((5, 10), "is valid only from 20")],
    ids=["expired", "not yet"],
)
@pytest.mark.parametrize("name", ["ca", "cert"])
def test_a_certificate_out_of_its_time(config: Path, tmp_path: Path, name: str, days: Days, says: str) -> None:
    config.write_text(config.read_text() + '[clock]\nsource = "system"\n')
    (tmp_path / "new").mkdir()
    authority = Authority(tmp_path / "new", days=days)
    cert, key = authority.issue("apt-1", days)
    if name == "ca":
        replace(config.with_name("ca.pem"), authority.ca)
    else:
        replace(config.with_name("cert.pem"), cert)
        replace(config.with_name("device.key"), key)
    line = only_line(run(config))
    assert f'uplink.{name}: "{config.with_name(name + ".pem")}" {says}' in line


def test_a_certificate_that_expires_soon_is_a_warning(config: Path, authority: Authority) -> None:
    cert, key = authority.issue("apt-1", (-1, 20.5))
    replace(config.with_name("cert.pem"), cert)
    replace(config.with_name("device.key"), key)
    result = run(config)
    assert result.exit_code == 0
    assert f'warning: {config}:13: uplink.cert: "{cert.with_name("cert.pem")}" expires on 20' in result.stderr
    assert "in 20 days; have a new one issued" in result.stderr


def test_a_certificate_of_a_box_in_place_of_the_root_is_a_warning(config: Path) -> None:
    replace(config.with_name("ca.pem"), config.with_name("cert.pem"))
    result = run(config)
    assert result.exit_code == 0
    assert "may not sign others" in result.stderr

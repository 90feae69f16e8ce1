"""What a scan adds to a configuration: new tables only, names that are free, ports that last."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli.scan import write as scan_write
from agent.cli.scan.run import FoundMeter
from agent.cli.scan.write import WriteError, add_to, check, tables
from agent.core.metering.scan_plan import Setting
from agent.settings import BusSettings, load
from drivers.modbus.identify import Identified, ModelCandidate

NINE = Setting(9600, "N", 1)
MINIMAL = '# mine\n[box]\nid = "apt-1"\n[uplink]\nendpoint = "broker.example"  # the broker'


def found(
    port: str = "/dev/ttyUSB0", unit: int = 1, *models: str, sure: float = 0.9, sends: bool = False
) -> FoundMeter:
    setting = None if port.startswith("tcp:") else NINE
    candidates = tuple(ModelCandidate(model, "Some", sure, "its mark") for model in models or ("eastron-sdm630",))
    return FoundMeter(port, setting, unit, Identified(candidates, "123"), sends=sends)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(MINIMAL)
    return path


def test_everything_else_stays_as_it_is_without_a_last_line_end_too(config: Path) -> None:
    add_to(config, [found(), found(unit=2), found("tcp://10.0.0.7:502", 3, "abb-b23")])
    assert config.read_text().startswith(MINIMAL + "\n\n[[bus]]\n")
    settings = load(config)
    assert [(bus.name, bus.port, bus.baudrate) for bus in settings.buses] == [
        ("rs485", "/dev/ttyUSB0", 9600),
        ("tcp-10.0.0.7", "tcp://10.0.0.7:502", None),
    ]
    assert [(meter.name, meter.bus, meter.unit) for meter in settings.meters] == [
        ("sdm630", "rs485", 1),
        ("sdm630-2", "rs485", 2),
        ("b23", "tcp-10.0.0.7", 3),
    ]
    assert config.with_name("agent.toml.bak").read_text() == MINIMAL


def test_a_second_backup_does_not_take_the_place_of_the_first(config: Path) -> None:
    add_to(config, [found()])
    add_to(config, [found(unit=9)])
    assert config.with_name("agent.toml.bak").read_text() == MINIMAL
    assert "unit = 1" in config.with_name("agent.toml.bak2").read_text()


def test_models_that_look_alike_are_named_in_a_comment(config: Path) -> None:
    add_to(config, [found("/dev/ttyUSB0", 1, "eastron-sdm220", "eastron-sdm230", sure=0.4)])
    assert "# It may also be eastron-sdm230: look at the type on the meter.\n[[meter]]" in config.read_text()
    assert load(config).meters[0].model == "eastron-sdm220"


def test_what_cannot_be_written_is_said() -> None:
    unknown = FoundMeter("/dev/ttyUSB0", NINE, 5, Identified())
    made = tables([unknown, found("/dev/ttyUSB1", 255)], [], [])
    assert made.text == ""
    assert made.said == [
        "unit 5 on /dev/ttyUSB0: not written: its model is unknown; make one: wattpost new-profile",
        (
            "unit 255 on /dev/ttyUSB1: not written: its unit id is not valid on a serial line; "
            "set one from 1 to 247 on the meter"
        ),
    ]


def test_the_unit_ids_of_devices_on_a_network_are_written_once(config: Path) -> None:
    """255 and 0 are the device itself, which may be found under both, and under another one."""
    tcp, other = "tcp://10.0.0.7:502", "tcp://10.0.0.8:502"
    said = add_to(
        config, [found(tcp, 255), found(tcp, 0), found(other, 3), found(other, 0), found(other, 255, "abb-b23")]
    )
    assert [(meter.unit, meter.model) for meter in load(config).meters] == [
        (255, "eastron-sdm630"),
        (3, "eastron-sdm630"),
        (255, "abb-b23"),
    ]
    assert "unit 0 on tcp://10.0.0.7:502: not written: it may be the same meter as unit 255" in said
    assert "unit 0 on tcp://10.0.0.8:502: not written: it may be the same meter as unit 3" in said


def test_a_bus_that_is_there_takes_the_meter_if_its_settings_allow() -> None:
    bus = BusSettings("mine", "/dev/ttyUSB0", None, None, None)
    made = tables([found(unit=4)], [bus], [("mine", 1, "sdm630")])
    assert "[[bus]]" not in made.text
    assert 'name = "sdm630-2"\nbus = "mine"\nunit = 4' in made.text
    other = BusSettings("mine", "/dev/ttyUSB0", 19200, None, None)
    made = tables([found(unit=4)], [other], [])
    assert made.text == ""
    assert "not written: bus mine of the configuration has other settings; change them to 9600 8N1" in made.said[0]


def test_a_port_is_written_by_the_name_that_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path / "ttyUSB7"
    device.touch()
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    (by_id / "usb-FTDI-if00").symlink_to(device)
    monkeypatch.setattr(scan_write, "BY_ID", by_id)
    made = tables([found(str(device))], [], [])
    assert f'port = "{by_id}/usb-FTDI-if00"' in made.text
    assert tables([found("/dev/other")], [], []).said[0] == "added bus rs485 (/dev/other)"


def test_texts_of_a_meter_cannot_break_the_file(config: Path) -> None:
    nasty = ModelCandidate("eastron-sdm630", "Some", 0.9, 'says "x"\n[[meter]]\x07')
    add_to(config, [FoundMeter("/dev/ttyUSB0", NINE, 1, Identified((nasty,), "1\n2"))])
    assert len(load(config).meters) == 1


def test_a_file_that_cannot_be_appended_to_is_left_alone(config: Path) -> None:
    text = f'bus = [{{ name = "a", port = "/dev/ttyS9" }}]\n{MINIMAL}\n'
    config.write_text(text)
    with pytest.raises(WriteError, match="nothing was written; add these"):
        add_to(config, [found()])
    assert config.read_text() == text
    assert list(config.parent.glob("agent.toml.*")) == []


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"cannot read .*copy config/agent.example.toml there"):
        add_to(tmp_path / "none.toml", [found()])


def test_a_port_is_written_with_its_whole_path(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    add_to(config, [found("../line")])
    assert load(config).buses[0].port == str(tmp_path.parent / "line")


def test_a_meter_is_not_called_by_a_number_alone(config: Path) -> None:
    add_to(config, [found("/dev/ttyUSB0", 1, "sunspec-203"), found("/dev/ttyUSB0", 2, "wago-879-3000")])
    assert [meter.name for meter in load(config).meters] == ["sunspec-203", "879-3000"]


def test_what_cannot_be_written_is_said_before_the_scan(config: Path, tmp_path: Path) -> None:
    check(config)
    with pytest.raises(WriteError, match=r"cannot read .*none.toml: No such file .*copy config/agent.example.toml"):
        check(tmp_path / "none.toml")
    with pytest.raises(WriteError, match=r"cannot read .*: Is a directory; name the file in it, such as .*/agent.toml"):
        check(tmp_path)
    config.write_text("[box]\n")
    with pytest.raises(WriteError, match="correct this first"):
        check(config)

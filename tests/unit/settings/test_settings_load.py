"""Configuration files: good ones, and every way to be wrong, all reported at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.settings import Settings, SettingsError, load, parse
from drivers.profile.files import shipped_profiles

FILE = Path("/etc/wattpost/agent.toml")
MINIMAL = """
[box]
id = "apt-0123"
[uplink]
endpoint = "broker.example"
"""
ONE_METER = (
    MINIMAL
    + """
[[bus]]
name = "rs485"
port = "/dev/ttyUSB0"
[[meter]]
name = "main"
bus = "rs485"
model = "eastron-sdm630"
"""
)


def settings(text: str) -> Settings:
    return parse(text.encode(), FILE)


def mistakes(text: str) -> dict[str, str]:
    """Key path -> what is said about it."""
    with pytest.raises(SettingsError) as caught:
        settings(text)
    return {mistake.path: str(mistake) for mistake in caught.value.mistakes}


def test_a_minimal_file_has_all_defaults() -> None:
    found = settings(MINIMAL)
    assert found.box.id == "apt-0123"
    assert found.clock.source == "ntp"
    assert (found.buses, found.meters) == ((), ())
    assert found.buffer.path == Path("/var/lib/wattpost/buffer.db")
    assert (found.buffer.max_size_bytes, found.buffer.durability_ms) == (512_000_000, 5_000)
    assert (found.batch.max_age_ms, found.batch.max_bytes) == (300_000, 3600)
    uplink = found.uplink
    assert (uplink.port, uplink.key, uplink.confirm, uplink.fleet_size) == (8883, "credential:device.key", "receipt", 1)
    assert (uplink.topic, uplink.receipts) == ("$aws/rules/wattpost_batch/apt-0123", "wattpost/apt-0123/receipts")
    assert (uplink.keep_alive_s, uplink.confirm_interval_ms) == (60, 3_600_000)
    assert found.status_path == Path("/run/wattpost/status.json")
    assert [warning.problem for warning in found.warnings] == ["no [[meter]] is configured, so nothing will be read"]


def test_a_meter_has_its_defaults() -> None:
    (meter,) = settings(ONE_METER).meters
    assert (meter.unit, meter.interval_ms, meter.ct_ratio, meter.measurands, meter.point) == (
        1,
        10_000,
        1.0,
        None,
        None,
    )


def test_paths_are_seen_from_the_folder_of_the_file() -> None:
    found = settings(MINIMAL + 'cert = "certs/x.pem"\nkey = "certs/x.key"\n[buffer]\npath = "b.db"')
    assert found.uplink.cert == Path("/etc/wattpost/certs/x.pem")
    assert found.uplink.key == "/etc/wattpost/certs/x.key"
    assert found.buffer.path == Path("/etc/wattpost/b.db")


def test_the_revision_follows_the_bytes() -> None:
    assert settings(MINIMAL).revision == settings(MINIMAL).revision
    assert settings(MINIMAL).revision != settings(MINIMAL + "# changed").revision


def test_all_mistakes_come_at_once_in_the_order_of_the_file() -> None:
    text = """[box]
id = "apt 0123"
[[bus]]
name = "rs485"
port = "ttyUSB0"
[[meter]]
name = "main"
bus = "rs486"
unit = 300
model = "eastron-sdm63"
interval = 10
[buffer]
durabilty = "5s"
[uplink]
endpoint = "mqtts://broker:8883"
"""
    with pytest.raises(SettingsError) as caught:
        settings(text)
    assert [(m.path, m.line) for m in caught.value.mistakes] == [
        ("box.id", 2),
        ("bus[0].port", 5),
        ("meter[0].bus", 8),
        ("meter[0].unit", 9),
        ("meter[0].model", 10),
        ("meter[0].interval", 11),
        ("buffer.durabilty", 13),
        ("uplink.endpoint", 15),
    ]
    assert str(caught.value).splitlines()[0].startswith(f'{FILE}:2: box.id: is "apt 0123"; expected 1 to 128')


@pytest.mark.parametrize(
    ("line", "path", "said"),
    [
        ("[buffer]\ndurabilty = '5s'", "buffer.durabilty", "did you mean 'durability'?"),
        ("[buffer]\nfleet_size = 3", "buffer.fleet_size", "it belongs in [uplink]"),
        ("[buffer]\nxyzzy = 3", "buffer.xyzzy", "known here: path, max_size, durability"),
        ("[[meters]]\nname = 'x'", "meters", "did you mean 'meter'?"),
        ("[bus]\nname = 'x'\nport = '/dev/x'", "bus", "double brackets: [[bus]]"),
        ("[[buffer]]\npath = 'x'", "buffer", "single brackets: [buffer]"),
        ("bus = 3", "uplink.bus", "is not a known key"),
        ("port = '8883'", "uplink.port", "which is text because of its quotes"),
        ("port = 0", "uplink.port", "expected a whole number from 1 to 65535"),
        ("port = true", "uplink.port", "is true; expected a whole number"),
        ("confirm = 'recipt'", "uplink.confirm", 'expected "receipt" or "puback"'),
        ("keep_alive = '10s'", "uplink.keep_alive", "from 30s to 20min"),
        ("keep_alive = 60", "uplink.keep_alive", "which has no quotes"),
        ("key = 'pkcs11:token=x'", "uplink.key", "which this version cannot use yet"),
        ("key = 'credential:'", "uplink.key", "expected a name of a systemd credential"),
        ("key = 'credential:../x'", "uplink.key", "expected a name of a systemd credential"),
        ("topic = 'a/+/b'", "uplink.topic", "wildcards"),
        ("topic = 'a/{site}'", "uplink.topic", "only {box} is known"),
        ("receipts = '#'\ncert = 3", "uplink.cert", "is 3, which has no quotes"),
        ('ca = "a\\u0000b"', "uplink.ca", "control character"),
        ("[batch]\nmax_age = '5 min'", "batch.max_age", 'is "5 min"; expected a duration'),
        ("[batch]\nmax_age = '2d'", "batch.max_age", "from 1s to 1d"),
        (f"[batch]\nmax_age = '{'9' * 400}d'", "batch.max_age", "from 1s to 1d"),
        ("[batch]\nmax_bytes = 511", "batch.max_bytes", "from 512 to 131072"),
        ("[buffer]\nmax_size = '512'", "buffer.max_size", 'such as "512MB"'),
        ("[buffer]\nmax_size = '1kB'", "buffer.max_size", "from 1MB"),
        ("[clock]\nsource = 'gps'", "clock.source", '"ntp" or "system"'),
        ("[status]\npath = ''", "status.path", "expected a file path"),
    ],
)
def test_one_mistake(line: str, path: str, said: str) -> None:
    assert said in mistakes(MINIMAL + line)[path]


@pytest.mark.parametrize(
    ("line", "path", "said"),
    [
        ("unit = 0", "meter[0].unit", "from 1 to 247"),
        ("unit = 248", "meter[0].unit", "from 1 to 247"),
        ("unit = 256", "meter[0].unit", "from 0 to 255"),
        ("unit = 1.5", "meter[0].unit", "is 1.5"),
        ("interval = '50ms'", "meter[0].interval", "from 100ms"),
        ("ct_ratio = 0", "meter[0].ct_ratio", "a number above 0"),
        ("ct_ratio = nan", "meter[0].ct_ratio", "a number above 0"),
        ("ct_ratio = inf", "meter[0].ct_ratio", "a number above 0"),
        ("measurands = []", "meter[0].measurands", "is empty"),
        ("measurands = ['voltage_l1_n', 'voltage_l1_n']", "meter[0].measurands[1]", "is there twice"),
        ("measurands = [\n'powr_active_total']", "meter[0].measurands[0]", 'did you mean "power_active_total"?'),
        ("measurands = 'power_active_total'", "meter[0].measurands", "expected a list"),
        ("[[meter]]\nname='main'\nbus='rs485'\nmodel='eastron-sdm120'", "meter[1].name", "already used by meter[0]"),
        ("[[bus]]\nname='rs485'\nport='/dev/ttyUSB1'", "bus[1].name", "already used by bus[0]"),
        ("[[bus]]\nname='other'\nport='/dev/ttyUSB0'", "bus[1].port", "already used by bus[0]"),
        ("[[bus]]\nname='x'\nport='tcp://host'", "bus[1].port", "expected host and port"),
        ("[[bus]]\nname='x'\nport='tcp://host:99999'", "bus[1].port", "expected host and port"),
        ("[[bus]]\nname='x'\nport='COM3'", "bus[1].port", 'a device path that begins with "/"'),
        ("[[bus]]\nname='x'\nport='/dev/x'\nbaudrate=9601", "bus[1].baudrate", "a usual speed"),
        ("[[bus]]\nname='x'\nport='/dev/x'\nrs485='yes'", "bus[1].rs485", '"rts-inverted"'),
        ("[[bus]]\nname='x'\nport='/dev/x'\nparity='X'", "bus[1].parity", '"N", "E" or "O"'),
    ],
)
def test_one_mistake_about_meters(line: str, path: str, said: str) -> None:
    assert said in mistakes(ONE_METER + line)[path]


def test_meters_of_different_protocols_need_lines_of_their_own() -> None:
    second = "[[meter]]\nname = 'grid'\nbus = 'rs485'\nunit = 2\nmodel = 'dsmr-p1'\n"
    said = mistakes(ONE_METER + second)["meter[1].bus"]
    assert "is dsmr-p1, but meter[0] on the same line is modbus" in said
    assert "a [[bus]] of its own" in said


def test_two_meters_may_be_made_of_the_same_telegrams() -> None:
    text = ONE_METER.replace("eastron-sdm630", "dsmr-p1")
    gas = "[[meter]]\nname = 'gas'\nbus = 'rs485'\nmodel = 'dsmr-p1'\nmeasurands = ['volume_gas_total']\n"
    assert [meter.measurands for meter in settings(text + gas).meters] == [None, ("volume_gas_total",)]
    assert settings(text + gas).warnings == ()


def test_a_factor_for_a_meter_that_is_connected_directly_is_a_mistake() -> None:
    text = ONE_METER.replace("eastron-sdm630", "eastron-sdm120") + "ct_ratio = 40"
    assert "connected directly" in mistakes(text)["meter[0].ct_ratio"]
    text = ONE_METER.replace("eastron-sdm630", "eastron-sdm120") + "vt_ratio = 100"
    assert "without voltage transformers" in mistakes(text)["meter[0].vt_ratio"]


def test_a_factor_that_the_meter_applies_itself_is_stated_only() -> None:
    found = settings(ONE_METER.replace("eastron-sdm630", "abb-b24") + "ct_ratio = 40\nvt_ratio = 2")
    assert (found.meters[0].ct_ratio, found.meters[0].vt_ratio) == (40, 2)
    assert [warning.path for warning in found.warnings] == ["meter[0].ct_ratio", "meter[0].vt_ratio"]


def test_near_names_of_profiles_are_named() -> None:
    said = mistakes(ONE_METER.replace("sdm630", "sdm63O"))["meter[0].model"]
    assert "did you mean 'eastron-sdm630'" in said
    assert "schneider-iem3155" not in said
    unknown = mistakes(ONE_METER.replace("eastron-sdm630", "qqq"))["meter[0].model"]
    assert unknown.endswith("no profile of this name; expected a model that `wattpost check-profile` lists")


def test_a_profile_beside_the_file_is_found(tmp_path: Path) -> None:
    shipped = shipped_profiles()["eastron-sdm120"].read_text()
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mine.toml").write_text(shipped.replace("eastron-sdm120", "mine"))
    file = tmp_path / "agent.toml"
    file.write_text(ONE_METER.replace("eastron-sdm630", "mine"))
    assert load(file).meters[0].model == "mine"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (b"[box]\nid = apt-1\n", 2, "is not valid TOML"),
        (b"[box]\nid = 'a'\nid = 'b'\n", 3, "is not valid TOML"),
        (b"[box\n", 1, "is not valid TOML"),
        (b"[box]\nid = '\xff'\n", 2, "not UTF-8"),
        (b"[box]\nid =", 2, "is not valid TOML"),
        (b"[box]\nid = " + b"[" * 5000, 2, "is not valid TOML"),
    ],
)
def test_what_is_not_toml_has_a_line(text: bytes, line: int, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text, FILE)
    (mistake,) = caught.value.mistakes
    assert mistake.line == line
    assert said in mistake.problem


def test_a_file_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be read: No such file or directory; copy config/agent\.example"):
        load(tmp_path / "agent.toml")


def test_a_file_of_others_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_path: Path, _mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(
        SettingsError, match=r"cannot be read: Permission denied; run this with sudo, or make it readable"
    ):
        load(FILE)


def test_a_file_from_windows_is_as_good() -> None:
    text = "\ufeff" + ONE_METER.replace("\n", "\r\n")
    assert settings(text).meters == settings(ONE_METER).meters


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("[batch]\nmax_bytes = 4000", "batch.max_bytes"),
        ("[[bus]]\nname='x'\nport='/dev/x'", "bus[1]"),
        ("[[meter]]\nname='x'\nbus='rs485'\nmodel='eastron-sdm120'", "meter[1].unit"),
        ("interval = '10min'", "meter[0].interval"),
        ("[[bus]]\nname='x'\nport='tcp://h:502'\nbaudrate=9600", "bus[1].baudrate"),
        ("[[bus]]\nname='x'\nport='tcp://h:502'\nrs485='rts'", "bus[1].rs485"),
    ],
)
def test_harmless_oddities_are_warnings(line: str, path: str) -> None:
    assert path in [warning.path for warning in settings(ONE_METER + line).warnings]


@pytest.mark.parametrize("unit", [0, 248, 255])
def test_unit_numbers_that_only_tcp_meters_have(unit: int) -> None:
    """Many meters with an Ethernet port answer to 0 or 255 alone."""
    text = ONE_METER.replace('port = "/dev/ttyUSB0"', 'port = "tcp://192.168.1.20:502"')
    assert text != ONE_METER
    assert settings(text + f"unit = {unit}").meters[0].unit == unit
    said = mistakes(ONE_METER + f"unit = {unit}")["meter[0].unit"]
    assert said.endswith(f"is {unit}, which is no meter's on a serial line; expected a whole number from 1 to 247")


@pytest.mark.parametrize(("unit", "good"), [(0, True), (1, True), (250, True), (254, True), (251, False), (255, False)])
def test_addresses_of_an_m_bus(unit: int, good: bool) -> None:
    text = ONE_METER.replace("eastron-sdm630", "mbus-heat")
    assert text != ONE_METER
    if good:
        assert settings(text + f"unit = {unit}").meters[0].unit == unit
    else:
        said = mistakes(text + f"unit = {unit}")["meter[0].unit"]
        assert said.endswith(
            "no meter's on an M-Bus; expected a whole number from 0 to 250, or 254 for a meter that is alone"
        )

"""The simulator's inside: same seed, same household; plausible values; registers and refusals as the profiles say."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import pytest

from drivers.profile.files import find_profile, shipped_profiles
from meter_sim.cli import main
from meter_sim.faults.spoil import RtuWire
from meter_sim.modbus.frames import Asked, rtu_frame
from meter_sim.modbus.line import Line, SimulatedMeter
from meter_sim.modbus.registers import Refusal, RegisterMap, encode, reading
from meter_sim.world.household import Household, RecordedLoad
from meter_sim.world.instrument import Instrument
from wire.measurand import BY_NAME

HOURS_S = 6 * 3600


def instrument(seed: str = "1", phases: int = 3, refresh_s: float = 10) -> Instrument:
    return Instrument(Household(seed, phases), seed, refresh_s)


def test_same_seed_same_household_whenever_it_is_looked_at() -> None:
    often, seldom = instrument(), instrument()
    for elapsed_s in range(0, 600, 7):
        often.at(elapsed_s)
    assert often.at(600) == seldom.at(600)
    assert instrument("2").at(600) != seldom.at(600)


def test_values_change_once_per_refresh() -> None:
    meter = instrument(refresh_s=1)
    early, late = meter.at(5.0), meter.at(5.99)
    assert early == late
    assert meter.at(6.0) != late


@pytest.mark.parametrize("seed", ["1", "2", "3"])
@pytest.mark.parametrize("phases", [1, 3])
def test_the_household_is_plausible(seed: str, phases: int) -> None:
    meter = instrument(seed, phases)
    powers = []
    for elapsed_s in range(0, HOURS_S, 10):
        values = meter.at(elapsed_s)
        powers.append(values["power_active_total"])
        assert 49.95 <= values["frequency"] <= 50.05
        for phase in range(1, phases + 1):
            assert 220 <= values[f"voltage_l{phase}_n"] <= 241
            apparent_va = values[f"voltage_l{phase}_n"] * values[f"current_l{phase}"]
            assert apparent_va == pytest.approx(values[f"power_apparent_l{phase}"])
            assert values[f"power_active_l{phase}"] <= apparent_va
    assert 20 < min(powers) < 1000
    assert 1800 < max(powers) < 15_000


def test_counters_are_whole_and_follow_the_power() -> None:
    meter = instrument(refresh_s=1)
    first = meter.at(0)["energy_active_import_total"]
    spent_wh, before = 0.0, first
    for elapsed_s in range(1, 3600):
        values = meter.at(elapsed_s)
        spent_wh += values["power_active_total"] / 3600
        assert values["energy_active_import_total"] >= before
        before = values["energy_active_import_total"]
        assert before.is_integer()
    assert before - first == pytest.approx(spent_wh, abs=1)


@pytest.mark.parametrize("model", sorted(shipped_profiles()))
def test_every_measurand_of_every_profile_has_a_value(model: str) -> None:
    profile = find_profile(model)
    values = instrument().at(0)
    assert set(profile.measurands) <= set(values)
    assert set(values) <= set(BY_NAME)


def test_a_recorded_household(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    path.write_text(
        "time_local,power_active_w,power_reactive_var,voltage_v,current_a\n"
        "2006-12-16T17:24:00,4200,300,234.5,18.4\n2006-12-16T17:25:00,,,,\n2006-12-16T17:26:00,900,0,235,4\n"
    )
    meter = Instrument(RecordedLoad(path, "1", 1), "1", 1)
    assert meter.at(0)["power_active_total"] == meter.at(119)["power_active_total"] == 4200
    assert meter.at(60)["voltage_l1_n"] == 234.5
    assert meter.at(60)["current_l1"] == 18.4
    assert meter.at(120)["power_active_total"] == 900
    assert meter.at(180)["power_active_total"] == 4200, "the recording begins again"
    three = Instrument(RecordedLoad(path, "1", 3), "1", 1).at(0)
    assert three["power_active_l2"] == 1400
    assert three["power_active_total"] == pytest.approx(4200)


def test_a_recording_of_power_alone(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    path.write_text("time_local,main_w\n2014-08-24T00:00:00,579.0\n2014-08-24T00:00:06,563.0\n")
    values = Instrument(RecordedLoad(path, "1", 1), "1", 1).at(6)
    assert values["power_active_total"] == 563
    assert 225 <= values["voltage_l1_n"] <= 240


@pytest.mark.parametrize("text", ["time,other\n2014-01-01,1\n2014-01-02,2\n", "time,main_w\n2014-01-01,1\n"])
def test_a_recording_that_cannot_be_used_is_named(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    assert main(["--pty", str(tmp_path / "x"), "--load", str(path)]) == 64
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "address", "count", "exception"),
    [
        (4, 0, 80, None),
        (4, 342, 2, None),
        (4, 0, 81, 3),
        (4, 0, 82, 3),
        (4, 0, 0, 3),
        (4, 0, 1, 3),
        (4, 1, 2, 2),
        (4, 100, 2, 2),
        (4, 400, 4, 2),
        (3, 0, 2, 2),
        (6, 0, 2, 1),
        (1, 0, 2, 1),
    ],
)
def test_what_the_sdm630_refuses(code: int, address: int, count: int, exception: int | None) -> None:
    registers = RegisterMap(find_profile("eastron-sdm630"))
    if exception is None:
        assert len(registers.read(code, address, count, instrument().at(0)).data) == 2 * count
        return
    with pytest.raises(Refusal) as caught:
        registers.read(code, address, count, {})
    assert caught.value.code == exception


def test_a_served_value_is_what_its_words_say() -> None:
    profile = find_profile("eastron-sdm630")
    values = instrument().at(0)
    served = RegisterMap(profile).read(4, 72, 2, values)
    assert list(served.values) == ["energy_active_import_total"]
    assert 1000 * struct.unpack(">f", served.data)[0] == served.values["energy_active_import_total"]
    assert served.values["energy_active_import_total"] == pytest.approx(values["energy_active_import_total"], abs=0.2)
    (volts,) = profile.select(("voltage_l1_n",))
    assert encode(volts, 230.2).hex() == "43663333"
    assert reading(volts, bytes.fromhex("43663333")) == pytest.approx(230.2)


def test_a_line_answers_for_its_units_and_logs_what_it_told() -> None:
    log = io.StringIO()
    meter = SimulatedMeter(RegisterMap(find_profile("eastron-sdm630")), instrument())
    line = Line({1: meter}, lambda: 0.0, lambda: 1234.5, log)
    assert line.serve(RtuWire(), Asked(2, 4, 0, 2), b"") is None
    asked = Asked(1, 4, 0, 2)
    outcome = line.serve(RtuWire(), asked, b"")
    assert outcome is not None
    assert outcome.sent.pieces[0].data == rtu_frame(1, outcome.reply.body)
    line.log(asked, outcome)
    refused = Asked(1, 4, 1, 2)
    refusal = line.serve(RtuWire(), refused, b"")
    assert refusal is not None
    assert refusal.reply.body == bytes.fromhex("8402")
    line.log(refused, refusal)
    entries = [json.loads(text) for text in log.getvalue().splitlines()]
    request = {"t_ms": 1234, "unit": 1, "fc": 4, "count": 2}
    assert entries == [
        {**request, "address": 0, "values": outcome.reply.values, "good": True},
        {**request, "address": 1, "values": {}, "good": False, "refused": 2},
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--pty LINK or --tcp"),
        (["--meter", "eastron-sdm360:1"], "did you mean 'eastron-sdm630'"),
        (["--meter", "eastron-sdm630"], "MODEL:UNIT"),
        (["--meter", "eastron-sdm630:1", "--meter", "eastron-sdm120:1"], "unit 1 is taken"),
        (["--pty", "x", "--meter", "eastron-sdm630:248"], "1..247, and 0..255 with --tcp alone"),
        (["--pty", "x", "--meter", "eastron-sdm630:0"], "1..247, and 0..255 with --tcp alone"),
        (["--pty", "x", "--tcp", "127.0.0.1:0", "--meter", "eastron-sdm630:255"], "1..247"),
        (["--tcp", "127.0.0.1:0", "--meter", "eastron-sdm630:256"], "0..255"),
        (["--pty", "x", "--fault", "crc=1%, silence@2"], "silence=100%@2': no meter has unit 2; there is unit 1"),
        (["--pty", "x", "--meter", "mbus-heat:7", "--fault", "swap@1"], "no meter has unit 1; there is unit 7"),
        (["--pty", "x", "--answer-delay-ms", "5@9"], "--answer-delay-ms 5@9: no meter has unit 9; there is unit 1"),
        (["--refresh", "0"], "0.001..86400"),
        (["--refresh", "nan"], "0.001..86400"),
        (["--refresh", "1e-9"], "0.001..86400"),
        (["--speed", "inf"], "0.001..86400"),
        (["--tcp", "somewhere"], "HOST:PORT"),
        (["--tcp", "127.0.0.1:65536"], "HOST:PORT"),
        (["--pty", "x", "--baud-pace", "--baud", "-5"], "--baud must be above 0"),
    ],
)
def test_wrong_options_are_named(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 64
    assert says in capsys.readouterr().err


def test_a_place_that_cannot_be_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--pty", str(tmp_path / "missing" / "link")]) == 69
    assert "cannot serve" in capsys.readouterr().err
    (tmp_path / "file").write_text("precious")
    assert main(["--pty", str(tmp_path / "file")]) == 69
    assert (tmp_path / "file").read_text() == "precious"

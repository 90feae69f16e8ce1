"""`wattpost check-profile` and `new-profile` with files; tests/integration/commands has those with meters."""

from __future__ import annotations

import json
import os
import shlex
from fractions import Fraction
from pathlib import Path

import pytest

from agent.cli.main import main
from drivers.profile.files import find_profile, shipped_profiles

TABLE = """measurand,address,type,scale,unit
voltage_l1_n,30001,uint16,0.1,V
energy_active_import_total,30007,uint32,0.01,kWh
"""


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture
def made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A profile with its test, as new-profile makes them."""
    (tmp_path / "acme-one.csv").write_text(TABLE)
    words = ("--addresses", "modicon", "--vendor", "Acme", "--output", tmp_path)
    assert run("new-profile", tmp_path / "acme-one.csv", *words) == 0
    said = capsys.readouterr().out
    assert "2 measurands; its test is acme-one.test.json" in said
    assert "edit it and fill in: description, sources" in said
    assert "--against /dev/ttyUSB0" in said
    return tmp_path / "acme-one.toml"


def test_a_profile_is_made_with_its_test(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_profile("acme-one", [made.parent]).vendor == "Acme"
    assert run("check-profile", made) == 0
    assert "4 examples tested" in capsys.readouterr().out


def test_the_next_steps_can_be_pasted_into_a_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my meters"
    (tmp_path / "acme-one.csv").write_text(TABLE)
    assert run("new-profile", tmp_path / "acme-one.csv", "--addresses", "modicon", "--output", folder) == 0
    words = [word for line in capsys.readouterr().out.splitlines()[1:] for word in shlex.split(line)]
    assert words.count(str(folder / "acme-one.toml")) == 3


def test_files_are_not_written_over_unless_asked(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = made.with_suffix(".csv")
    words = ("new-profile", table, "--addresses", "modicon", "--output", made.parent)
    assert run(*words) == os.EX_CANTCREAT
    assert "it exists already" in capsys.readouterr().err
    assert run(*words, "--force") == 0


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text(TABLE)
    (tmp_path / "file").write_text("")
    assert (
        run("new-profile", tmp_path / "t.csv", "--addresses", "modicon", "-o", tmp_path / "file/x") == os.EX_CANTCREAT
    )
    assert "choose another one" in capsys.readouterr().err


def test_mistakes_of_a_table_with_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "acme-one.csv"
    table.write_text(TABLE.replace("voltage_l1_n", "voltage_l1").replace("30007", "7"))
    assert run("new-profile", table, "--addresses", "modicon") == os.EX_DATAERR
    said = capsys.readouterr().err
    assert f"{table}:2: measurand: 'voltage_l1' does not fit, did you mean 'voltage_l1_n'?" in said
    assert f"{table}:3: address: '7' is no address of that kind" in said
    assert "2 mistakes" in said


def test_a_doubtful_word_order_and_megajoules_end_in_a_profile_that_can_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "heat-one.csv"
    table.write_text("measurand,address,type,unit\nenergy_heat_total,0,UINT32 (LE),MJ\nvolume_total,2,UINT32 (LE),\n")
    assert run("new-profile", table, "--function", "3", "--vendor", "Acme", "--output", tmp_path) == 0
    assert f"{table}:2: 'LE' is read as CDAB, low word first" in capsys.readouterr().err
    made = tmp_path / "heat-one.toml"
    assert "# TODO: 'LE' is read as CDAB" in made.read_text()
    (heat,) = [each for each in find_profile("heat-one", [tmp_path]).registers if each.measurand == "energy_heat_total"]
    assert (heat.word_order, heat.scale) == ("little", Fraction(2_500, 9))
    assert run("check-profile", made) == 0


def test_registers_inside_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "acme-one.csv"
    table.write_text(TABLE.replace("uint16", "uint64").replace("30007", "30003"))
    assert run("new-profile", table, "--addresses", "modicon", "--output", tmp_path) == os.EX_DATAERR
    assert "lies inside voltage_l1_n" in capsys.readouterr().err
    assert not (tmp_path / "acme-one.toml").exists()


@pytest.mark.parametrize("name", ["missing.csv", "latin.csv"])
def test_a_table_that_cannot_be_read(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "latin.csv").write_bytes(b"measurand\xe4")
    assert run("new-profile", tmp_path / name, "--model", "x") == os.EX_NOINPUT
    said = capsys.readouterr().err
    assert "CSV file in UTF-8" in said
    assert "Errno" not in said
    assert "codec" not in said


def test_a_model_is_named_by_the_rules(tmp_path: Path) -> None:
    assert run("new-profile", tmp_path / "t.csv", "--model", "Acme One") == os.EX_USAGE


def test_mistakes_of_a_profile_with_file_and_line(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = made.read_text().splitlines()
    number = next(at for at, line in enumerate(lines, 1) if line.startswith("voltage_l1_n"))
    made.write_text("\n".join(lines).replace("voltage_l1_n = {", "voltage_l1 = {"))
    assert run("check-profile", made) == os.EX_DATAERR
    said = capsys.readouterr().err
    assert f"{made}:{number}: registers.voltage_l1: unknown measurand, did you mean 'voltage_l1_n'?" in said
    made.write_text("model = 'acme-one'\nvendor = \n")
    assert run("check-profile", made) == os.EX_DATAERR
    assert f"{made}:2: file: not TOML" in capsys.readouterr().err


def test_an_example_that_is_not_true_any_more(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made.write_text(made.read_text().replace("scale = 0.1", "scale = 1"))
    assert run("check-profile", made) == os.EX_DATAERR
    assert "voltage_l1_n: 08fd reads as 2301.0; expected 230.1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    ["[1]", "{", '{"voltage_l1_n": 3}', '{"voltage_l1_n": [["08", 1]]}', '{"x": [["08fd", "1"]]}', "[" * 100_000],
)
def test_examples_that_are_none(made: Path, text: str) -> None:
    made.with_suffix(".test.json").write_text(text)
    assert run("check-profile", made) == os.EX_DATAERR


def test_a_profile_in_a_file_of_another_name(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = made.rename(made.with_name("acme-two.toml"))
    assert run("check-profile", other) == os.EX_DATAERR
    assert "'acme-one' in a file named acme-two.toml" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["eastron-sdm630", "sunspec", "dzg-dvh4013", "sml"])
def test_shipped_models_are_shown_by_name(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check-profile", model) == 0
    said = capsys.readouterr().out
    for name in find_profile(model).measurands:
        assert name in said


@pytest.mark.parametrize("given", ["eastron-sdm360", "missing.toml", "./missing"])
def test_a_profile_that_is_not_there(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check-profile", given) == os.EX_NOINPUT
    assert "Error: " in capsys.readouterr().err


def test_own_profiles_are_found_beside_the_configuration(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made.parent / "profiles"
    folder.mkdir()
    made.rename(folder / made.name)
    shipped = shipped_profiles()["eastron-sdm120"].read_text()
    (folder / "eastron-sdm120.toml").write_text(shipped)
    assert run("check-profile", "acme-one", "--config", made.parent / "agent.toml") == 0
    assert run("check-profile", "eastron-sdm120", "--config", made.parent / "agent.toml") == 0
    assert "overrides the shipped eastron-sdm120.toml" in capsys.readouterr().out


def test_all_models_are_listed(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made.parent / "profiles"
    folder.mkdir()
    made.rename(folder / made.name)
    (folder / "broken.toml").write_text("model = 3")
    (folder / "latin.toml").write_bytes(b"model = '\xe4'")
    config = made.parent / "agent.toml"
    assert run("check-profile", "--config", config) == 0
    said = capsys.readouterr().out
    assert all(f"\n{model} " in said for model in ("acme-one", "eastron-sdm630", "sml"))
    assert "broken.toml: " in said
    assert run("check-profile", "--config", config, "--json") == 0
    listed = {entry["model"]: entry["mistakes"] for entry in json.loads(capsys.readouterr().out)}
    assert set(listed) == {"acme-one", "broken", "latin", *shipped_profiles()}
    assert listed["acme-one"] == 0 < listed["broken"]
    assert run("check-profile", "--against", "tcp://127.0.0.1:1") == os.EX_USAGE


def test_as_json(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made.write_text(made.read_text().replace("resolution = 0.1", "resolution = 0.01"))
    assert run("check-profile", made, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["model"], document["examples"]) == (True, "acme-one", 4)
    (warning,) = document["warnings"]
    assert warning["path"] == "registers.voltage_l1_n.resolution"
    assert made.read_text().splitlines()[warning["line"] - 1].startswith("voltage_l1_n")
    assert [entry["unit"] for entry in document["measurands"]] == ["V", "Wh"]


def test_options_of_a_line_need_a_line(made: Path) -> None:
    assert run("check-profile", made, "--unit", 3) == os.EX_USAGE

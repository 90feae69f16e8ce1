"""Register tables: what manuals write, and all that is wrong with them at once."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from drivers.profile.model import SerialDefaults
from drivers.profile.parse import parse_profile
from drivers.profile.register_csv import Addresses, TableRead, read_csv
from drivers.profile.review import remarks
from drivers.profile.write import NewProfile, default_set, examples_json, profile_toml

NEW = NewProfile("acme-one", "Acme", "One", ("its manual",), SerialDefaults())
HEAD = "measurand,address,type,function,word_order,scale,unit,resolution,not_available\n"


def rows(*lines: str) -> TableRead:
    return read_csv(HEAD + "\n".join(lines) + "\n")


def only(line: str) -> tuple[str, str]:
    """Column and text of the one mistake in a line."""
    found = rows(line)
    assert len(found.mistakes) == 1, found.mistakes
    assert found.mistakes[0].row == 2
    return found.mistakes[0].column, str(found.mistakes[0])


def test_a_table_with_everything() -> None:
    found = rows("energy_active_import_total,0x10,uint32,3,little,0.01,kWh,10,0xFFFFFFFF")
    assert not found.mistakes
    (register,) = found.registers
    assert (register.function_code, register.address, register.data_type) == (3, 16, "uint32")
    assert (register.word_order, register.scale, register.resolution.step) == ("little", 10, 10)
    assert register.not_available == (0xFFFFFFFF,)


def test_three_columns_and_a_function_are_enough() -> None:
    found = read_csv("type,measurand,address\nfloat,frequency,70\n", function=4)
    (register,) = found.registers
    assert (register.data_type, register.function_code, register.scale) == ("float32", 4, 1)
    assert register.resolution.step == Fraction(1, 100)


@pytest.mark.parametrize(
    ("addresses", "given", "place"),
    [
        ("wire", "0", (4, 0)),
        ("wire", "5B00h", (4, 0x5B00)),
        ("wire", "65534", (4, 65534)),
        ("one", "1", (4, 0)),
        ("one", "0x0001", (4, 0)),
        ("modicon", "30001", (4, 0)),
        ("modicon", "40011", (3, 10)),
        ("modicon", "365535", (4, 65534)),
    ],
)
def test_how_manuals_count(addresses: Addresses, given: str, place: tuple[int, int]) -> None:
    found = read_csv(f"measurand,address,type,fc\nvoltage_l1_n,{given},float32,4\n", addresses)
    assert not found.mistakes
    assert (found.registers[0].function_code, found.registers[0].address) == place


@pytest.mark.parametrize(
    ("addresses", "given"),
    [
        ("wire", "-1"), ("wire", "65536"), ("wire", "0x"), ("wire", "65535"), ("one", "0"), ("modicon", "1"),
        ("modicon", "10001"), ("modicon", "30000"), ("modicon", "399999"),
    ],
)  # fmt: skip
def test_addresses_that_are_none(addresses: Addresses, given: str) -> None:
    found = read_csv(f"measurand,address,type,fc\nvoltage_l1_n,{given},float32,4\n", addresses)
    assert [mistake.column for mistake in found.mistakes] == ["address"]


@pytest.mark.parametrize(
    ("line", "column", "says"),
    [
        ("voltage_l1,0,float32,4", "measurand", "did you mean 'voltage_l1_n'"),
        ("voltage_l1_n,0,float23,4", "type", "did you mean 'float32'"),
        ("voltage_l1_n,0,float32,16", "function", "3 or 4"),
        ("voltage_l1_n,0,float32,", "function", "missing"),
        ("voltage_l1_n,30001,float32,", "function", "the first register of the manual: --addresses modicon"),
        ("voltage_l1_n,,float32,4", "address", "missing"),
        ("voltage_l1_n,0,float32,4,middle", "word_order", "big (ABCD) or little"),
        ("voltage_l1_n,0,float32,4,,0", "scale", "not 0"),
        ("voltage_l1_n,0,float32,4,,x", "scale", "not 0"),
        ("voltage_l1_n,0,float32,4,,,W", "unit", "expected V"),
        ("voltage_l1_n,0,float32,4,,,,-1", "resolution", "a step"),
        ("voltage_l1_n,0,uint16,4,,,,,0x10000", "not_available", "raw codes"),
    ],
)
def test_what_is_wrong_names_line_and_column(line: str, column: str, says: str) -> None:
    found, text = only(line)
    assert found == column
    assert says in text


def test_all_mistakes_come_at_once() -> None:
    found = rows("volts,x,float23,9", "frequency,70,float32,4", "frequency,72,float32,4")
    assert [(mistake.row, mistake.column) for mistake in found.mistakes] == [
        (2, "measurand"), (2, "type"), (2, "address"), (4, "measurand"),
    ]  # fmt: skip
    assert "line 3" in found.mistakes[-1].problem


@pytest.mark.parametrize("text", ["", "a,b,c\n", "measurand,address\nfrequency,1\n"])
def test_a_table_without_its_columns(text: str) -> None:
    assert all(mistake.row == 1 and "no such column" in mistake.problem for mistake in read_csv(text).mistakes)
    assert read_csv(text).mistakes


def test_a_table_without_lines() -> None:
    assert "no register" in read_csv(HEAD + "\n# comment,,\n,,,\n").mistakes[0].problem


@pytest.mark.parametrize(
    ("unit", "factor"), [("Wh", 1), ("kWh", 1000), ("MWh", 1_000_000), ("wh", 1), ("", 1), ("mWh", Fraction(1, 1000))]
)
def test_units_with_prefixes(unit: str, factor: Fraction) -> None:
    assert rows(f"energy_active_import_total,0,float32,4,,,{unit}").registers[0].scale == factor


@pytest.mark.parametrize(
    ("unit", "factor", "step"),
    [
        ("J", "1/3600", "0.0001"), ("kJ", "1000/3600", "0.1"), ("MJ", "1000000/3600", "100"),
        ("mj", "1/3600000", "1e-7"), ("GJ", "1000000000/3600", "100000"), ("GWh", "1000000000", "1e9"),
    ],
)  # fmt: skip
def test_energy_in_joules_is_exact_and_kept_in_a_round_step_below_the_meters_own(
    unit: str, factor: str, step: str
) -> None:
    (register,) = rows(f"energy_heat_total,0,uint32,4,,,{unit}").registers
    assert (register.scale, register.resolution.step) == (Fraction(factor), Decimal(step))
    profile = parse_profile(profile_toml(NEW, [register]))
    assert profile.registers[0].scale == Fraction(factor)
    assert not [remark for remark in remarks(profile) if "step" in remark.problem]


@pytest.mark.parametrize("line", ["energy_active_import_total,0,uint32,4,,,Jk", "power_active_total,0,uint32,4,,,MJ"])
def test_joules_where_there_are_none(line: str) -> None:
    column, text = only(line)
    assert column == "unit"
    assert ("MJ or GJ" in text) is ("energy" in line)


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        ("UINT32", "big"), ("UINT32 (BE)", "big"), ("UINT32 (LE)", "little"), ("uint32_le", "little"),
        ("u32le", "little"), ("float CDAB", "little"), ("float 32 (ABCD)", "big"),
        ("FLOAT32, low word first", "little"), ("int32 [word swap]", "little"), ("S32 mid-little endian", "little"),
        ("uint32 MSW first", "big"),
    ],
)  # fmt: skip
def test_the_order_of_words_behind_the_type_is_kept(kind: str, order: str) -> None:
    (register,) = rows(f'energy_active_import_total,0,"{kind}",3').registers
    assert (register.word_order, register.count) == (order, 2)


@pytest.mark.parametrize(
    ("column", "said", "order", "doubtful"),
    [
        ("word_order", "little", "little", False), ("byte_order", "little", "little", True),
        ("Endianness", "big-endian", "big", False), ("Byte order", "CDAB", "little", False),
        ("order", "Little-Endian", "little", True), ("word order", "n/a", "big", False),
        ("word_order", "Little-endian byte swap", "little", False), ("byte_order", "LSB first", "little", True),
    ],
)  # fmt: skip
def test_orders_as_manuals_say_them(column: str, said: str, order: str, *, doubtful: bool) -> None:
    found = read_csv(f"measurand,address,type,fc,{column}\nfrequency,0,float,4,{said}\nvoltage_l1_n,2,float,4,{said}\n")
    assert [register.word_order for register in found.registers] == [order, order]
    assert len(found.doubts) == doubtful
    assert all(row == 2 and said in doubt and "DCBA" in doubt for doubt, row in found.doubts.items())


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("BADC", "swaps the bytes of each register"), ("dcba", "swaps the bytes of each register"),
        ("AB DC", "mixes the bytes"), ("big-endian byte swap", "swaps the bytes"), ("mid-big", "swaps the bytes"),
        ("swap", "does not say what is swapped"), ("2143", "no order that Wattpost knows"),
        ("GHEFCDAB", "has 8 bytes, and float32 has 4"), ("ABCDA", "no order"),
    ],
)  # fmt: skip
def test_orders_that_cannot_be_read_are_refused_by_name(said: str, says: str) -> None:
    for line in (f"frequency,0,float32,4,{said}", f"frequency,0,float32 ({said}),4"):
        column, text = only(line)
        assert column == ("type" if "(" in line else "word_order")
        assert says in text
        assert "expected big (ABCD) or little (CDAB, low word first)" in text


@pytest.mark.parametrize(
    ("kind", "word", "byte", "order"),
    [
        ("float (CDAB)", "little", "", "little"), ("float", "little", "big", "little"), ("float", "big", "big", "big"),
        ("float LE", "", "big-endian", "little"), ("float (LE)", "big", "", None), ("float (ABCD)", "little", "", None),
        ("float", "big", "little", None), ("float", "little", "ABCD", None),
    ],
)  # fmt: skip
def test_what_is_said_twice_has_to_agree(kind: str, word: str, byte: str, order: str | None) -> None:
    found = read_csv(f"measurand,address,type,fc,word_order,byte_order\nfrequency,0,{kind},4,{word},{byte}\n")
    assert [register.word_order for register in found.registers] == ([] if order is None else [order])
    assert all("does not agree with" in mistake.problem for mistake in found.mistakes)


def test_values_of_eight_bytes_have_an_order_of_eight_letters() -> None:
    (register,) = rows("frequency,0,float64 (GHEFCDAB),4").registers
    assert register.word_order == "little"
    assert "mixes the words" in only("frequency,0,float64,4,CDABGHEF")[1]


def test_doubts_are_written_into_the_profile() -> None:
    found = rows('frequency,0,"FLOAT (LE)",4', 'voltage_l1_n,2,"UINT32 (LE)",4')
    text = profile_toml(replace(NEW, doubts=tuple(found.doubts)), found.registers)
    assert text.count("# TODO: 'LE' is read as CDAB, low word first; some manuals mean DCBA by it") == 1
    assert {register.word_order for register in parse_profile(text).registers} == {"little"}


def test_a_power_factor_in_percent() -> None:
    assert rows("power_factor_total,0,int16,4,,,%").registers[0].scale == Fraction(1, 100)


def test_what_spreadsheets_make_of_it() -> None:
    """Semicolons and decimal commas, a byte order mark, other names and spaces."""
    found = read_csv("\ufeffName;Register; Data Type ;FC;Factor;Note\nvoltage_l1_n;0;U16;4;0,1;x\n")
    assert not found.mistakes
    assert found.ignored == ("note",)
    assert found.registers[0].scale == Fraction(1, 10)
    assert read_csv("measurand\taddress\ttype\tfc\nfrequency\t1\tfloat\t4\n").registers


def test_the_profile_that_is_written_has_the_registers_that_were_read() -> None:
    found = rows(
        "voltage_l1_n,0,uint16,4,,0.1,V,,0xFFFF",
        "current_l1,0x01,uint32,4,little,0.001,A",
        "power_active_total,3,int32,3,,-10,W",
        "energy_active_import_total,6,float32,4,,,kWh",
    )
    new = NewProfile("acme-one", 'The "Acme"', "One", ("its manual",), SerialDefaults(19200, "E", 2, 7))
    profile = parse_profile(profile_toml(new, found.registers))
    written = {each.measurand: each for each in profile.registers}
    for register in found.registers:
        each = written[register.measurand]
        assert (each.address, each.function_code, each.data_type) == (
            register.address, register.function_code, register.data_type,
        )  # fmt: skip
        assert (each.scale, each.resolution, each.not_available) == (
            register.scale, register.resolution, register.not_available,
        )  # fmt: skip
    assert written["current_l1"].word_order == "little"
    assert (profile.vendor, profile.serial) == ('The "Acme"', SerialDefaults(19200, "E", 2, 7))
    assert profile.default == default_set(found.registers)
    assert examples_json(found.registers).count("[[") == 4

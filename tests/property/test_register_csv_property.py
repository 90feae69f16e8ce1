"""Register tables of any kind: read or refused, and what was read becomes a profile and comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drivers.profile.model import DATA_TYPES, ProfileError, SerialDefaults
from drivers.profile.parse import parse_profile
from drivers.profile.register_csv import COLUMNS, read_csv
from drivers.profile.write import NewProfile, examples_json, profile_toml
from wire.measurand import VOCABULARY

NEW = NewProfile("acme-one", "Acme", "One", ("its manual",), SerialDefaults())
HEAD = ",".join(COLUMNS)
NUMBERS = st.sampled_from(
    ["", "1", "0.1", "0,1", "-10", "1000", "1e3", "1e9999999", "nan", "inf", "0", "x", "0.000123"]
)
LINES = st.tuples(
    st.one_of(st.sampled_from([each.name for each in VOCABULARY]), st.just("volts")),
    st.one_of(st.integers(-2, 65540).map(str), st.integers(0, 65535).map(hex), st.just("30001"), st.text(max_size=4)),
    st.sampled_from([*DATA_TYPES, "float", "u16", "", "int", "UINT32 (LE)", "float CDAB", "u64 DCBA", "i16 word swap"]),
    st.sampled_from(["3", "4", "", "5"]),
    st.sampled_from(["", "big", "little", "n/a", "?", "ABCD", "CDAB", "BADC", "le"]),
    st.sampled_from(["", "big", "little", "CDAB"]),
    NUMBERS,
    st.sampled_from(["", "V", "kWh", "Wh", "mA", "A", "%", "W", "kW", "MJ", "GJ", "kJ"]),
    NUMBERS,
    st.sampled_from(["", "0xFFFF", "-1", "1 2", "x"]),
)


@given(st.text(max_size=300), st.sampled_from(["wire", "one", "modicon"]))
def test_any_text_is_read_or_refused(text: str, addresses: str) -> None:
    found = read_csv(text, addresses)  # type: ignore[arg-type]
    assert found.registers or found.mistakes


@given(st.lists(LINES, min_size=1, max_size=8), st.sampled_from(["wire", "one", "modicon"]))
def test_what_was_read_comes_back_from_the_profile(lines: list[tuple[str, ...]], addresses: str) -> None:
    quoted = "\n".join(",".join('"' + cell.replace('"', "") + '"' for cell in line) for line in lines)
    found = read_csv(f"{HEAD}\n{quoted}\n", addresses, 4)  # type: ignore[arg-type]
    if found.mistakes:
        assert all(str(mistake) for mistake in found.mistakes)
        return
    text = profile_toml(NEW, found.registers)
    examples_json(found.registers)
    try:
        profile = parse_profile(text)
    except ProfileError as error:  # registers inside each other, a counter coarser than its meter
        mistakes = error.mistakes
    else:
        mistakes = ()
    assert all(mistake.path.startswith("registers.") for mistake in mistakes)
    if mistakes:
        return
    read = {each.measurand: each for each in profile.registers}
    for register in found.registers:
        again = read[register.measurand]
        assert (again.address, again.function_code, again.data_type, again.scale, again.resolution) == (
            register.address, register.function_code, register.data_type, register.scale, register.resolution,
        )  # fmt: skip
        assert again.not_available == register.not_available

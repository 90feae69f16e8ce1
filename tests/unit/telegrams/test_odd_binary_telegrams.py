"""SML and M-Bus: telegrams that are whole, but word a value in a way of their own, as real meters do."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest

from drivers.profile.files import find_profile
from drivers.telegrams.dlms import decode_dlms
from drivers.telegrams.fields import FieldReader
from drivers.telegrams.mbus_records import decode_mbus, decode_part, whole_answer
from drivers.telegrams.sml import SmlFramer, decode_sml
from drivers.telegrams.telegram import Telegram, TelegramError
from meter_sim.telegrams.encoders import mbus_answer, mbus_record, notification, sml

Entry = tuple[str, int | None, int, bytes | int, int]
DZG = bytes.fromhex("0a01445a470003aabbcc")
EMH = bytes.fromhex("0a01454d480000aabbcc")
IMPORT: Entry = ("1-0:1.8.0", 30, -1, 4_200, 8)
EXPORT: Entry = ("1-0:2.8.0", 30, -1, 77, 8)
IN, OUT, OUT_L2 = bytes.fromhex("1c0104"), bytes.fromhex("1c0904"), bytes.fromhex("1c2104")


def told(entries: Sequence[Entry], status: bytes = b"", server: bytes = DZG) -> Telegram:
    (frame,) = SmlFramer().feed(sml(server, entries, status))
    assert isinstance(frame, bytes)
    return decode_sml(frame)


def watts(telegram: Telegram) -> dict[str, Fraction]:
    return {item.code: item.number for item in telegram.items if item.unit == "W" and item.number is not None}


def power(code: str, steps: int, size: int) -> Entry:
    return (code, 27, -2, steps, size)


# The sign of a power (SML)


@pytest.mark.parametrize("code", ["16.7.0", "36.7.0", "56.7.0", "76.7.0", "1.7.0", "21.7.0", "41.7.0", "15.7.0"])
@pytest.mark.parametrize(("size", "steps", "true"), [(1, -56, 200), (2, -14_836, 50_700), (3, -0x7FFFFF, 0x800001)])
def test_a_positive_power_that_looks_negative(code: str, size: int, steps: int, true: int) -> None:
    telegram = told([IMPORT, power(f"1-0:{code}", steps, size)], IN)
    assert watts(telegram)[f"1-0:{code}"] == Fraction(true, 100)


@pytest.mark.parametrize(
    ("server", "status", "code", "steps", "expected"),
    [
        (DZG, IN, "16.7.0", 14_836, 14_836),
        (DZG, OUT, "16.7.0", -14_836, -14_836),  # it flows to the grid
        (DZG, bytes.fromhex("1c6904"), "16.7.0", -10_550, -10_550),
        (DZG, bytes.fromhex("1c1104"), "36.7.0", -10_550, -10_550),  # L1 to the grid, though not all together
        (DZG, OUT, "36.7.0", -10_550, -10_550),  # no phase is said to: then this meter does not say
        (DZG, bytes.fromhex("1c6904"), "36.7.0", -14_836, 50_700),  # L2 and L3 are said to, L1 is not
        (DZG, b"", "16.7.0", -14_836, -14_836),  # nothing contradicts it
        (DZG, bytes.fromhex("0182"), "36.7.0", -14_836, -14_836),
        (EMH, IN, "16.7.0", -14_836, -14_836),  # of other makers it is not known
    ],
)
def test_a_sign_that_nothing_contradicts_is_right(
    server: bytes, status: bytes, code: str, steps: int, expected: int
) -> None:
    telegram = told([IMPORT, power(f"1-0:{code}", steps, 2)], status, server)
    assert watts(telegram)[f"1-0:{code}"] == Fraction(expected, 100)


def test_phases_that_add_up_to_the_total_are_right_whatever_the_status_says() -> None:
    phases = [power("1-0:36.7.0", 20_000, 4), power("1-0:56.7.0", -14_836, 2), power("1-0:76.7.0", 1_000, 2)]
    assert watts(told([IMPORT, power("1-0:16.7.0", 6_164, 2), *phases], IN))["1-0:56.7.0"] == Fraction(-14_836, 100)
    assert watts(told([IMPORT, power("1-0:16.7.0", 71_700, 4), *phases], IN))["1-0:56.7.0"] == Fraction(50_700, 100)
    assert watts(told([IMPORT, power("1-0:16.7.0", 71_700, 4), *phases], OUT_L2))["1-0:56.7.0"] == Fraction(
        -14_836, 100
    )


@pytest.mark.parametrize(
    ("entries", "status", "expected"),
    [
        ((IMPORT, EXPORT), bytes.fromhex("001c0104"), 387),
        ((IMPORT, EXPORT), bytes.fromhex("001c0904"), -387),
        ((IMPORT, EXPORT), bytes.fromhex("0182"), 387),
        ((IMPORT, EXPORT), bytes.fromhex("01a2"), -387),
        ((IMPORT, EXPORT), bytes.fromhex("01b0"), -387),
        ((EXPORT,), bytes.fromhex("01b0"), -387),
        ((IMPORT,), b"", 387),  # a meter that does not count export has none
        ((IMPORT, EXPORT), b"", None),
        ((IMPORT, EXPORT), bytes.fromhex("0101"), None),  # a word of no known kind
    ],
)
def test_a_power_without_direction_has_it_from_the_status(
    entries: tuple[Entry, ...], status: bytes, expected: int | None
) -> None:
    telegram = told([*entries, ("1-0:15.7.0", 27, 0, 387, 2)], status, EMH)
    fields = find_profile("sml").select_fields(("power_active_total",))
    reader = FieldReader(fields)
    (value,), _ = reader(telegram)
    assert value == (None if expected is None else 100 * expected)
    remarks = list(reader.remarks(telegram))
    assert [remark.instead for remark in remarks] == ([] if expected is not None else [("1-0:15.7.0",)])


def test_a_total_is_not_made_where_the_meter_sends_one() -> None:
    telegram = told([IMPORT, power("1-0:16.7.0", 100, 2), ("1-0:15.7.0", 27, 0, 387, 2)], OUT, EMH)
    assert watts(telegram)["1-0:16.7.0"] == 1


@pytest.mark.parametrize(("codes", "expected"), [(("36",), 5), (("36", "56", "76"), 15), (("56", "76"), None)])
def test_the_total_of_phases_alone(codes: tuple[str, ...], expected: int | None) -> None:
    telegram = told([IMPORT, *(power(f"1-0:{code}.7.0", 500, 2) for code in codes)])
    (value,), _ = FieldReader(find_profile("sml").select_fields(("power_active_total",)))(telegram)
    assert value == (None if expected is None else 100 * expected)


def test_an_odd_entry_of_sml_costs_nothing_else() -> None:
    (frame,) = SmlFramer().feed(sml(EMH, [IMPORT, power("1-0:16.7.0", 500, 2)]))
    assert isinstance(frame, bytes)
    row = frame[frame.index(b"\x77\x07\x01\x00\x10") :][:19]
    for odd in (b"\x72\x62\x01\x01", b"\x77\x07\x01\x00\x60\x01\x00\xff\x01\x01\x01\x01\x43\x01\x02\x01", b"\x01"):
        messages = frame.replace(row, odd + row).replace(b"\x72\x77\x07\x01\x00\x01", b"\x73\x77\x07\x01\x00\x01")
        assert watts(decode_sml(messages)) == {"1-0:16.7.0": 5}


# The Nordic HAN port


def test_an_odd_element_of_a_han_list_costs_nothing_else() -> None:
    good = b"\x02\x03\x09\x06\x01\x00\x01\x07\x00\xff\x06\x00\x00\x01\x18\x02\x02\x0f\x00\x16\x1b"
    for odd in (b"\x02\x01\x00", b"\x02\x02\x0a\x01x\x00", b"\x02\x03\x09\x06\x01\x00\x02\x07\x00\xff\x00\x00"):
        for rows in (odd + good, good + odd):
            assert watts(decode_dlms(notification(b"\x01\x02" + rows))) == {"1-0:1.7.0": 280}
    turns = b"\x02\x05\x09\x06\x01\x01\x01\x07\x00\xff\x06\x00\x00\x01\x18\x11\x05"
    turns += b"\x09\x06\x01\x01\x02\x07\x00\xff\x02\x00"
    values = {item.code: item.number for item in decode_dlms(notification(turns)).items}
    assert values == {"1-1:1.7.0": 280, "": None, "1-1:2.7.0": None}


# M-Bus: whether records are encrypted


RECORDS = mbus_record("04", "06", 1234, 4) + mbus_record("04", "14", 77, 4) + mbus_record("02", "5B", 41, 2)


def worded(word: int, records: bytes = RECORDS) -> bytes:
    """An answer with this configuration word."""
    answer = mbus_answer("12345678", "ACM", 4, records)
    return answer[:11] + word.to_bytes(2, "little") + answer[13:]


@pytest.mark.parametrize("word", [0xFFFF, 0xB627, 0x0100, 0x0600, 0x1F00, 0x0B12, 0x1000, 0x0500, 0x0505])
def test_a_word_that_names_no_encryption_is_none(word: int) -> None:
    assert [item.number for item in decode_mbus(worded(word)).items] == [1_234_000, Fraction(77, 100), 41]


@pytest.mark.parametrize("mode", [2, 4, 5, 7, 8, 10, 13])
def test_what_cannot_be_read_is_encrypted_where_the_word_says_so(mode: int) -> None:
    ciphered = bytes(range(0x9C, 0x9C + 32))
    with pytest.raises(TelegramError) as caught:
        decode_mbus(worded(mode << 8 | 0x20, ciphered))
    assert (caught.value.reason, f"mode {mode}" in caught.value.cause) == ("encrypted", True)


def test_records_behind_an_honest_word_are_not_believed() -> None:
    """Its two blocks are there, and whoever has the key may find something else in them."""
    with pytest.raises(TelegramError, match="encrypted"):
        decode_mbus(worded(0x0510))


def test_what_cannot_be_read_behind_an_unknown_word_is_no_encryption() -> None:
    with pytest.raises(TelegramError, match="B627 names no known encryption"):
        decode_mbus(worded(0xB627, RECORDS + b"\x04\x06\x01"))


# M-Bus: lengths


@pytest.mark.parametrize(
    ("length", "content", "number"),
    [
        (0x00, b"", None),
        (0x05, b"abcde", None),
        (0xBF, bytes(0xBF), None),
        (0xC0, b"", None),
        (0xC4, bytes.fromhex("78563412"), 12_345_678),
        (0xC9, bytes.fromhex("010000000000000000"), 1),
        (0xD2, bytes.fromhex("3412"), -1234),
        (0xE0, b"", 0),
        (0xE4, bytes.fromhex("39300000"), 12345),
        (0xE8, bytes.fromhex("ffffffffffffffff"), -1),
        (0xEF, bytes(15), None),
        *((length, bytes(4 * (length - 0xEC)), None) for length in range(0xF0, 0xF5)),
        (0xF5, bytes(48), None),
        (0xF6, bytes(64), None),
    ],
)
def test_values_of_variable_length(length: int, content: bytes, number: int | None) -> None:
    records = b"\x0d\x03" + bytes((length,)) + content + mbus_record("04", "06", 9, 4)
    first, second = decode_mbus(b"\x78" + records).items
    assert (first.number, second.number) == (number, 9000) or not content


@pytest.mark.parametrize("length", [0xCA, 0xCF, 0xDA, 0xF7, 0xFF])
def test_behind_a_record_whose_length_nobody_knows_nothing_is_read(length: int) -> None:
    records = mbus_record("04", "06", 9, 4) + b"\x0d\x2b" + bytes((length,)) + bytes(20)
    telegram = decode_mbus(b"\x78" + records)
    reader = FieldReader(find_profile("mbus").select_fields(("energy_active_import_total", "frequency")))
    assert reader(telegram) == ((90_000, None), (0, 1))
    (remark,) = reader.remarks(telegram)
    assert (remark.measurand, remark.about, f"{length:#04x}" in remark.text) == ("frequency", "damaged", True)


# M-Bus: phases


def read(records: bytes, *measurands: str) -> list[Fraction | None]:
    fields = find_profile("mbus").select_fields(measurands)
    values, _ = FieldReader(fields)(decode_mbus(b"\x78" + records))
    steps = [Fraction(field.resolution.step) for field in fields]
    return [None if value is None else value * step for value, step in zip(values, steps, strict=True)]


def volts(*values: int, dib: str = "02", tail: str = "") -> bytes:
    return b"".join(mbus_record(dib, f"FD{'C8' if tail else '48'}{tail}", value, 2) for value in values)


def powers(*values: int) -> bytes:
    return b"".join(mbus_record("04", "2B", value, 4) for value in values)


VOLTAGES = ("voltage_l1_n", "voltage_l2_n", "voltage_l3_n")
POWERS = ("power_active_l1", "power_active_l2", "power_active_l3", "power_active_total")


def test_records_of_one_name_are_phases_in_their_order() -> None:
    assert read(volts(2301, 2312, 2323), *VOLTAGES) == [Fraction(n, 10) for n in (2301, 2312, 2323)]
    assert read(volts(2300, 2300, 2300), *VOLTAGES) == [230, 230, 230]
    six = volts(2301, 2312, 2323, 4001, 4002, 4003)
    assert read(six, *VOLTAGES, "voltage_l1_l2", "voltage_l3_l1")[2:] == [Fraction(n, 10) for n in (2323, 4001, 4003)]
    assert read(volts(2301, 2312), *VOLTAGES) == [None, None, None], "two may be anything"
    assert read(volts(2301), *VOLTAGES) == [Fraction(2301, 10), None, None]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ((10, 20, 30, 60), [10, 20, 30, 60]),
        ((60, 10, 20, 30), [10, 20, 30, 60]),
        ((0, 0, 0, 0), [0, 0, 0, 0]),
        ((700, 700, 700, 2103), [700, 700, 700, 2103]),
        ((-100, 50, 50, 0), [-100, 50, 50, 0]),
        ((10, 20, 30), [10, 20, 30, 60]),
        ((500,), [None, None, None, 500]),
        ((10, 20, 30, 500), [None] * 4),
        ((10, 20), [None] * 4),
    ],
)
def test_four_powers_are_phases_and_their_sum(sent: tuple[int, ...], expected: list[int | None]) -> None:
    assert read(powers(*sent), *POWERS) == expected


def test_a_fourth_current_may_be_that_of_the_neutral() -> None:
    records = b"".join(mbus_record("04", "FD59", value, 4) for value in (1000, 2000, 4000, 2600))
    assert read(records, "current_l1", "current_l3") == [1, 4]


def test_what_is_there_several_times_is_offered_by_its_number() -> None:
    reader = FieldReader(find_profile("mbus").select_fields(("power_active_total",)))
    telegram = decode_mbus(b"\x78" + powers(10, 20))
    (remark,) = reader.remarks(telegram)
    assert remark.instead == ("power.n1", "power.n2")


@pytest.mark.parametrize(("status", "expected"), [(0x00, 232), (0x15, None), (0x1F, None)])
def test_abb_ends_its_phases_with_a_status(status: int, expected: int | None) -> None:
    records = b"".join(mbus_record("04", f"FDC8FF8{phase}{status:02x}", 2320, 4) for phase in (1, 2, 3, 5))
    assert read(records, *VOLTAGES, "voltage_l1_l2") == [expected] * 4
    assert read(mbus_record("04", f"A9FF82{status:02x}", 2320, 4), "power_active_l2") == [
        expected and Fraction(232, 10)
    ]


def test_phases_in_subunits() -> None:
    phases = (("8440", 1), ("848040", 2), ("84C040", 3))
    voltages = b"".join(mbus_record(dib, "FD48", 2300 + at, 4) for dib, at in phases)
    loads = b"".join(mbus_record(dib, "2B", 100 * at, 4) for dib, at in phases)
    assert read(voltages + loads, *VOLTAGES) == [Fraction(2300 + at, 10) for at in (1, 2, 3)]
    assert read(voltages + loads, *POWERS) == [100, 200, 300, 600]
    assert read(loads, *POWERS) == [None] * 4, "without voltages, 2 may be reactive power"


def test_an_energy_in_two_units_is_one() -> None:
    twice = mbus_record("04", "06", 1000, 4) + mbus_record("04", "0E", 3600, 4)  # 1000 kWh, 3600 MJ
    assert read(twice, "energy_active_import_total") == [1_000_000]
    other = mbus_record("04", "06", 1000, 4) + mbus_record("04", "06", 2000, 4)
    assert read(other, "energy_active_import_total") == [None]


def test_records_are_told_apart_over_all_telegrams_of_an_answer() -> None:
    parts = [decode_part(b"\x78" + volts(2301, 2312) + b"\x1f"), decode_part(b"\x78" + volts(2323))]
    codes = {item.code: item.number for item in whole_answer(parts).items}
    assert [codes[f"voltage.l{n}"] for n in (1, 2, 3)] == [Fraction(n, 10) for n in (2301, 2312, 2323)]

"""DSMR P1 and IEC 62056-21: telegrams with a good check sum and something odd in them, as real meters send them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from drivers.profile.files import find_profile
from drivers.telegrams.fields import FieldReader
from drivers.telegrams.obis_text import decode_iec62056, decode_p1
from drivers.telegrams.telegram import Telegram, TelegramError
from drivers.telegrams.text_framer import TextFramer
from meter_sim.telegrams.encoders import crc16, mode_c, mode_d, p1

POWER = ("1-0:1.7.0(00.410*kW)", "1-0:2.7.0(00.000*kW)")
CLOCK = "0-0:1.0.0(260410101500S)"
SERIAL = "47303035313233343536373839303132"


def summed(body: bytes, digits: str = "{:04X}") -> bytes:
    """A P1 telegram of any bytes, from `/` up to `!`."""
    return body + digits.format(crc16(body, 0xA001, 0)).encode() + b"\r\n"


def read(stream: bytes) -> Telegram:
    """Whatever the pieces, one telegram is found."""
    whole = TextFramer().feed(stream)
    framer = TextFramer()
    assert [each for byte in stream for each in framer.feed(bytes((byte,)))] == whole
    (frame,) = whole
    assert isinstance(frame, bytes), frame
    return decode_p1(frame)


def number(telegram: Telegram, code: str) -> Fraction | None:
    (item,) = [item for item in telegram.items if item.code == code]
    return item.number


def faults(telegram: Telegram) -> dict[str, str]:
    return {item.code: item.fault for item in telegram.items if item.fault}


# Where a telegram begins and ends


@pytest.mark.parametrize("identification", ["ACM5/D600-METER", "ACM5/ABC5-M", "ACM5\\a/b/c", "ACM5\\x!y", "ACM5\\(1)"])
@pytest.mark.parametrize("check", [True, False])
def test_an_identification_may_have_any_characters(identification: str, check: bool) -> None:
    assert number(read(p1(POWER, identification, check=check)), "1-0:1.7.0") == 410


@pytest.mark.parametrize(
    "line", ["0-0:96.13.0(a/b)", "0-0:96.13.0(/ABC5 now)", "0-0:96.13.0(Stop! now)", "0-0:96.13.0((x)!1F)", "/ACM5\\2x"]
)
def test_a_line_may_have_what_begins_and_ends_telegrams(line: str) -> None:
    assert number(read(p1([line, *POWER])), "1-0:1.7.0") == 410


def test_a_telegram_that_was_cut_ends_where_another_begins() -> None:
    whole = p1(POWER, "ACM5/D600-METER")
    for cut in range(16, len(whole) - 7):
        found = TextFramer().feed(whole[:cut] + whole)
        assert isinstance(found[0], TelegramError), cut
        assert found[-1] == whole


def test_a_readout_may_have_slashes_too() -> None:
    readout = b"".join(mode_c(["C.1.0(1/2)", "1.8.0(0001.5*kWh)"], "ACM4/M240"))
    (frame,) = TextFramer().feed(readout)
    assert isinstance(frame, bytes)
    assert number(decode_iec62056(frame), "1-0:1.8.0") == 1500


# Check sums are numbers


@pytest.mark.parametrize("digits", ["{:04X}", "{:04x}", "{:X}", "{:x}", " {:04X}", "{:04X}  "])
def test_a_check_sum_is_a_number(digits: str) -> None:
    bodies = (f"/ACM5\\{n}\r\n\r\n1-0:1.7.0({7 * n:05}.410*kW)\r\n!".encode() for n in range(10_000))
    short = next(body for body in bodies if 0xA < crc16(body, 0xA001, 0) < 0x1000)
    assert number(read(summed(short, digits)), "1-0:1.7.0") is not None


@pytest.mark.parametrize("digits", ["0{:04X}", "{:04X}0", "0x{:04X}", "-{:04X}", "{:04X}_"])
def test_what_is_no_number_of_four_digits_is_no_check_sum(digits: str) -> None:
    body = b"/ACM5\\1\r\n\r\n1-0:1.7.0(00.410*kW)\r\n!"
    with pytest.raises(TelegramError) as caught:
        decode_p1(summed(body, digits))
    assert caught.value.reason == "checksum"


# Lines that nobody needs, and lines that are needed


ODD_LINES = (
    b"1-0:15.8.0(00007137.694*kWh )",
    b"1-0:15.8.0( 00007137.694 * kWh)",
    b"1-0:15.8.0(000.07.694*kWh)",
    b"0-0:96.13.0(" + b"\xff" * 40 + b")",
    b"0-0:96.13.0(caf\xc3\xa9)",
    b"0-0:96.13.0(\x00\x01\x02)",
    b"0-0:96.13.0(open",
    b"0-0:96.13.0)closed(",
    b"no code at all",
    b"\xfe\xfe\xfe",
    b"(1234)",
    b"a-b:c.d(1)",
    b"1-0:99.97.0(",
    b"1-0:1.6.0(000007,4*kW)",
    b"1-0:1.6.0(----*kW)",
)


@pytest.mark.parametrize("line", ODD_LINES)
def test_a_line_that_nobody_needs_costs_nothing(line: bytes) -> None:
    power = "\r\n".join(POWER).encode()
    for lines in (line + b"\r\n" + power, power + b"\r\n" + line):
        telegram = read(summed(b"/ACM5\\1\r\n\r\n" + lines + b"\r\n!"))
        assert (number(telegram, "1-0:1.7.0"), number(telegram, "1-0:2.7.0")) == (410, 0)
    block = line + b"\r\n1.8.0(0001.5*kWh)\r\n!\r\n\x03"
    bcc = 0
    for byte in block:
        bcc ^= byte
    readout = decode_iec62056(b"/ACM4C\r\n\x02" + block + bytes((bcc,)))
    assert number(readout, "1-0:1.8.0") == 1500


def test_a_comma_and_blanks_are_understood() -> None:
    telegram = decode_p1(p1(["1-0:1.7.0(00,410*kW )", "1-0:2.7.0( 00.1*kW)"]))
    assert (number(telegram, "1-0:1.7.0"), number(telegram, "1-0:2.7.0")) == (410, 100)
    readout = decode_iec62056(
        mode_d(["1.20(0083038*kWh)", "1.6(000007,4*kW)", "1.6*1(000013,0)"]).replace(b"\r\n!", b"!")
    )
    assert number(readout, "1-0:1.6.0") == 7400


def test_a_damaged_line_that_is_needed_costs_its_measurand_and_says_why() -> None:
    profile = find_profile("dsmr-p1")
    reader = FieldReader(profile.select_fields(("power_active_import", "power_active_export", "power_active_total")))
    telegram = decode_p1(p1(["1-0:1.7.0(00.4x0*kW)", "1-0:2.7.0(00.020*kW)"]))
    assert reader(telegram) == ((None, 20, None), (1, 0, 1))
    assert {(remark.measurand, remark.about) for remark in reader.remarks(telegram)} == {
        ("power_active_import", "damaged"), ("power_active_total", "damaged")
    }  # fmt: skip
    assert all("00.4x0" in remark.text for remark in reader.remarks(telegram))


def test_without_a_check_sum_a_line_that_lost_its_form_refuses_the_telegram() -> None:
    for line in ("1-0:1.7.0(00.4\x000*kW)", "1-0:1.7.0(00.410", "1-0:1.7.0(00.41.0*kW)"):
        with pytest.raises(TelegramError):
            decode_iec62056(mode_d([line, "1-0:1.8.0(1*kWh)"]))


# Gas, water and heat on several channels


def channel(at: int, value: str, serial: str = SERIAL, kind: int = 3, code: str = "24.2.1") -> list[str]:
    return [f"0-{at}:24.1.0(00{kind})", f"0-{at}:96.1.0({serial})", f"0-{at}:{code}{value}"]


NEW, OLD = "(260410100500S)(00123.456*m3)", "(240131110000W)(09876.543*m3)"
NEVER = "(632525252525W)(00000.000)"


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ([channel(1, OLD), channel(2, NEW)], "123.456"),
        ([channel(1, NEW), channel(2, OLD)], "123.456"),
        ([channel(1, OLD, ""), channel(2, NEW)], "123.456"),
        ([channel(1, NEW, ""), channel(2, OLD)], "9876.543"),
        ([channel(1, NEVER), channel(2, NEW)], "123.456"),
        ([channel(1, NEVER, code="24.2.3"), channel(3, NEVER), channel(4, NEW)], "123.456"),
        ([channel(1, OLD), channel(2, NEW), channel(3, "(250601000000S)(1.0*m3)")], "123.456"),
        ([channel(1, "(260410100000S)(1.5*m3)"), channel(2, NEW)], "1.5"),  # both are read: never change places
        ([channel(1, "(2.5*m3)"), channel(2, "(3.5*m3)")], "2.5"),  # nothing tells them apart
        ([channel(1, "(451231000000W)(4.5*m3)"), channel(2, NEW)], "123.456"),  # a time to come
        ([channel(1, NEVER), channel(2, "(700101010000W)(00000000)")], None),
        ([channel(1, "()"), channel(2, NEW)], "123.456"),
    ],
)
@pytest.mark.parametrize("kind", [3, 7])
def test_of_several_channels_the_one_that_is_alive_counts(
    channels: list[list[str]], expected: str | None, kind: int
) -> None:
    lines = [line.replace("(003)", f"(00{kind})") for lines in channels for line in lines]
    telegram = decode_p1(p1([CLOCK, *POWER, *lines]))
    code = {3: "7-0:3.0.0", 7: "8-0:1.0.0"}[kind]
    assert number(telegram, code) == (None if expected is None else Fraction(expected))
    assert [named for named, _ in telegram.sources] == [code]
    assert f"{len(channels)} {'gas' if kind == 3 else 'water'} meters" in telegram.sources[0][1]


@pytest.mark.parametrize(
    "value",
    [
        NEVER,
        "(632525252525W)(00000.000*m3)",
        "(260410100500S)(00000.000)",
        "(700101010000W)(00000000)",
        "(261340000000W)(00012.000*m3)",
        "()",
    ],
)
def test_a_placeholder_is_no_value(value: str) -> None:
    telegram = decode_p1(p1([CLOCK, *POWER, *channel(1, value)]))
    assert number(telegram, "7-0:3.0.0") is None
    assert not telegram.sources
    assert number(decode_p1(p1([*POWER, *channel(1, "(260410100500S)(00000.000*m3)")])), "7-0:3.0.0") == 0


def test_a_maximum_that_never_was_is_no_value() -> None:
    telegram = decode_p1(p1([*POWER, "1-0:1.6.0(632525252525W)(00.000*kW)"]))
    assert number(telegram, "1-0:1.6.0") is None
    assert "is impossible" in faults(telegram)["1-0:1.6.0"]

"""DSMR P1 and IEC 62056-21: what a text telegram says, and what is refused of it."""

from __future__ import annotations

from fractions import Fraction

import pytest

from drivers.telegrams.obis_text import decode_iec62056, decode_p1
from drivers.telegrams.telegram import Telegram, TelegramError
from drivers.telegrams.text_framer import TELEGRAM_BYTES_MAX, TextFramer
from meter_sim.telegrams.encoders import mode_c, mode_d, p1

LINES = (
    "1-3:0.2.8(50)",
    "0-0:96.1.1(4B384547303034303436333935353037)",
    "1-0:1.8.1(000004.426*kWh)",
    "1-0:1.7.0(00.244*kW)",
)
GOOD = p1(LINES)


def framed(stream: bytes) -> list[bytes | str]:
    """What the framer finds, errors by their reason."""
    framer = TextFramer()
    found = [each if isinstance(each, bytes) else each.reason for each in framer.feed(stream)]
    left = framer.end()
    return [*found, left.reason] if left is not None else found


def values(telegram: Telegram) -> dict[str, tuple[Fraction | None, str]]:
    return {item.code: (item.number, item.unit) for item in telegram.items}


def refused(decode: object, frame: bytes) -> str:
    assert callable(decode)
    with pytest.raises(TelegramError) as caught:
        decode(frame)
    return caught.value.reason


def test_numbers_are_exact_and_in_the_units_of_the_vocabulary() -> None:
    telegram = decode_p1(GOOD)
    assert values(telegram) == {
        "1-3:0.2.8": (50, ""),
        "0-0:96.1.1": (None, ""),
        "1-0:1.8.1": (4426, "Wh"),
        "1-0:1.7.0": (244, "W"),
    }
    assert (telegram.serial_number, telegram.identification) == ("K8EG004046395507", "ACM5\\1ONE")
    assert [item.step for item in telegram.items][2:] == [1, 1]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1-0:2.7.0(-00.010*kW)", (-10, "W")),
        ("1-0:1.8.0*255(00052185.7825309*kWh)", (Fraction(521857825309, 10_000), "Wh")),
        ("1-0:1.8.0*01(1*kWh)", None),
        ("32.7(241*V)", None),
        ("1-0:32.7.0(0230.0*V)", (230, "V")),
        ("1-0:3.8.0(000000747*varh)", (747, "varh")),
        ("6-0:1.0.0(0001.5*GJ)", (Fraction(1_250_000, 3), "Wh")),
        ("1-0:31.7.0(000*A)", (0, "A")),
        ("1-0:1.6.0(200509134558S)(02.589*kW)", (2589, "W")),
        ("0-1:24.2.1()", (None, "")),
    ],
)
def test_a_line(line: str, expected: tuple[Fraction | int | None, str] | None) -> None:
    found = values(decode_p1(p1([line])))
    if expected is None:
        code = {"32": "1-0:32.7.0"}.get(line[:2], "1-0:1.8.0*01")
        assert found[code][0] in {241, 1000}
    else:
        assert next(iter(found.values())) == expected


def test_gas_of_versions_2_and_3_stands_on_the_next_line() -> None:
    lines = ["0-1:24.1.0(03)", "0-1:24.3.0(121030140000)(00)(60)(1)(0-1:24.2.1)(m3)", "(00024.123)"]
    found = values(decode_p1(p1(lines, check=False)))
    assert found["0-1:24.3.0"] == found["7-0:3.0.0"] == (Fraction(24123, 1000), "")


def test_a_channel_is_known_by_its_kind_of_device() -> None:
    lines = ["0-1:24.1.0(007)", "0-1:24.2.1(200512134558S)(00872.234*m3)", "0-2:24.1.0(003)", "0-2:24.2.3(0)(1.5*m3)"]
    found = values(decode_p1(p1(lines)))
    assert found["8-0:1.0.0"] == (Fraction(872234, 1000), "m3")
    assert found["7-0:3.0.0"] == (Fraction(3, 2), "m3")


def test_the_check_sum_must_be_there_where_the_version_has_one() -> None:
    assert refused(decode_p1, p1(LINES, check=False)) == "checksum"
    assert refused(decode_p1, p1(["0-0:96.1.4(50217)"], check=False)) == "checksum"
    assert decode_p1(p1(["1-0:1.8.1(1*kWh)"], check=False)).items[0].number == 1000


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (GOOD.replace(b"4.426", b"4.427"), "checksum"),
        (GOOD.replace(b"!", b"!0"), "checksum"),
        (GOOD[: GOOD.index(b"!")], "truncated"),
        (b"/ACM5\\1ONE\r\n!\n", "truncated"),
        (p1(["1-0:1.8.1(00000x.426*kWh)"], check=False), "syntax"),
        (p1(["1-0:1.8.1(000004.426*kWh"], check=False), "syntax"),
        (p1(["1-0:1.8.1(4.426*kWh)\0"], check=False), "syntax"),
        (p1(["1-0:1.8.1(4.\x00426*kWh)"], check=False), "syntax"),
        (p1(["(000004.426*kWh)"], check=False), "syntax"),
        (p1(["1-0:1.8.1(1)"], "not", check=False).replace(b"/not", b"/n"), "syntax"),
        (p1(["1-0:1.8.1(1)"] * 500, check=False), "too_long"),
    ],
)
def test_what_is_refused_of_p1(frame: bytes, reason: str) -> None:
    assert refused(decode_p1, frame) == reason


def test_a_readout_of_mode_c() -> None:
    telegram = decode_iec62056(
        b"".join(mode_c(["0.0(120858)", "C.1.0(13647123)", "1.8.0(061561.289*kWh)", "32.7(241*V)"]))
    )
    assert values(telegram)["1-0:1.8.0"] == (61_561_289, "Wh")
    assert values(telegram)["1-0:32.7.0"] == (241, "V")
    assert telegram.serial_number == "13647123"


def test_readouts_of_other_makers() -> None:
    """Codes without a dot, times behind demands, several values on a line, other units."""
    lines = ["FF(00000000)", "1.6.1(00.520*kW)(2511211030)", "1.8.0(1*kWh)2.8.0(2*kWh)", "9.7(38*C)", "P.01(1)(2)(x)"]
    found = values(decode_iec62056(b"".join(mode_c(lines))))
    assert found["1-0:1.6.1"] == (520, "W")
    assert (found["1-0:1.8.0"], found["1-0:2.8.0"]) == ((1000, "Wh"), (2000, "Wh"))
    assert found["1-0:9.7.0"] == (38, "C")
    assert found["FF"] == (0, "")
    assert refused(decode_iec62056, b"".join(mode_c(["1.8.0(1*kWh)2.8.0"]))) == "syntax"
    assert refused(decode_iec62056, b"".join(mode_c(["1,8.0(1*kWh)"]))) == "syntax"


def test_what_is_refused_of_mode_c() -> None:
    whole = b"".join(mode_c(["1.8.0(061561.289*kWh)"]))
    assert refused(decode_iec62056, whole[:-1] + bytes((whole[-1] ^ 1,))) == "checksum"
    assert refused(decode_iec62056, whole.replace(b"289", b"288")) == "checksum"
    assert refused(decode_iec62056, whole[:-2]) == "truncated"


def test_a_telegram_of_mode_d_has_nothing_but_its_form() -> None:
    assert values(decode_iec62056(mode_d(["1-0:1.7.0*255(002124.86*W)"])))["1-0:1.7.0"] == (Fraction(212486, 100), "W")
    assert refused(decode_iec62056, mode_d(["1-0:1.7.0*255(0021\x0024.86*W)"])) == "syntax"


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        (GOOD, [GOOD]),
        (b"\xff\x00junk" + GOOD + b"  25803103\r\n\xff", [GOOD]),
        (GOOD[30:] + GOOD, [GOOD]),
        (GOOD[:60] + GOOD, ["truncated", GOOD]),
        (GOOD + GOOD, [GOOD, GOOD]),
        (b"".join(mode_c(["1.8.0(1*kWh)"])), [b"".join(mode_c(["1.8.0(1*kWh)"]))]),
        (GOOD[:-2], ["truncated"]),
        (b"/" + b"x" * TELEGRAM_BYTES_MAX + GOOD, ["too_long", GOOD]),
        (b"/ACM\r\n!" + b"y" * 40 + GOOD, ["too_long", GOOD]),
        (b"/ACM\r\n!" + b"y" * 18 + GOOD, ["truncated", GOOD]),
        (b"\xdb\x08" + bytes(8) + b"\x82\x00\x05" + b"/!\r\n/" + GOOD, ["encrypted", GOOD]),
        (b"\xff\xdb\x08" + bytes(8) + b"\x05" + b"/!\r\n/!" + GOOD, ["encrypted", GOOD]),
        (b"\xdb\x08" + bytes(8) + b"\x83\x00\x05" + GOOD, [GOOD]),
        (b"\xdb\x08" + bytes(8) + b"\x82\xff\xff" + GOOD, [GOOD]),
        (b"\xdb\x08" + bytes(5), ["truncated"]),
        (b"\xdb\x08" + bytes(8) + b"\x82\x00\x05xx", ["truncated"]),
        (b"noise\xdb", ["truncated"]),
    ],
)
def test_telegrams_are_found_in_a_stream(stream: bytes, found: list[bytes | str]) -> None:
    assert framed(stream) == found


def test_a_check_character_may_look_like_a_beginning() -> None:
    """The exclusive or of a readout is any of 128 characters, `/` among them."""
    texts = (f"{a}{b}{c}" for a in "abcd" for b in "0@ A" for c in map(chr, range(48, 123)))
    readouts = (b"".join(mode_c([f"C.1.0({text})"])) for text in texts)
    whole = next(readout for readout in readouts if readout.endswith(b"/"))
    assert framed(whole + GOOD) == [whole, GOOD]

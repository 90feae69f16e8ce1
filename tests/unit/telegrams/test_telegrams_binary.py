"""SML, the Nordic HAN port and M-Bus: what a binary telegram says, and what is refused of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

import pytest

from drivers.telegrams.crc import crc_arc, crc_x25
from drivers.telegrams.dlms import decode_dlms, decode_notification
from drivers.telegrams.hdlc import HdlcFramer
from drivers.telegrams.mbus import ACK, MbusFramer, SegmentJoiner, long_frame, short_frame
from drivers.telegrams.mbus_records import decode_mbus
from drivers.telegrams.sml import SmlFramer, decode_sml
from drivers.telegrams.telegram import StreamFramer, Telegram, TelegramError
from meter_sim.telegrams.encoders import aidon, hdlc, kaifa, kamstrup, mbus, mbus_answer, mbus_record, notification, sml

SERVER = bytes.fromhex("0a01454d480000a1b2c3")
POWER = ("1-0:16.7.0", 27, -1, -12345, 4)
IMPORT = ("1-0:1.8.0", 30, -1, 1103403151, 8)


def found(framer: StreamFramer, stream: bytes) -> list[bytes | str]:
    """What the framer finds, errors by their reason."""
    what = [each if isinstance(each, bytes) else each.reason for each in framer.feed(stream)]
    left = framer.end()
    return [*what, left.reason] if left is not None else what


def only(framer: StreamFramer, stream: bytes) -> bytes:
    (frame,) = found(framer, stream)
    assert isinstance(frame, bytes)
    return frame


def values(telegram: Telegram) -> dict[str, tuple[Fraction | None, str]]:
    return {item.code: (item.number, item.unit) for item in telegram.items}


def reason_of(decode: object, data: bytes) -> str:
    assert callable(decode)
    with pytest.raises(TelegramError) as caught:
        decode(data)
    assert caught.value.protocol in str(caught.value)
    return caught.value.reason


def test_check_sums_are_those_of_the_standards() -> None:
    assert (crc_arc(b"123456789"), crc_x25(b"123456789")) == (0xBB3D, 0x906E)


# SML


def test_sml_numbers_have_their_exponent_and_unit() -> None:
    telegram = decode_sml(only(SmlFramer(), sml(SERVER, [IMPORT, POWER, ("1-0:96.50.1*1", None, 0, b"EMH", 0)])))
    assert values(telegram) == {
        "1-0:1.8.0": (Fraction(1103403151, 10), "Wh"),
        "1-0:16.7.0": (Fraction(-12345, 10), "W"),
        "1-0:96.50.1*1": (None, ""),
    }
    assert telegram.serial_number == "1EMH0010597059"


def test_doubled_escapes_and_fillings_are_undone() -> None:
    for size in range(1, 8):
        text = b"\x1b\x1b\x1b\x1b" * 2 + b"x" * size
        telegram = decode_sml(only(SmlFramer(), sml(SERVER, [("1-0:96.5.0", None, 0, text, 0), POWER])))
        assert telegram.items[0].text == text.hex()


def test_a_dzg_meter_that_forgets_the_sign_is_understood() -> None:
    """libsml's commit 81c4026: 0x8B28 in two bytes is 356.24 W, as long as the status says that nothing is exported."""
    dzg = bytes.fromhex("0a01445a470002822200")
    whole = sml(dzg, [("1-0:16.7.0", 27, -2, -29912, 2)])
    assert values(decode_sml(only(SmlFramer(), whole)))["1-0:16.7.0"] == (Fraction(-29912, 100), "W")
    entry = b"\x77\x07\x01\x00\x01\x08\x00\xff\x64\x1c\x01\x04\x01\x62\x1e\x52\xff\x55\x00\x00\x00\x01\x01"
    messages = only(SmlFramer(), whole)
    with_status = messages.replace(b"\x71\x77\x07\x01\x00\x10", b"\x72" + entry + b"\x77\x07\x01\x00\x10")
    assert values(decode_sml(with_status))["1-0:16.7.0"] == (Fraction(35624, 100), "W")


def test_what_is_refused_of_sml() -> None:
    good = sml(SERVER, [POWER])
    flipped = bytearray(good)
    flipped[40] ^= 4
    assert found(SmlFramer(), bytes(flipped)) == ["checksum"]
    assert found(SmlFramer(), good[:-5]) == ["truncated"]
    assert found(SmlFramer(), good[:50] + good)[:1] == ["truncated"]
    assert found(SmlFramer(), good[:8] + bytes(20_000))[:1] == ["too_long"]
    messages = only(SmlFramer(), good)
    assert reason_of(decode_sml, messages[:-10]) == "truncated"
    assert reason_of(decode_sml, b"\x72" * 20 + b"\x01\x01") == "syntax"
    assert reason_of(decode_sml, b"\x76\x01\x01\x01\x71\x01\x01\x01") == "syntax"
    assert reason_of(decode_sml, b"\x83\x83\x83\x83\x83") == "length"
    assert reason_of(decode_sml, b"") == "unsupported"


def test_a_filling_that_is_no_filling_is_refused() -> None:
    good = sml(SERVER, [POWER])
    body = good[:-3] + b"\x04"
    forged = body + crc_x25(body).to_bytes(2, "little")
    assert found(SmlFramer(), forged) == ["length"]


# The Nordic HAN port


def test_aidon_says_units_and_exponents() -> None:
    entries: Sequence[tuple[str, str | int, int, int, int]] = [
        ("0-0:96.1.0", "7359992892587665", 0, 0, 0),
        ("1-0:1.7.0", 0x7E7D7E, 0, 27, 6),
        ("1-0:31.7.0", -13, -1, 33, 16),
        ("1-0:32.7.0", 2274, -1, 35, 18),
        ("1-0:1.8.0", 2272138, 1, 30, 6),
    ]
    telegram = decode_dlms(only(HdlcFramer(), hdlc(aidon(entries))))
    assert values(telegram) == {
        "0-0:96.1.0": (None, ""),
        "1-0:1.7.0": (8289662, "W"),
        "1-0:31.7.0": (Fraction(-13, 10), "A"),
        "1-0:32.7.0": (Fraction(2274, 10), "V"),
        "1-0:1.8.0": (22721380, "Wh"),
    }
    assert telegram.serial_number == "7359992892587665"


@pytest.mark.parametrize("count", [1, 9, 13, 14, 18])
def test_kaifa_is_told_by_the_count_of_values(count: int) -> None:
    texts = [] if count == 1 else ["KFM_001", "6970631402614476", "MA304H3E"]
    telegram = decode_dlms(only(HdlcFramer(), hdlc(kaifa([*texts, *range(1000, 1000 + count - len(texts))]))))
    found_values = values(telegram)
    assert len(found_values) == count
    assert found_values["1-0:1.7.0"] == (1000, "")
    if count > 1:
        assert found_values["1-0:32.7.0"][0] == (1005 if count in {9, 14} else 1007)
        assert telegram.serial_number == "6970631402614476"
    if count > 13:
        assert found_values["1-0:1.8.0"][0] == 1000 + count - 3 - 4


def test_kamstrup_gives_codes_and_values_by_turns() -> None:
    entries: Sequence[tuple[str, str | int, int]] = [
        ("1-1:0.0.5", "5706567274389702", 0), ("1-1:1.7.0", 1468, 6), ("1-1:32.7.0", 232, 18),
    ]  # fmt: skip
    telegram = decode_dlms(only(HdlcFramer(), hdlc(kamstrup("Kamstrup_V0001", entries))))
    assert values(telegram)["1-1:1.7.0"] == (1468, "")
    assert values(telegram)["1-1:32.7.0"] == (232, "")
    assert (telegram.serial_number, telegram.identification) == ("5706567274389702", "Kamstrup_V0001")


def test_frames_are_found_by_their_length_and_not_by_flags() -> None:
    frame = hdlc(aidon([("1-0:1.7.0", 0x7E7E7E7E, 0, 27, 6)]))
    assert len(found(HdlcFramer(), frame + frame)) == 2
    assert len(found(HdlcFramer(), frame + frame[1:])) == 2, "one flag may end a frame and begin the next"
    assert found(HdlcFramer(), b"\x7e\xa0\x7e\x55" + frame) == ["checksum", frame[9:-3]]
    assert found(HdlcFramer(), frame[-20:] + frame) == [frame[9:-3]]


def test_what_is_refused_of_hdlc() -> None:
    frame = hdlc(aidon([("1-0:1.7.0", 280, 0, 27, 6)]))
    flipped = bytearray(frame)
    flipped[-8] ^= 1
    assert found(HdlcFramer(), bytes(flipped)) == ["checksum"]
    flipped = bytearray(frame)
    flipped[5] ^= 1
    assert found(HdlcFramer(), bytes(flipped)) == ["checksum"]
    cut = frame[:30] + frame[33:]
    assert found(HdlcFramer(), cut) == ["truncated"]
    assert found(HdlcFramer(), cut + frame) == ["length", frame[9:-3]]
    segmented = bytearray(frame[1:-3])
    segmented[0] |= 8
    segmented[6:8] = crc_x25(bytes(segmented[:6])).to_bytes(2, "little")
    whole = b"\x7e" + bytes(segmented) + crc_x25(bytes(segmented)).to_bytes(2, "little") + b"\x7e"
    assert found(HdlcFramer(), whole) == ["unsupported"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x01\x02\x03", "syntax"),
        (b"\xe6\xe7\x00", "unsupported"),
        (b"\xe6\xe7\x00\xc4\x00", "unsupported"),
        (b"\xe6\xe7\x00\xdb\x08" + bytes(20), "encrypted"),
        (b"\xe6\xe7\x00\x0f\x40", "truncated"),
        (b"\xe6\xe7\x00\x0f\x40\x00\x00\x00\x05", "syntax"),
        (notification(b"\x02\x02\x06\x00\x00\x00\x01\x06\x00\x00\x00\x02"), "unsupported"),
        (notification(b"\x02\x01\x06\x00\x00"), "truncated"),
        (notification(b"\x02\x01\x06\x00\x00\x00\x01\x00"), "length"),
        (notification(b"\x02\x01\x63"), "syntax"),
        (notification(b"\x09\x83"), "length"),
        (notification(b"\x01\x01" * 20), "too_long"),
        (notification(b"\x01\xff"), "length"),
        (notification(b"\x00"), "unsupported"),
        (notification(b"\x01\x01\x02\x01\x00"), "syntax"),
        (notification(b"\x01\x01\x02\x02\x0a\x01x\x00"), "syntax"),
        (notification(b"\x01\x01\x02\x03\x09\x06\x01\x00\x01\x07\x00\xff\x00\x00"), "syntax"),
        (notification(b"\x02\x02\x09\x06\x01\x00\x01\x07\x00\xff\x01\x00"), "syntax"),
        (notification(b"\x02\x03\x09\x06\x01\x00\x01\x07\x00\xff\x00\x11\x01"), "syntax"),
    ],
)
def test_what_is_refused_of_dlms(data: bytes, reason: str) -> None:
    assert reason_of(decode_dlms, data) == reason


def test_what_is_not_a_number_is_missing() -> None:
    name = b"\x09\x06\x01\x00\x01\x07\x00\xff"
    telegram = decode_dlms(notification(b"\x02\x04" + name + b"\x17\x7f\xc0\x00\x00" + name + b"\x17\x3f\xc0\x00\x00"))
    assert [item.number for item in telegram.items] == [None, Fraction(3, 2)]


# M-Bus


def answered(records: bytes) -> Telegram:
    return decode_mbus(long_frame(only(MbusFramer(), mbus(5, mbus_answer("12345678", "ACM", 2, records)))).data)


@pytest.mark.parametrize(
    ("record", "code", "number", "unit"),
    [
        (mbus_record("04", "03", 1364, 4), "energy", 1364, "Wh"),
        (mbus_record("0C", "06", 56789, 4, bcd=True), "energy", 56_789_000, "Wh"),
        (mbus_record("0E", "8400", 7, 6, bcd=True), "energy", 70, "Wh"),
        (mbus_record("8420", "03", 5, 4), "energy.t2", 5, "Wh"),
        (mbus_record("84A040", "03", 5, 4), "energy.t2.u2", 5, "Wh"),
        (mbus_record("44", "03", 5, 4), "energy.s1", 5, "Wh"),
        (mbus_record("04", "833C", 5, 4), "energy.backward", 5, "Wh"),
        (mbus_record("04", "0E", 36, 4), "energy", 10_000, "Wh"),
        (mbus_record("04", "FB01", 2, 4), "energy", 2_000_000, "Wh"),
        (mbus_record("02", "FDC8FF01", 2257, 2), "voltage.ff01", Fraction(2257, 10), "V"),
        (mbus_record("12", "FD48", 2410, 2), "voltage.max", 241, "V"),
        (mbus_record("03", "FD59", -66, 3), "current", Fraction(-66, 1000), "A"),
        (mbus_record("0B", "2B", -12, 3, bcd=True), "power", -12, "W"),
        (mbus_record("02", "FB2E", 500, 2), "frequency", 50, "Hz"),
        (mbus_record("04", "13", 1234, 4), "volume", Fraction(1234, 1000), "m3"),
        (mbus_record("02", "59", 2155, 2), "flow_temperature", Fraction(2155, 100), "degC"),
        (mbus_record("04", "9370", 1000, 4), "volume", Fraction(1, 10**6), "m3"),
        (mbus_record("04", "937D", 1, 4), "volume", 1, "m3"),
        (mbus_record("01", "D97A", 0, 1), "flow_temperature", Fraction(1, 10), "degC"),
        (bytes.fromhex("052b0000c03f"), "power", Fraction(3, 2), "W"),
        (mbus_record("04", "9515", 1, 4), "volume", None, ""),
        (bytes.fromhex("0c06eeeeeeee"), "energy", None, ""),
        (bytes.fromhex("052b0000c07f"), "power", None, ""),
        (bytes.fromhex("0d7803333231"), "fabrication_number", None, ""),
        (bytes.fromhex("026c3f2c"), "date", None, ""),
        (mbus_record("04", "7F", 1, 4), "maker", 1, ""),
        (bytes.fromhex("017c02515003"), "PQ", 3, ""),
        (mbus_record("01", "FD7A", 3, 1), "vif_fd_7a", 3, ""),
    ],
)
def test_a_record(record: bytes, code: str, number: Fraction | int | None, unit: str) -> None:
    (item,) = answered(record).items
    assert (item.code, item.number, item.unit) == (code, number, unit)


def test_the_header_says_who_it_is_and_the_end_whether_there_is_more() -> None:
    telegram = answered(b"\x2f\x2f" + mbus_record("04", "03", 1, 4) + b"\x1f\x01\x02")
    assert (telegram.serial_number, telegram.identification, telegram.more) == ("12345678", "ACM 1 medium 2", True)
    assert not answered(mbus_record("04", "03", 1, 4) + b"\x0f\x01\x02").more
    assert len(decode_mbus(b"\x78" + mbus_record("04", "03", 1, 4)).items) == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x70\x08", "application_error"),
        (b"\x70", "application_error"),
        (b"\x73" + bytes(16), "unsupported"),
        (b"\x76" + bytes(16), "unsupported"),
        (b"\x55", "unsupported"),
        (b"\x72\x78\x56\x34\x12\x24", "truncated"),
        (b"\x72" + bytes(11) + b"\x05", "encrypted"),
        (mbus_answer("12345678", "ACM", 2, mbus_record("04", "03", 1, 4)[:-1]), "truncated"),
        (mbus_answer("12345678", "ACM", 2, b"\x04"), "truncated"),
        (mbus_answer("12345678", "ACM", 2, b"\x84"), "truncated"),
        (mbus_answer("12345678", "ACM", 2, b"\x04\x83"), "truncated"),
        (mbus_answer("12345678", "ACM", 2, b"\x0d\x78"), "truncated"),
        (mbus_answer("12345678", "ACM", 2, b"\x0d\x78\xcf"), "syntax"),
        (mbus_answer("12345678", "ACM", 2, b"\x84" + b"\x80" * 12), "syntax"),
        (mbus_answer("12345678", "ACM", 2, b"\x04" + b"\x83" * 12), "syntax"),
        (mbus_answer("12345678", "ACM", 2, b"\x3f"), "unsupported"),
    ],
)
def test_what_is_refused_of_m_bus(data: bytes, reason: str) -> None:
    assert reason_of(decode_mbus, data) == reason


def test_m_bus_frames_in_a_stream() -> None:
    frame = mbus(5, mbus_answer("12345678", "ACM", 2, mbus_record("04", "03", 1, 4)))
    assert found(MbusFramer(), ACK + frame + frame) == [ACK, frame, frame]
    assert found(MbusFramer(), b"\x68\x05\x06\x68\x00" + frame) == [frame]
    assert found(MbusFramer(), frame[:-2] + bytes((frame[-2] ^ 1,)) + frame[-1:]) == ["checksum"]
    assert found(MbusFramer(), frame[:-1] + b"\x00") == ["length"]
    assert found(MbusFramer(), frame[:-3]) == ["truncated"]
    assert short_frame(0x5B, 5) == bytes.fromhex("105b056016")


def test_segments_of_an_austrian_meter_are_joined_and_need_a_key() -> None:
    message = b"\xdb\x08" + bytes(number % 256 for number in range(298))
    first = mbus(0xFF, b"\x00\x01\x67" + message[:245], 0x53)
    last = mbus(0xFF, b"\x11\x01\x67" + message[245:], 0x53)
    joiner = SegmentJoiner()
    frames = [long_frame(frame) for frame in MbusFramer().feed(first + last) if isinstance(frame, bytes)]
    assert joiner.add(frames[0]) is None
    assert joiner.add(frames[1]) == message
    assert reason_of(decode_notification, message) == "encrypted"
    with pytest.raises(TelegramError, match=re.escape("segment 1 came after 0 others")):
        joiner.add(frames[1])
    assert joiner.add(frames[0]) is None
    with pytest.raises(TelegramError, match="segment 0 came after 1 others"):
        joiner.add(frames[0])
    assert joiner.add(frames[1]) == message

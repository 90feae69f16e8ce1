"""Any pieces give the same telegrams; any bytes give telegrams or a `TelegramError`, and no damage another value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drivers.telegrams.dlms import decode_dlms, decode_notification
from drivers.telegrams.hdlc import HdlcFramer
from drivers.telegrams.mbus import MbusFramer, long_frame
from drivers.telegrams.mbus_records import decode_mbus
from drivers.telegrams.obis_text import decode_iec62056, decode_p1
from drivers.telegrams.sml import SmlFramer, decode_sml
from drivers.telegrams.telegram import Decode, StreamFramer, Telegram, TelegramError
from drivers.telegrams.text_framer import TextFramer
from meter_sim.telegrams.encoders import aidon, hdlc, kaifa, kamstrup, mbus, mbus_answer, mbus_record, mode_c, p1, sml

SERVER = bytes.fromhex("0a01454d480000a1b2c3")
RECORDS = mbus_record("04", "03", 1364, 4) + mbus_record("02", "FD48", 2301, 2)
Way = tuple[type[StreamFramer], Decode, bytes]
WAYS: dict[str, Way] = {
    "p1": (TextFramer, decode_p1, p1(["1-3:0.2.8(50)", "1-0:1.8.1(000004.426*kWh)", "1-0:1.7.0(00.244*kW)"])),
    "mode_c": (TextFramer, decode_iec62056, b"".join(mode_c(["C.1.0(13647123)", "1.8.0(061561.289*kWh)"]))),
    "sml": (
        SmlFramer, decode_sml,
        sml(SERVER, [("1-0:1.8.0", 30, -1, 1103403151, 8), ("1-0:96.5.0", None, 0, b"\x1b" * 9, 0),
                     ("1-0:16.7.0", 27, 0, -500, 2)]),
    ),
    "aidon": (
        HdlcFramer, decode_dlms,
        hdlc(aidon([("1-0:1.7.0", 0x7E7D7E, 0, 27, 6), ("1-0:32.7.0", 2274, -1, 35, 18)])),
    ),
    "kaifa": (HdlcFramer, decode_dlms, hdlc(kaifa(["KFM_001", "6970631402614476", "MA304H3E", *range(10)]))),
    "kamstrup": (HdlcFramer, decode_dlms, hdlc(kamstrup("V1", [("1-1:1.7.0", 1468, 6), ("1-1:32.7.0", 232, 18)]))),
    "mbus": (
        MbusFramer, lambda frame: decode_mbus(long_frame(frame).data),
        mbus(5, mbus_answer("12345678", "ACM", 2, RECORDS)),
    ),
}  # fmt: skip
DECODERS: list[Callable[[bytes], Telegram]] = [decode_p1, decode_iec62056, decode_sml, decode_dlms, decode_notification]
every_way = pytest.mark.parametrize("name", WAYS)


def telegrams(way: Way, pieces: Sequence[bytes]) -> list[Telegram | str]:
    framer_type, decode, _whole = way
    framer = framer_type()
    found: list[Telegram | str] = []
    for piece in pieces:
        for each in framer.feed(piece):
            try:
                if isinstance(each, TelegramError):
                    raise each
                if len(each) > 1:  # an acknowledgement of M-Bus is none
                    found.append(decode(each))
            except TelegramError as error:
                found.append(str(error))
    return found


def cut(stream: bytes, places: Sequence[int]) -> list[bytes]:
    marks = sorted({place % (len(stream) + 1) for place in places})
    return [stream[a:b] for a, b in zip([0, *marks], [*marks, len(stream)], strict=True)]


@every_way
@given(places=st.lists(st.integers(0, 5_000), max_size=30), noise=st.binary(max_size=40), damage=st.integers(0, 5_000))
def test_pieces_do_not_matter(name: str, places: list[int], noise: bytes, damage: int) -> None:
    way = WAYS[name]
    whole = way[2]
    broken = whole[: damage % len(whole)] + whole[damage % len(whole) + 1 :]
    stream = noise + whole + broken + noise + whole
    once = telegrams(way, [stream])
    assert telegrams(way, cut(stream, places)) == once
    assert telegrams(way, [bytes((byte,)) for byte in stream]) == once


@every_way
@given(at=st.integers(0, 5_000), bit=st.integers(0, 7))
def test_one_bit_never_makes_another_value(name: str, at: int, bit: int) -> None:
    way = WAYS[name]
    whole = bytearray(way[2])
    (good,) = telegrams(way, [way[2]])
    whole[at % len(whole)] ^= 1 << bit
    found = telegrams(way, [bytes(whole) + way[2]])
    assert found[-1] == good, "the next telegram is read whatever the one before was"
    if name != "mode_c":  # its identification is not checked, and of its 8-bit sum one bit can make another end
        assert {each for each in found if isinstance(each, Telegram)} == {good}


@every_way
@given(stream=st.binary(max_size=400))
def test_noise_never_raises_anything_else(name: str, stream: bytes) -> None:
    way = WAYS[name]
    telegrams(way, [stream, way[2][:20], stream])


@given(data=st.binary(max_size=300), which=st.sampled_from(DECODERS))
@example(data=b"", which=decode_p1)
@example(data=b"/ACM5x\r\n\x02!\r\n\x03\x00", which=decode_iec62056)
def test_decoders_raise_nothing_else(data: bytes, which: Callable[[bytes], Telegram]) -> None:
    with suppress(TelegramError):
        which(data)


@every_way
@settings(max_examples=200)
@given(changes=st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_contents_of_any_kind_are_read_or_refused(name: str, changes: list[tuple[int, int]]) -> None:
    """Behind a check sum that happens to be good: the decoder alone, with what the framer gives it."""
    framer_type, decode, whole = WAYS[name]
    (frame,) = framer_type().feed(whole)
    assert isinstance(frame, bytes)
    data = bytearray(frame)
    for at, byte in changes:
        data[at % len(data)] = byte
    with suppress(TelegramError):
        decode(bytes(data))


@given(
    head=st.sampled_from([b"\x72" + bytes(12), b"\x78", b"\x7a" + bytes(4)]), data=st.binary(min_size=1, max_size=250)
)
def test_any_records_of_m_bus(head: bytes, data: bytes) -> None:
    with suppress(TelegramError):
        assert len(decode_mbus(head + data).items) <= len(data)

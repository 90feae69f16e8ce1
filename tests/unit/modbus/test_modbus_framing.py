"""Framing without a line: whole answers, one byte at a time, with noise before and after, and what is refused."""

from __future__ import annotations

import pytest

from drivers.modbus.block_plan import Block
from drivers.modbus.framing import RtuFraming, TcpFraming
from meter_sim.modbus.frames import Asked, answer_body, crc16, refusal_body, rtu_frame, take_rtu, take_tcp, tcp_frame

BLOCK = Block(4, 0, 2)
DATA = bytes.fromhex("43663334")
ANSWER = bytes.fromhex("010404436633341b38")  # the example of the Eastron manuals: 230.2 V
REFUSAL = bytes.fromhex("018402c2c1")


@pytest.fixture
def rtu() -> RtuFraming:
    framing = RtuFraming()
    assert framing.request(1, BLOCK) == bytes.fromhex("01040000000271cb")
    return framing


@pytest.fixture
def tcp() -> TcpFraming:
    framing = TcpFraming()
    assert framing.request(1, BLOCK) == bytes.fromhex("000100000006010400000002")
    return framing


def test_rtu_answer(rtu: RtuFraming) -> None:
    answer = rtu.answer(ANSWER)
    assert answer is not None
    assert answer.registers == DATA


def test_rtu_refusal(rtu: RtuFraming) -> None:
    answer = rtu.answer(REFUSAL)
    assert answer is not None
    assert answer.exception == 2


@pytest.mark.parametrize("noise", ["00", "01", "0104", "ff00", "010404", "01040000000271cb"])
@pytest.mark.parametrize("after", ["", "00"])
def test_rtu_answer_between_noise_or_behind_the_adapters_echo(rtu: RtuFraming, noise: str, after: str) -> None:
    for frame in (ANSWER, REFUSAL):
        assert rtu.answer(bytes.fromhex(noise) + frame + bytes.fromhex(after)) is not None


def test_rtu_answer_byte_by_byte_is_found_with_the_last_one(rtu: RtuFraming) -> None:
    for length in range(len(ANSWER)):
        assert rtu.answer(ANSWER[:length]) is None
        assert rtu.missing(ANSWER[:length]) == len(ANSWER) - length


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (ANSWER[:-1] + b"\0", "checksum error"),
        (ANSWER[:6], "short answer, 6 of 9 bytes"),
        (rtu_frame(2, ANSWER[1:-2]), "unit 2 instead of 1"),
        (rtu_frame(1, b"\x03\x04" + DATA), "function 3 instead of 4"),
        (rtu_frame(1, b"\x04\x02\x43\x66"), "2 bytes of data instead of 4"),
        (rtu_frame(1, b"\x04\x06" + DATA + b"\0\0"), "6 bytes of data instead of 4"),
        (bytes(range(40)), "no Modbus answer (40 bytes: 00 01 02 03"),
        (b"\x07", "no Modbus answer (1 bytes: 07)"),
    ],
)
def test_rtu_what_is_no_answer_is_explained(rtu: RtuFraming, frame: bytes, says: str) -> None:
    assert rtu.answer(frame) is None
    assert says in rtu.explain(frame)


def test_tcp_answer(tcp: TcpFraming) -> None:
    frame = tcp_frame(Asked(1, 4, 0, 2, 1), b"\x04\x04" + DATA)
    for length in range(len(frame)):
        assert tcp.answer(frame[:length]) is None
    answer = tcp.answer(frame)
    assert answer is not None
    assert answer.registers == DATA
    assert tcp.missing(frame) == 0


def test_tcp_late_answers_are_passed_over(tcp: TcpFraming) -> None:
    late = tcp_frame(Asked(1, 4, 0, 2, 1), b"\x04\x04late")
    tcp.request(1, BLOCK)
    assert tcp.answer(late) is None
    answer = tcp.answer(late + tcp_frame(Asked(1, 4, 0, 2, 2), b"\x04\x04" + DATA))
    assert answer is not None
    assert answer.registers == DATA


@pytest.mark.parametrize(
    ("unit", "body", "exception", "fault"),
    [
        (1, "8402", 2, ""),
        (2, "040443663334", 0, "unit 2 instead of 1"),
        (1, "030443663334", 0, "function 3 instead of 4"),
        (1, "04024366", 0, "2 bytes of data instead of 4"),
        (1, "0404436633", 0, "3 bytes of data instead of 4"),
        (1, "84", 0, "function 132 instead of 4"),
    ],
)
def test_tcp_answers_that_do_not_fit(tcp: TcpFraming, unit: int, body: str, exception: int, fault: str) -> None:
    answer = tcp.answer(tcp_frame(Asked(unit, 4, 0, 2, 1), bytes.fromhex(body)))
    assert answer is not None
    assert (answer.exception, answer.registers) == (exception, b"")
    assert fault in answer.fault


def test_tcp_stream_that_is_none(tcp: TcpFraming) -> None:
    answer = tcp.answer(b"HTTP/1.1 400")
    assert answer is not None
    assert "no Modbus TCP header" in answer.fault
    assert "no complete answer" in tcp.explain(b"\0\1")


@pytest.mark.parametrize("length", [0, 1, 255, 65_535])
def test_tcp_lengths_that_no_answer_has(tcp: TcpFraming, length: int) -> None:
    answer = tcp.answer(b"\0\1\0\0" + length.to_bytes(2, "big") + b"\1\4\4" + DATA)
    assert answer is not None
    assert "no Modbus TCP header" in answer.fault


def test_tcp_transaction_numbers_come_round(tcp: TcpFraming) -> None:
    numbers = {tcp.request(1, BLOCK)[:2] for _ in range(65_535)}
    assert len(numbers) == 65_535
    assert b"\0\0" not in numbers


def test_the_simulators_own_frames() -> None:
    assert crc16(bytes.fromhex("010400000002")) == bytes.fromhex("71cb")
    asked, rest = take_rtu(bytes.fromhex("01040000000271cb") + b"more")
    assert (asked, rest) == (Asked(1, 4, 0, 2), b"more")
    assert take_rtu(bytes.fromhex("01040000000271cc")) == (None, bytes.fromhex("01040000000271cc"))
    assert asked is not None
    assert rtu_frame(1, answer_body(asked, DATA)) == ANSWER
    assert rtu_frame(1, refusal_body(asked, 2)) == REFUSAL


def test_the_simulators_tcp_requests() -> None:
    request = bytes.fromhex("000700000006010400000002")
    assert take_tcp(request + b"x") == (Asked(1, 4, 0, 2, 7), b"x")
    for length in range(len(request)):
        assert take_tcp(request[:length]) == (None, request[:length])
    with pytest.raises(ValueError, match="not a Modbus TCP header"):
        take_tcp(b"GET / HTTP/1.1")


def test_an_exception_without_a_code_is_no_answer_and_no_empty_one(rtu: RtuFraming, tcp: TcpFraming) -> None:
    """Code 0 is none of Modbus's; taken for an answer it would be one of no registers."""
    for answer in (rtu.answer(rtu_frame(1, b"\x84\0")), tcp.answer(tcp_frame(Asked(1, 4, 0, 2, 1), b"\x84\0"))):
        assert answer is not None
        assert "exception 0" in answer.fault

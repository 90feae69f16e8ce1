"""What a scan understands of what it hears: answers of anybody, late ones, echoes, and noise around them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.probe import Heard, rtu_frame, tcp_answer, tcp_frame, understood
from drivers.telegrams.crc import crc_modbus

REQUEST = rtu_frame(7, b"\x03\x00\x00\x00\x02")
ANSWER = b"\x03\x04\x43\x66\x00\x00"
REFUSAL = b"\x83\x02"


def test_the_check_sum_is_that_of_the_standard() -> None:
    assert crc_modbus(b"123456789") == 0x4B37
    assert bytes.fromhex("0103000000 02c40b") == rtu_frame(1, b"\x03\x00\x00\x00\x02")


@pytest.mark.parametrize("body", [ANSWER, REFUSAL])
def test_an_answer_between_noise_and_echo(body: bytes) -> None:
    frame = rtu_frame(7, body)
    assert understood(frame, REQUEST) == Heard({7: body})
    assert understood(REQUEST + frame, REQUEST) == Heard({7: body})
    assert understood(b"\0" + frame + b"\0\xff", REQUEST) == Heard({7: body}, b"\0\0\xff")
    assert understood(REQUEST, REQUEST) == Heard()


def test_a_late_answer_carries_its_unit() -> None:
    late, now = rtu_frame(6, ANSWER), rtu_frame(7, REFUSAL)
    assert understood(late + now, REQUEST).answers == {6: ANSWER, 7: REFUSAL}


def test_an_answer_to_another_function_is_none() -> None:
    frame = rtu_frame(7, b"\x04\x02\x00\x01")
    assert understood(frame, REQUEST) == Heard({}, frame)


def test_device_identification_has_no_length_of_its_own() -> None:
    body = b"\x2b\x0e\x01\x81\x00\x00\x01\x00\x09Schneider"
    asked = rtu_frame(7, b"\x2b\x0e\x01\x00")
    assert understood(rtu_frame(7, body), asked).answers == {7: body}


@given(st.binary(max_size=300))
def test_no_noise_harms(noise: bytes) -> None:
    heard = understood(noise, REQUEST)
    assert len(heard.noise) <= len(noise)


@given(st.binary(min_size=1, max_size=8), st.binary(max_size=8))
def test_noise_hides_no_answer(before: bytes, after: bytes) -> None:
    assert understood(before + rtu_frame(7, ANSWER) + after, REQUEST).answers.get(7) == ANSWER


def test_tcp_answers_are_known_by_their_transaction() -> None:
    first, second = tcp_frame(1, 7, ANSWER), tcp_frame(2, 8, REFUSAL)
    assert tcp_answer(first + second, 2) == ((8, REFUSAL), b"")
    assert tcp_answer(first, 2) == (None, b"")
    for cut in range(len(second)):
        answer, left = tcp_answer(second[:cut], 2)
        assert answer is None
        assert left == second[:cut]

"""Frames as real meters and lines gave them: from the collection beside the checkout, and of our own making."""

from __future__ import annotations

import csv
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.modbus.block_plan import Block
from drivers.modbus.framing import RTU_OVERHEAD, Answer, RtuFraming
from meter_sim.modbus.frames import crc16, refusal_body, rtu_frame, take_rtu

SHARED = Path(__file__).parents[3].parent / "shared" / "meters" / "telegrams" / "modbus_rtu"
READS = (3, 4)
VALUES: dict[tuple[str, str], Callable[[bytes], float]] = {  # what the notes and sources of the collection state
    ("et112_voltage", "233.1 V"): lambda data: struct.unpack(">i", data[2:] + data[:2])[0] / 10,
    ("sdm630_voltage_l1", "224.15 V"): lambda data: struct.unpack(">f", data)[0],
    ("sdm_voltage_l1", "231.68 V"): lambda data: struct.unpack(">f", data)[0],
    ("sdm_current_l2", "4.28 A"): lambda data: struct.unpack(">f", data)[0],
    ("sdm_read_voltage_l1", "230.2 V"): lambda data: struct.unpack(">f", data)[0],
    ("sdm_read_holding", "1.0"): lambda data: struct.unpack(">f", data)[0],
    ("pzem_read_all", "225.7 V"): lambda data: struct.unpack(">H", data[:2])[0] / 10,
}


def rows(name: str) -> list[dict[str, str]]:
    if not SHARED.is_dir():
        return []
    with (SHARED / name).open(newline="") as file:
        return list(csv.DictReader(file))


def exchanges() -> Iterator[tuple[str, bytes, bytes, str]]:
    """Name, request, response, note; where only the response is known, the request that fits it."""
    for file in ("frames.csv", "real_frames.csv"):
        requests: dict[str, bytes] = {}
        for row in rows(file):
            frame = bytes.fromhex(row["frame_hex"])
            if row["kind"].endswith("request"):
                requests[row["name"]] = frame
            else:
                body = frame[:2] + b"\0\0" + (frame[2] // 2).to_bytes(2, "big")
                request = requests.get(row["name"].replace("response", "request"), body + crc16(body))
                yield row["name"], request, frame, " ".join((row.get("note") or "", row["source"]))


def asked(request: bytes) -> RtuFraming:
    """A framing that waits for the answer to `request`, which it writes alike."""
    framing = RtuFraming()
    parsed, rest = take_rtu(request)
    assert parsed is not None
    assert rest == b""
    block = Block(parsed.function_code, parsed.address, parsed.count)
    assert framing.request(parsed.unit, block) == request
    return framing


@pytest.mark.skipif(not SHARED.is_dir(), reason="the collection of telegrams is not beside the checkout")
def test_the_collection_is_answered_as_its_notes_say() -> None:
    values, exceptions, damaged, foreign = [], [], [], []
    for name, request, response, note in exchanges():
        if request[1] not in READS and request[1] & 0x7F not in READS:
            foreign.append(name)  # the answer to a write, which never is an answer to a read
            framing = RtuFraming()
            framing.request(response[0], Block(3, 0x1C, 2))
            assert framing.answer(response) is None
            continue
        framing = asked(request) if request[1] in READS else asked(bytes.fromhex("01040000000271cb"))
        answer = framing.answer(response)
        if answer is None:
            damaged.append((name, framing.explain(response)))
        elif answer.exception:
            exceptions.append((name, answer.exception))
        else:
            assert answer.registers == response[3:-2]
            known = [value for (of, says), value in VALUES.items() if of == name and says in note]
            stated = [says for (of, says) in VALUES if of == name and says in note]
            values += [
                (name, round(value(answer.registers), 2), float(says.split()[0]))
                for value, says in zip(known, stated, strict=True)
            ]
            if "foreign_holding" in name:
                assert not any(answer.registers), "zeros, which identify nothing"
    assert [(name, got) for name, got, _ in values] == [(name, pytest.approx(says)) for name, _, says in values]
    assert {name for name, _, _ in values} == {name for name, _ in VALUES}
    assert ("exception_with_glitch_bytes", 2) in exceptions
    assert ("sdm_exception", 2) in exceptions
    assert [(name, says) for name, says in damaged] == [("sdm630_80_registers", "short answer, 150 of 165 bytes")]
    assert foreign


def answer_to(request: bytes, received: bytes) -> tuple[Answer | None, str]:
    framing = asked(request)
    return framing.answer(received), framing.explain(received)


def read_request(unit: int, code: int, address: int, count: int) -> bytes:
    return rtu_frame(unit, struct.pack(">BHH", code, address, count))


def test_an_exception_between_two_glitches() -> None:
    """A direction change gave a 00 before and after it."""
    request = read_request(9, 3, 0x0200, 1)
    parsed, _ = take_rtu(request)
    assert parsed is not None
    answer, _ = answer_to(request, b"\0" + rtu_frame(9, refusal_body(parsed, 2)) + b"\0")
    assert answer == Answer(exception=2)


@pytest.mark.parametrize("glitch", [b"\0", b"\xff", b"\0\0", b"\x09", b"\x09\x03", b"\x09\x03\x02", b"\x80"])
def test_an_answer_between_two_glitches(glitch: bytes) -> None:
    frame = rtu_frame(9, b"\x03\x02\x12\x34")
    assert answer_to(read_request(9, 3, 0x0200, 1), glitch + frame + glitch)[0] == Answer(registers=b"\x12\x34")


@pytest.mark.parametrize("length", [1, 2, 3, 100, 164])
def test_a_truncated_answer_of_80_registers_is_none_and_says_so(length: int) -> None:
    frame = rtu_frame(1, bytes((4, 160)) + bytes(range(160)))
    assert len(frame) == 160 + RTU_OVERHEAD
    answer, says = answer_to(read_request(1, 4, 0, 80), frame[:length])
    assert answer is None
    assert f"{length} of 165 bytes" in says or "no Modbus answer" in says


def test_every_answer_with_one_byte_changed_is_refused() -> None:
    request = read_request(1, 4, 0, 2)
    frame = rtu_frame(1, bytes.fromhex("0404 4366 3333".replace(" ", "")))
    for at in range(len(frame)):
        for change in range(1, 256):
            damaged = frame[:at] + bytes((frame[at] ^ change,)) + frame[at + 1 :]
            assert answer_to(request, damaged)[0] is None


def test_an_answer_of_fewer_registers_with_a_good_checksum_is_refused() -> None:
    answer, says = answer_to(read_request(1, 4, 0, 2), rtu_frame(1, b"\x04\x02\x43\x66"))
    assert answer is None
    assert "2 bytes of data instead of 4" in says

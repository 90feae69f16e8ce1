"""Modbus frames, RTU and TCP: requests to bytes, bytes to answers. No I/O; the only module that imports pymodbus."""

from __future__ import annotations

import struct
from typing import Protocol

from msgspec import Struct
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU

from drivers.modbus.block_plan import Block

TRANSACTION_MAX = 0xFFFF
RTU_OVERHEAD = 5  # unit, function, byte count, CRC
MBAP_BYTES = 6
LATE_MAX = 8  # a gateway that queues more requests than that is not waited for
CHECK_TIME = "lengthen the interval, raise the baud rate, or read fewer measurands"
CHECK_TRANSACTIONS = "update the gateway, or take another: it must give back the transaction id of each request"
TCP_LENGTH_MIN, TCP_LENGTH_MAX = 2, 254  # what the header may announce: unit and 1 to 253 bytes


class Answer(Struct, frozen=True):
    """What a framer found: registers, or an exception code. `fault` says what is wrong with what came instead."""

    registers: bytes = b""
    exception: int = 0
    fault: str = ""


class Framing(Protocol):
    """Requests to bytes, and bytes to the answer of exactly that request. No I/O."""

    def request(self, unit: int, block: Block) -> bytes: ...
    def answer(self, buffer: bytes) -> Answer | None: ...
    def missing(self, buffer: bytes) -> int: ...
    def explain(self, buffer: bytes) -> str: ...

    def advice(self, buffer: bytes) -> str:
        """What to do about what `buffer` looks like; "" where nothing special is known."""


class RtuFraming:
    """RTU: an answer is known by unit, function, byte count and CRC, wherever noise may have put it."""

    def __init__(self) -> None:
        self._framer = FramerRTU(DecodePDU(is_server=False))
        self._good = self._refusal = b""
        self._size = 0

    def request(self, unit: int, block: Block) -> bytes:
        code = block.function_code
        self._good = bytes((unit, code, 2 * block.count))
        self._refusal = bytes((unit, code | 0x80))
        self._size = 2 * block.count + RTU_OVERHEAD
        return self._framer.encode(struct.pack(">BHH", code, block.address, block.count), unit, 0)

    def answer(self, buffer: bytes) -> Answer | None:
        return self._find(buffer, self._good, self._size) or self._find(buffer, self._refusal, RTU_OVERHEAD)

    def _find(self, buffer: bytes, start: bytes, size: int) -> Answer | None:
        at = buffer.find(start)
        while at >= 0 and len(buffer) - at >= size:
            _used, _unit, _transaction, pdu = self._framer.decode(buffer[at : at + size])
            if pdu:
                return _exception(pdu[1]) if pdu[0] & 0x80 else Answer(registers=pdu[2:])
            at = buffer.find(start, at + 1)
        return None

    def missing(self, buffer: bytes) -> int:
        return self._size - len(buffer)

    def explain(self, buffer: bytes) -> str:
        """What `buffer`, in which no answer was found, looks like."""
        unit, code = self._refusal[0], self._refusal[1] & 0x7F
        shown = f"{len(buffer)} bytes: {buffer[:16].hex(' ')}{' ...' if len(buffer) > 16 else ''}"  # noqa: PLR2004
        if buffer.startswith(self._good) and len(buffer) < self._size:
            return f"short answer, {len(buffer)} of {self._size} bytes"
        if buffer.startswith(self._good):
            return f"checksum error ({shown})"
        if len(buffer) >= RTU_OVERHEAD and FramerRTU.compute_CRC(buffer[:-2]) == int.from_bytes(buffer[-2:], "big"):
            if buffer[0] != unit:
                return f"answer of unit {buffer[0]} instead of {unit}"
            if buffer[1] != code:
                return f"answer to function {buffer[1]} instead of {code}"
            return f"answer with {buffer[2]} bytes of data instead of {self._good[2]}"
        return f"no Modbus answer ({shown})"

    def advice(self, buffer: bytes) -> str:  # noqa: ARG002 - noise says nothing of its cause
        return ""


def _exception(code: int) -> Answer:
    """Modbus's codes begin with 1; 0 says nothing."""
    return Answer(exception=code) if code else Answer(fault="exception 0, which there is none")


def rtu_end(buffer: bytes, unit: int, function_code: int, count: int) -> int:
    """Where in `buffer` an RTU answer of this shape ends, 0 where there is none."""
    start, size = bytes((unit, function_code, 2 * count)), 2 * count + RTU_OVERHEAD
    at = buffer.find(start)
    while at >= 0 and len(buffer) - at >= size:
        end = at + size
        if FramerRTU.compute_CRC(buffer[at : end - 2]) == int.from_bytes(buffer[end - 2 : end], "big"):
            return end
        at = buffer.find(start, at + 1)
    return 0


class TcpFraming:
    """TCP: an answer is known by its transaction number, so a late one is never taken for the next."""

    def __init__(self) -> None:
        self._framer = FramerSocket(DecodePDU(is_server=False))
        self._transaction = 0
        self._unit = self._code = self._data_bytes = 0

    def request(self, unit: int, block: Block) -> bytes:
        self._transaction = self._transaction % TRANSACTION_MAX + 1
        self._unit, self._code, self._data_bytes = unit, block.function_code, 2 * block.count
        payload = struct.pack(">BHH", block.function_code, block.address, block.count)
        return self._framer.encode(payload, unit, self._transaction)

    def answer(self, buffer: bytes) -> Answer | None:
        while len(buffer) >= FramerSocket.MIN_SIZE:
            length = int.from_bytes(buffer[4:6], "big")
            if buffer[2:4] != b"\0\0" or not TCP_LENGTH_MIN <= length <= TCP_LENGTH_MAX:
                return Answer(fault=f"no Modbus TCP header: {buffer[:16].hex(' ')}")
            used, unit, transaction, pdu = self._framer.decode(buffer)
            if not used:
                return None
            if transaction == self._transaction:
                return self._judge(unit, pdu)
            buffer = buffer[used:]
        return None

    def _judge(self, unit: int, pdu: bytes) -> Answer:
        if unit != self._unit:
            return Answer(fault=f"answer of unit {unit} instead of {self._unit}")
        if pdu[0] == self._code | 0x80 and len(pdu) > 1:
            return _exception(pdu[1])
        if pdu[0] != self._code:
            return Answer(fault=f"answer to function {pdu[0]} instead of {self._code}")
        if len(pdu) != self._data_bytes + 2 or pdu[1] != self._data_bytes:
            return Answer(fault=f"answer with {len(pdu) - 2} bytes of data instead of {self._data_bytes}")
        return Answer(registers=pdu[2:])

    def missing(self, buffer: bytes) -> int:
        return MBAP_BYTES + 3 + self._data_bytes - len(buffer)

    def explain(self, buffer: bytes) -> str:
        number, asked = self._foreign(buffer), self._transaction
        if number is None:
            return f"no complete answer to this request ({len(buffer)} bytes: {buffer[:16].hex(' ')})"
        if self._is_late(number):
            return f"only a late answer came, to request {number} instead of {asked}"
        swapped = " (its bytes are swapped)" if number.to_bytes(2, "little") == asked.to_bytes(2, "big") else ""
        return f"answer with transaction id {number} instead of {asked}{swapped}"

    def advice(self, buffer: bytes) -> str:
        number = self._foreign(buffer)
        if number is None:
            return ""
        return CHECK_TIME if self._is_late(number) else CHECK_TRANSACTIONS

    def _foreign(self, buffer: bytes) -> int | None:
        """The transaction id of whole frames that are all that came; none of them has that of the request."""
        frames, rest = _tcp_frames(buffer)
        return int.from_bytes(frames[-1][:2], "big") if frames and not rest else None

    def _is_late(self, number: int) -> bool:
        return number > 0 and (self._transaction - number) % TRANSACTION_MAX <= LATE_MAX


def _tcp_frames(buffer: bytes) -> tuple[list[bytes], bytes]:
    """The whole frames in `buffer`, and what is left."""
    frames: list[bytes] = []
    while len(buffer) > MBAP_BYTES:
        end = MBAP_BYTES + int.from_bytes(buffer[4:6], "big")
        if len(buffer) < end:
            break
        frames, buffer = [*frames, buffer[:end]], buffer[end:]
    return frames, buffer

"""Modbus framing of the serving side, RTU and TCP, from the specifications; own CRC."""

from __future__ import annotations

import struct
from dataclasses import dataclass

POLYNOMIAL = 0xA001
RTU_REQUEST_BYTES = 8
READ_DEVICE_ID = 0x2B  # function 43: its request has no address and is a byte shorter
READ_DEVICE_ID_BYTES = 7
MBAP_BYTES = 7
ADU_MAX = 260
LENGTH_MIN = 2  # unit and function
TABLE: list[int] = []
for _byte in range(256):
    _value = _byte
    for _ in range(8):
        _value = (_value >> 1) ^ POLYNOMIAL if _value & 1 else _value >> 1
    TABLE.append(_value)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: `count` registers from `address`. `transaction` is TCP's and goes back with the answer.

    Of function 43 `address` has the two bytes after the function (14 and what to read), `count` the first object.
    """

    unit: int
    function_code: int
    address: int
    count: int
    transaction: int = 0


def crc16(data: bytes) -> bytes:
    """Modbus's CRC as it goes over the line, low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ TABLE[(crc ^ byte) & 0xFF]
    return struct.pack("<H", crc)


def take_rtu(buffer: bytes) -> tuple[Asked | None, bytes]:
    """The request that `buffer` begins with, and the rest; (None, buffer) where there is none (yet)."""
    if buffer[1:2] == bytes((READ_DEVICE_ID,)):
        frame = buffer[:READ_DEVICE_ID_BYTES]
        if len(frame) < READ_DEVICE_ID_BYTES or crc16(frame[:-2]) != frame[-2:]:
            return None, buffer
        return Asked(*struct.unpack(">BBHB", frame[:-2])), buffer[READ_DEVICE_ID_BYTES:]
    frame = buffer[:RTU_REQUEST_BYTES]
    if len(frame) < RTU_REQUEST_BYTES or crc16(frame[:-2]) != frame[-2:]:
        return None, buffer
    unit, code, address, count = struct.unpack(">BBHH", frame[:-2])
    return Asked(unit, code, address, count), buffer[RTU_REQUEST_BYTES:]


def take_tcp(buffer: bytes) -> tuple[Asked | None, bytes]:
    """As `take_rtu`; raises `ValueError` where the stream is not Modbus TCP."""
    if len(buffer) < MBAP_BYTES:
        return None, buffer
    transaction, protocol, length, unit = struct.unpack(">HHHB", buffer[:MBAP_BYTES])
    if protocol or not LENGTH_MIN <= length <= ADU_MAX - 6:
        raise ValueError(f"not a Modbus TCP header: {buffer[:MBAP_BYTES].hex(' ')}")
    end = MBAP_BYTES - 1 + length
    if len(buffer) < end:
        return None, buffer
    body = buffer[MBAP_BYTES:end].ljust(5, b"\0")
    layout = ">BHB" if body[0] == READ_DEVICE_ID else ">BHH"
    code, address, count = struct.unpack(layout, body[: struct.calcsize(layout)])
    return Asked(unit, code, address, count, transaction), buffer[end:]


def answer_body(asked: Asked, data: bytes) -> bytes:
    """Function code, byte count, registers."""
    return bytes((asked.function_code, len(data))) + data


def refusal_body(asked: Asked, code: int) -> bytes:
    """Function code with its top bit set, exception code."""
    return bytes((asked.function_code | 0x80, code))


def rtu_frame(unit: int, body: bytes) -> bytes:
    """Unit, body, CRC."""
    frame = bytes((unit,)) + body
    return frame + crc16(frame)


def tcp_frame(asked: Asked, body: bytes) -> bytes:
    """The seven bytes of Modbus TCP's header, body."""
    return struct.pack(">HHHB", asked.transaction, 0, len(body) + 1, asked.unit) + body

"""Check sums of telegrams: CRC-16/ARC (DSMR P1), CRC-16/X-25 (SML, HDLC) and CRC-16/MODBUS."""

from __future__ import annotations

from functools import cache

ARC = 0xA001  # x^16 + x^15 + x^2 + 1, reflected
X25 = 0x8408  # x^16 + x^12 + x^5 + 1, reflected
MASK = 0xFFFF


@cache
def _table(polynomial: int) -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        table.append(value)
    return tuple(table)


def crc_arc(data: bytes) -> int:
    """CRC-16/ARC; 0xBB3D for `b"123456789"`."""
    table, value = _table(ARC), 0
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value


def crc_modbus(data: bytes) -> int:
    """CRC-16/MODBUS, sent low byte first; 0x4B37 for `b"123456789"`."""
    table, value = _table(ARC), MASK
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value


def crc_x25(data: bytes) -> int:
    """CRC-16/X-25, sent with its low byte first; 0x906E for `b"123456789"`."""
    table, value = _table(X25), MASK
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value ^ MASK

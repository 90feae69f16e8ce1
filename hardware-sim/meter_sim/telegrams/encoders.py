"""Telegrams of meters that are no Modbus meters, written from the standards and not from the drivers.

Every check sum is computed bit by bit here, and every number is given as the digits or steps that go on the wire.
"""

from __future__ import annotations

from collections.abc import Sequence

ESCAPE = b"\x1b" * 4
NIBBLE = 0x0F


def crc16(data: bytes, polynomial: int, start: int) -> int:
    """A reflected CRC of 16 bits, bit by bit."""
    value = start
    for byte in data:
        for bit in range(8):
            carry = (value ^ byte >> bit) & 1
            value >>= 1
            if carry:
                value ^= polynomial
    return value


def x25(data: bytes) -> bytes:
    """CRC-16/X-25 as it is sent: low byte first."""
    return (crc16(data, 0x8408, 0xFFFF) ^ 0xFFFF).to_bytes(2, "little")


# Text: DSMR P1 and IEC 62056-21


def p1(lines: Sequence[str], identification: str = "ACM5\\1ONE", *, check: bool = True) -> bytes:
    """A P1 telegram; without `check` as versions 2 and 3 send it."""
    text = f"/{identification}\r\n\r\n" + "".join(f"{line}\r\n" for line in lines) + "!"
    crc = f"{crc16(text.encode(), 0xA001, 0):04X}" if check else ""
    return f"{text}{crc}\r\n".encode()


def mode_d(lines: Sequence[str], identification: str = "ACM5 D") -> bytes:
    """What a meter of mode D sends by itself."""
    return p1(lines, identification, check=False)


def mode_c(lines: Sequence[str], identification: str = "ACM4C") -> tuple[bytes, bytes]:
    """The answer to the sign-on, and the readout that follows the acknowledgement."""
    block = "".join(f"{line}\r\n" for line in lines) + "!\r\n\x03"
    bcc = 0
    for byte in block.encode():
        bcc ^= byte
    return f"/{identification}\r\n".encode(), b"\x02" + block.encode() + bytes((bcc,))


# SML


def sml(
    server_id: bytes, entries: Sequence[tuple[str, int | None, int, bytes | int, int]], status: bytes = b""
) -> bytes:
    """A file of three messages. An entry: OBIS code, unit, exponent, value (a text or a number), bytes of a number.

    `status` is the status word, which stands with the counters.
    """
    rows = b"".join(_sml_entry(*entry, status if ".8." in entry[0] else b"") for entry in entries)
    values = _sml_list(len(entries), rows)
    fields = b"\x01" + _sml_octets(server_id) + b"\x01" + b"\x72\x62\x01\x65\x00\x00\x30\x39" + values + b"\x01\x01"
    opened = b"\x76\x01\x01" + _sml_octets(b"\0\1\2") + _sml_octets(server_id) + b"\x01\x01"
    messages = (
        _sml_message(1, 0x0101, opened)
        + _sml_message(2, 0x0701, b"\x77" + fields)
        + _sml_message(3, 0x0201, b"\x71\x01")
    )
    filling = -len(messages) % 4
    body = ESCAPE + b"\x01" * 4 + (messages + b"\0" * filling).replace(ESCAPE, ESCAPE * 2) + ESCAPE
    body += bytes((0x1A, filling))
    return body + x25(body)


def _sml_entry(code: str, unit: int | None, exponent: int, value: bytes | int, size: int, status: bytes) -> bytes:
    name = _sml_octets(obis_bytes(code))
    written = (
        _sml_octets(value) if isinstance(value, bytes) else bytes((0x51 + size,)) + value.to_bytes(size, signed=True)
    )
    scale = b"\x52" + exponent.to_bytes(1, signed=True) if unit is not None else b"\x01"
    word = bytes((0x61 + len(status),)) + status if status else b"\x01"
    return (
        b"\x77" + name + word + b"\x01" + (b"\x01" if unit is None else bytes((0x62, unit))) + scale + written + b"\x01"
    )


def _sml_octets(content: bytes) -> bytes:
    length = len(content) + 1
    if length <= NIBBLE:
        return bytes((length,)) + content
    length += 1
    return bytes((0x80 | length >> 4, length & 0x0F)) + content


def _sml_list(count: int, rows: bytes) -> bytes:
    return (bytes((0x70 | count,)) if count <= NIBBLE else bytes((0xF0 | count >> 4, count & 0x0F))) + rows


def _sml_message(number: int, tag: int, body: bytes) -> bytes:
    head = b"\x76" + _sml_octets(bytes((0, number))) + b"\x62\x00\x62\x00\x72\x63" + tag.to_bytes(2) + body
    return head + b"\x63" + x25(head) + b"\x00"


def obis_bytes(code: str) -> bytes:
    """`1-0:1.8.0` as six bytes; group F is 255 where it is not written."""
    rest, _, last = code.partition("*")
    return bytes(int(part) for part in rest.replace("-", ".").replace(":", ".").split(".")) + bytes((int(last or 255),))


# HDLC and DLMS


def hdlc(information: bytes) -> bytes:
    """One frame with both check sums and flags; nothing is escaped, as meters do it."""
    length = 2 + 3 + 1 + 2 + len(information) + 2
    header = (0xA000 | length).to_bytes(2) + b"\x41\x08\x83\x13"
    header += x25(header)
    return b"\x7e" + header + information + x25(header + information) + b"\x7e"


def notification(data: bytes, *, tagged_time: bool = False) -> bytes:
    """LLC header, data notification and, where asked for, Kaifa's odd date and time."""
    time = b"\x09\x0c" + bytes.fromhex("07ea0b15060a1e00ff800000") if tagged_time else b"\x00"
    return b"\xe6\xe7\x00\x0f\x40\x00\x00\x00" + time + data


def aidon(entries: Sequence[tuple[str, str | int, int, int, int]]) -> bytes:
    """Code, text or number, exponent, unit, and the tag of the number (6, 16 or 18)."""
    rows = b""
    for code, value, exponent, unit, tag in entries:
        name = b"\x09\x06" + obis_bytes(code)
        if isinstance(value, str):
            rows += b"\x02\x02" + name + b"\x0a" + bytes((len(value),)) + value.encode()
        else:
            scale = b"\x02\x02\x0f" + exponent.to_bytes(1, signed=True) + b"\x16" + bytes((unit,))
            rows += b"\x02\x03" + name + _number(value, tag) + scale
    return notification(b"\x01" + bytes((len(entries),)) + rows)


def kaifa(values: Sequence[str | int]) -> bytes:
    """Values alone, told apart by their count; texts are octet strings here."""
    rows = b"".join(
        b"\x09" + bytes((len(value),)) + value.encode() if isinstance(value, str) else _number(value, 6)
        for value in values
    )
    return notification(b"\x02" + bytes((len(values),)) + rows, tagged_time=True)


def kamstrup(version: str, entries: Sequence[tuple[str, str | int, int]]) -> bytes:
    """Code, text or number, and the tag of the number, by turns after the version."""
    rows = b"\x0a" + bytes((len(version),)) + version.encode()
    for code, value, tag in entries:
        rows += b"\x09\x06" + obis_bytes(code)
        rows += b"\x0a" + bytes((len(value),)) + value.encode() if isinstance(value, str) else _number(value, tag)
    return notification(b"\x02" + bytes((1 + 2 * len(entries),)) + rows)


def _number(value: int, tag: int) -> bytes:
    size = {6: 4, 16: 2, 18: 2}[tag]
    return bytes((tag,)) + value.to_bytes(size, signed=tag == 16)  # noqa: PLR2004 - the tag of an int16


# M-Bus


def mbus(address: int, data: bytes, control: int = 0x08) -> bytes:
    """A long frame; `data` begins with the CI field."""
    user = bytes((control, address)) + data
    return bytes((0x68, len(user), len(user), 0x68)) + user + bytes((sum(user) & 0xFF, 0x16))


def mbus_answer(identification: str, maker: str, medium: int, records: bytes, count: int = 0) -> bytes:
    """From the CI field on: variable data with the long header. `identification` are the eight digits on the meter."""
    word = sum(ord(letter) - 64 << shift for letter, shift in zip(maker, (10, 5, 0), strict=True))
    header = bytes.fromhex(identification)[::-1] + word.to_bytes(2, "little") + bytes((1, medium, count, 0, 0, 0))
    return b"\x72" + header + records


def mbus_record(dib: str, vib: str, value: int, size: int, *, bcd: bool = False) -> bytes:
    """DIB and VIB in hexadecimal, and a number of `size` bytes."""
    if bcd:
        digits = f"{abs(value):0{2 * size}d}"
        digits = "F" + digits[1:] if value < 0 else digits
        return bytes.fromhex(dib + vib) + bytes.fromhex(digits)[::-1]
    return bytes.fromhex(dib + vib) + value.to_bytes(size, "little", signed=True)

"""HDLC frames as meters push them at the customer's port: 7E, format and length, addresses, check sums, 7E.

The meters do not escape 7E and 7D within a frame, though ISO/IEC 13239 could: only the length field tells the end.
"""

from __future__ import annotations

from drivers.telegrams.crc import crc_x25
from drivers.telegrams.telegram import Framed, StreamFramer, TelegramError, shown

FLAG = 0x7E
FORMAT_TYPE = 0xA0
SEGMENTED = 0x08
LENGTH_MASK = 0x07FF
FRAME_BYTES_MIN = 9  # format, two addresses, control, header check, one byte of information, check
ADDRESS_BYTES_MAX = 4


class HdlcFramer(StreamFramer):
    """The information field (from the LLC header on) of every frame whose length and check sums are good.

    A length is believed only once the check sum of the header is good, so that noise that looks like a beginning does
    not swallow what follows. After a bad frame the search goes on within it. A good one does not wait for its closing
    flag: were that lost, it would be found, and dated, only when the next begins.
    """

    protocol = "HDLC"

    def _next(self, buffer: bytes) -> tuple[int, Framed | None] | None:  # noqa: PLR0911 - one for each thing found
        start = buffer.find(FLAG)
        if start:
            skipped = len(buffer) if start < 0 else start
            return (skipped, None) if skipped else None
        if len(buffer) < 3:  # noqa: PLR2004 - flag and format
            return None
        length = int.from_bytes(buffer[1:3], "big") & LENGTH_MASK
        if buffer[1] & 0xF0 != FORMAT_TYPE or length < FRAME_BYTES_MIN:
            return 1, None
        header = _header_bytes(buffer[1 : length + 1])
        if header == 0:
            return None
        if header < 0:
            return 1, None
        if not _good(buffer[1 : 1 + header]):
            return 1, TelegramError("checksum", self.protocol, f"header check is wrong: {shown(buffer[: header + 1])}")
        missing = length + 1 - len(buffer)
        if missing <= 0 and not _good(buffer[1 : length + 1]):
            missing = length + 2 - len(buffer)  # what is wrong with it, the byte after it tells
        self.missing = max(missing, 0)
        if missing > 0:
            return None
        return self._judge(buffer[1 : length + 1], header, closed=buffer[length + 1 : length + 2] == bytes((FLAG,)))

    def _judge(self, frame: bytes, header: int, *, closed: bool) -> tuple[int, Framed | None]:
        """`frame` is what the length field says. A closing flag may be the next frame's opening one, so it stays."""
        if not _good(frame):
            if closed:
                return 1, TelegramError("checksum", self.protocol, f"FCS is wrong in {len(frame)} bytes")
            return 1, TelegramError("length", self.protocol, f"no end after the {len(frame)} bytes that it states")
        if frame[0] & SEGMENTED:
            return len(frame) + 1, TelegramError("unsupported", self.protocol, "a telegram in several frames")
        return len(frame) + 1, frame[header:-2]

    def end(self) -> TelegramError | None:
        """As everywhere; a flag alone was the end of the frame before."""
        if len(self._buffer) == 1:
            self._buffer = b""
        return super().end()


def _header_bytes(frame: bytes) -> int:
    """Format, destination and source address, control and header check; 0: not all there, -1: there is none."""
    at = 2
    for _ in range(2):
        address = frame[at : at + ADDRESS_BYTES_MAX]
        end = next((i + 1 for i, byte in enumerate(address) if byte & 1), None)
        if end is None:
            return -1 if len(address) == ADDRESS_BYTES_MAX else 0
        at += end
    return at + 3 if at + 3 <= len(frame) else 0


def _good(checked: bytes) -> bool:
    return crc_x25(checked[:-2]) == int.from_bytes(checked[-2:], "little")

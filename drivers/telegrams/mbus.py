"""Wired M-Bus, the link layer (EN 13757-2): short and long frames, and the segments of Austrian customer ports."""

from __future__ import annotations

from dataclasses import dataclass

from drivers.telegrams.telegram import Framed, StreamFramer, TelegramError, shown

ACK = b"\xe5"
SHORT, LONG, STOP = 0x10, 0x68, 0x16
SHORT_BYTES, LONG_OVERHEAD = 5, 6
USER_BYTES_MIN = 3  # control, address, control information
SND_NKE, REQ_UD2 = 0x40, 0x5B
FCB = 0x20
SEGMENT_LAST, SEGMENT_NUMBER, SEGMENT_HEADER = 0x10, 0x0F, 3  # of an Austrian meter: CI, two service access points
SEGMENTS_MAX = 16


@dataclass(frozen=True, slots=True)
class LongFrame:
    """`data` begins with the control information field (CI)."""

    control: int
    address: int
    data: bytes


def short_frame(control: int, address: int) -> bytes:
    """A request of the master: SND_NKE, or REQ_UD2 with or without the frame count bit."""
    return bytes((SHORT, control, address, (control + address) & 0xFF, STOP))


class MbusFramer(StreamFramer):
    """Long frames whose lengths, check sum and stop are good, as they came; acknowledgements; the rest is skipped."""

    protocol = "M-Bus"

    def _next(self, buffer: bytes) -> tuple[int, Framed | None] | None:  # noqa: PLR0911 - one way out for each thing found
        if not buffer:
            return None
        if buffer[:1] == ACK:
            return 1, ACK
        if buffer[0] != LONG:
            starts = [at for at in (buffer.find(LONG), buffer.find(ACK)) if at > 0]
            return min(starts, default=len(buffer)), None
        if len(buffer) < 4:  # noqa: PLR2004 - start, length twice, start
            return None
        length = buffer[1]
        if buffer[2] != length or buffer[3] != LONG or length < USER_BYTES_MIN:
            return 1, None
        size = length + LONG_OVERHEAD
        if len(buffer) < size:
            self.missing = size - len(buffer)
            return None
        self.missing = 0
        frame = buffer[:size]
        computed = sum(frame[4:-2]) & 0xFF
        if frame[-1] != STOP:
            return 1, TelegramError("length", self.protocol, f"no stop byte after {length} bytes: {shown(frame)}")
        if frame[-2] != computed:
            cause = f"check sum is {frame[-2]:#04x}, computed {computed:#04x}"
            return 1, TelegramError("checksum", self.protocol, cause)
        return size, frame


def long_frame(frame: bytes) -> LongFrame:
    """The fields of a frame that `MbusFramer` has found good."""
    return LongFrame(frame[4], frame[5], frame[6:-2])


class SegmentJoiner:
    """Joins what an Austrian meter sends in several frames to one DLMS message: CI 00, 01, ... and 10 plus the last."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def add(self, frame: LongFrame) -> bytes | None:
        """The whole message with its last segment; `TelegramError` where a segment is missing."""
        information, payload = frame.data[0], frame.data[SEGMENT_HEADER:]
        number = information & SEGMENT_NUMBER
        if number != len(self._parts) or information & ~(SEGMENT_LAST | SEGMENT_NUMBER):
            had, self._parts = len(self._parts), [payload] if not information else []
            raise TelegramError("truncated", "M-Bus", f"segment {number} came after {had} others")
        self._parts.append(payload)
        if not information & SEGMENT_LAST:
            return None
        whole, self._parts = b"".join(self._parts), []
        return whole

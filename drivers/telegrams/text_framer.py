"""Finds telegrams of text in a stream: DSMR P1, and the readouts of IEC 62056-21 in modes C and D."""

from __future__ import annotations

import re
from functools import reduce
from operator import xor

from drivers.telegrams.crc import crc_arc
from drivers.telegrams.telegram import Framed, StreamFramer, TelegramError

STX, ETX, START, STOP = 0x02, 0x03, b"/", b"!"
LF_STX = b"\n\x02"
TELEGRAM_BYTES_MAX = 16_384
ENDING_BYTES_MAX = 32
CIPHERED = b"\xdb\x08"  # general-glo-ciphering with a system title of 8 bytes: P1 in Luxembourg and Austria
CIPHERED_HEADER_BYTES = 13
LENGTH_BYTES = {0x81: 1, 0x82: 2}
CRC_DIGITS_MAX = 4

_LINE_BEGIN = rb"/[A-Za-z]{2}[A-Za-z0-9][^\r\n()!]"
_BEGINNING = re.compile(_LINE_BEGIN + rb"[^\r\n()!]{0,40}\r?\n")
_FIRST_LINE = re.compile(_LINE_BEGIN + rb"[ -~\x02]{0,40}\r?\n")
_ENDING_IN_LINE = re.compile(rb"[0-9A-Fa-f]{0,4} ?\r?\n")
_ENDING_SO_FAR = re.compile(rb"[0-9A-Fa-f]{0,4} ?\r?")


class TextFramer(StreamFramer):
    """A telegram begins with `/` and ends with the line of `!`, or with ETX and BCC; both may occur within lines.

    So a telegram is whole if its check sum fits. If it does not, or there is none, what looks like an identification
    within it is the beginning of another.
    """

    protocol = "text telegram"

    def _next(self, buffer: bytes) -> tuple[int, Framed | None] | None:
        start, ciphered = buffer.find(START), buffer.find(CIPHERED)
        if ciphered >= 0 and not 0 <= start < ciphered:
            return (ciphered, None) if ciphered else self._ciphered(buffer)
        if start < 0:
            keep = 1 if buffer.endswith(CIPHERED[:1]) else 0
            return (len(buffer) - keep, None) if len(buffer) > keep else None
        if start:
            return start, None
        return self._telegram(buffer)

    def _telegram(self, buffer: bytes) -> tuple[int, Framed | None] | None:
        """What is known first counts, so that it is the same whatever the pieces in which the bytes came."""
        end, stop = _end_of(buffer[:TELEGRAM_BYTES_MAX])
        if end:
            again = _begins_again(buffer[:end])
            return (again, self._cut(again)) if again else (end, buffer[:end])
        if stop and len(buffer) >= stop + ENDING_BYTES_MAX:
            return stop, TelegramError("too_long", self.protocol, "no end of its last line")
        if len(buffer) < TELEGRAM_BYTES_MAX:
            return None
        again = _begins_again(buffer[:TELEGRAM_BYTES_MAX])
        if again:
            return again, self._cut(again)
        cause = f"no end within {TELEGRAM_BYTES_MAX} bytes"
        return TELEGRAM_BYTES_MAX, TelegramError("too_long", self.protocol, cause)

    def _cut(self, at: int) -> TelegramError:
        return TelegramError("truncated", self.protocol, f"another begins after {at} bytes")

    def _ciphered(self, buffer: bytes) -> tuple[int, Framed | None] | None:
        if len(buffer) < CIPHERED_HEADER_BYTES:
            return None
        first = buffer[10]
        more = LENGTH_BYTES.get(first, 0)
        if first > 0x7F and not more:  # noqa: PLR2004 - the short form of a length ends there
            return len(CIPHERED), None
        size = 11 + more + (int.from_bytes(buffer[11 : 11 + more], "big") if more else first)
        if size > TELEGRAM_BYTES_MAX:
            return len(CIPHERED), None
        if len(buffer) < size:
            self.missing = size - len(buffer)
            return None
        self.missing = 0
        return size, TelegramError("encrypted", "DSMR P1", "encrypted: needs the key of the customer's port")


def _end_of(buffer: bytes) -> tuple[int, int]:
    """Where the telegram at 0 ends, and where its end line began; 0: not yet."""
    line = buffer.find(b"\n")
    if line < 0 or len(buffer) <= line + 1:
        return 0, 0
    if buffer[line + 1] == STX:
        etx = buffer.find(bytes([ETX]), line)
        return (etx + 2 if 0 < etx < len(buffer) - 1 else 0), 0
    stop = _stop_of(buffer, line)
    return (buffer.find(b"\n", stop, stop + ENDING_BYTES_MAX) + 1, stop) if stop else (0, 0)


def _stop_of(buffer: bytes, line: int) -> int:
    """The `!` of the end: at the beginning of a line, or behind the last value; not one within a text. 0: not yet."""
    stop = buffer.find(STOP, line)
    while stop >= 0:
        before, after = buffer[stop - 1 : stop], buffer[stop + 1 : stop + ENDING_BYTES_MAX]
        if before == b"\n" or (before == b")" and _ENDING_IN_LINE.match(after)):
            return stop
        if before == b")" and _ENDING_SO_FAR.fullmatch(after):
            return 0
        stop = buffer.find(STOP, stop + 1)
    return 0


def _begins_again(frame: bytes) -> int:
    """Where another telegram begins in what should be one; 0: nowhere."""
    if START not in frame[1:] or checks(frame):
        return 0
    first = _FIRST_LINE.match(frame)
    is_unchecked = LF_STX not in frame and claimed_crc(frame) == b""
    begin = first.end() if first is not None and is_unchecked else 1
    again = _BEGINNING.search(frame, begin)
    return again.start() if again is not None else 0


def checks(frame: bytes) -> bool:
    """Whether the telegram has a check sum, and it fits."""
    if LF_STX in frame:
        block = frame[frame.index(LF_STX) + len(LF_STX) : -1]
        return block.endswith(bytes([ETX])) and reduce(xor, block) == frame[-1]
    claimed = claimed_crc(frame)
    return bool(claimed) and crc_number(claimed) == crc_arc(frame[: frame.rindex(STOP) + 1])


def claimed_crc(frame: bytes) -> bytes:
    """What stands behind the last `!`."""
    return frame.rpartition(STOP)[2].strip()


def crc_number(digits: bytes) -> int | None:
    """A CRC as text: in upper or lower case, with or without zeros in front; None where it is no number."""
    try:
        return int(digits, 16) if len(digits) <= CRC_DIGITS_MAX and digits.isalnum() else None
    except ValueError:
        return None

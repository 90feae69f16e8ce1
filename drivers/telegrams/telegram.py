"""What every telegram decoder gives: items with exact numbers, or one `TelegramError`. Bytes in, values out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol, get_args

TelegramReason = Literal[
    "checksum",
    "length",
    "truncated",
    "syntax",
    "too_long",
    "encrypted",
    "unsupported",
    "application_error",
]
TELEGRAM_REASONS: tuple[TelegramReason, ...] = get_args(TelegramReason)


class TelegramError(ValueError):
    """A telegram that is refused: damaged, cut, encrypted, or not to be understood. `reason` is a stable slug.

    checksum (a check sum that is wrong or missing), length (a length field that is not true), truncated (it ends
    before its contents do), syntax (what no meter may send), too_long (beyond every bound), encrypted (needs a key),
    unsupported (whole, but of a kind that is not read), application_error (the meter says that it cannot).
    """

    def __init__(self, reason: TelegramReason, protocol: str, cause: str) -> None:
        super().__init__(f"{protocol}: {cause}")
        self.reason: TelegramReason = reason
        self.protocol = protocol
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Item:
    """One value: a number in `unit` exactly as the meter sent it, or a text.

    `code` is an OBIS code (`1-0:1.8.0`, with `*F` only where F is not 255) or the name of an M-Bus record. `step` is
    the worth of the last digit that the meter sent, where that is known. `unit` is "" where the telegram has none.
    `time` is the one that the meter gives for this value, as sent. `fault` says why `number` is missing although the
    meter sent something there; `code` is "" where even that is not known.
    """

    code: str
    number: Fraction | None
    unit: str = ""
    text: str = ""
    step: Fraction | None = None
    time: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Telegram:
    """A whole telegram. `more` says that the meter has a further one that belongs to it.

    A line that cannot be read is an item with a `fault`. `sources`: codes of which the meter has
    several, and a sentence on which one was taken.
    """

    items: tuple[Item, ...]
    serial_number: str = ""
    identification: str = ""
    more: bool = False
    sources: tuple[tuple[str, str], ...] = ()


Framed = bytes | TelegramError


class Framer(Protocol):
    """Finds telegrams in a stream, whatever its pieces: what it finds depends on the bytes alone."""

    @property
    def missing(self) -> int:
        """At least how many more bytes the telegram under way needs; 0 where none is or nobody knows."""

    def feed(self, data: bytes) -> Sequence[Framed]:
        """The telegrams that end in `data`, and what had to be given up; noise in between is skipped."""

    def end(self) -> TelegramError | None:
        """The stream ended, or was silent: what is left of a telegram that has begun, as an error."""


Decode = Callable[[bytes], Telegram]


class StreamFramer:
    """Keeps what has come and asks `_next` again and again; a subclass decides from a prefix that will not change."""

    protocol = ""

    def __init__(self) -> None:
        self._buffer = b""
        self.missing = 0

    def feed(self, data: bytes) -> list[Framed]:
        """See `Framer`."""
        found: list[Framed] = []
        self._buffer += data
        while (step := self._next(self._buffer)) is not None:
            used, what = step
            self._buffer = self._buffer[used:]
            if what is not None:
                found.append(what)
        return found

    def _next(self, buffer: bytes) -> tuple[int, Framed | None] | None:
        """How many bytes are done with, and what they were; None: more must come. Sets `missing` where it knows."""
        raise NotImplementedError

    def end(self) -> TelegramError | None:
        """See `Framer`."""
        left, self._buffer, self.missing = self._buffer, b"", 0
        if not left:
            return None
        return TelegramError("truncated", self.protocol, f"it ends after {len(left)} bytes: {shown(left)}")


def shown(data: bytes, most: int = 16) -> str:
    """The beginning of `data` in hexadecimal, for messages."""
    return f"{data[:most].hex(' ')}{' ...' if len(data) > most else ''}"


def decimal(digits: str) -> tuple[Fraction, Fraction]:
    """`"0012.340"` as an exact number, and the worth of its last digit."""
    whole, _, fraction = digits.partition(".")
    step = Fraction(1, 10 ** len(fraction))
    return int(whole + fraction) * step, step


def power_of_ten(exponent: int) -> Fraction:
    """10 to the `exponent`, exactly."""
    return Fraction(10**exponent) if exponent >= 0 else Fraction(1, 10**-exponent)

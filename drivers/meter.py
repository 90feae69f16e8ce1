"""What the agent knows of a meter: a name, columns, and a read that ends within its budget, whatever the line does."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from msgspec import Struct

from wire.batch import Column

Reason = Literal["silent", "garbage", "exception", "line_missing", "line_busy", "line_lost", "lent", "pending"]
REASONS: tuple[Reason, ...] = get_args(Reason)


class RawBlock(Struct, frozen=True):
    """The registers of one answer as they came (big-endian), for `read`, for events and for disputes."""

    function_code: int
    address: int
    data: bytes

    @property
    def words(self) -> tuple[int, ...]:
        """The registers as unsigned 16-bit numbers."""
        return struct.unpack(f">{len(self.data) // 2}H", self.data)


@dataclass(frozen=True, slots=True)
class Notice:
    """What a driver has learnt of its meter and is to be recorded once: an event's kind and data, and a log line."""

    kind: str
    data: Mapping[str, Any]
    text: str


class Sample(Struct, frozen=True):
    """One reading. `values[i]` counts steps of `columns[i]`, None is missing; `flags` are `Quality`, empty = good.

    `taken_s` is the event loop's time at which a telegram arrived by itself; None means that it was just read.
    """

    values: tuple[int | None, ...]
    flags: tuple[int, ...] = ()
    words: tuple[RawBlock, ...] = ()
    taken_s: float | None = None
    notices: tuple[Notice, ...] = ()


class Meter(Protocol):
    """A meter of any protocol. `columns` never changes during the life of the object."""

    @property
    def name(self) -> str:
        """The meter's name in the configuration."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """What `Sample.values` count, in this order."""

    @property
    def read_max_ms(self) -> int:
        """The longest that one reading may take; a meter that sends by itself needs its own interval for it."""

    async def read(self, budget_ms: int) -> Sample:
        """One reading of all columns; raises `MeterError`. Returns or raises within `budget_ms` and a small slack."""

    async def identify(self, budget_ms: int) -> Mapping[str, str]:
        """What the meter says of itself, such as `serial_number`; empty where it says nothing. Raises `MeterError`."""


class MeterError(Exception):
    """A reading that could not be taken. `str()` is one line: operation, subject, cause; next step.

    `reason` is a stable slug: silent (no answer), garbage (bytes that are no answer to this request), exception (the
    meter refused), line_missing (no such port or host), line_busy (held by another program, no permission, or
    no time left on a line that others use), line_lost (unplugged, closed or reset while in use), lent (the line is
    with `wattpost scan` or `read` for a while), pending (a meter that sends by itself, or takes long, has nothing new
    yet: it works, but the interval is shorter than what it does).
    """

    def __init__(self, reason: Reason, *, operation: str, subject: str, cause: str, next_step: str) -> None:
        super().__init__(f"{operation} {subject}: {cause}; {next_step}")
        self.reason: Reason = reason
        self.operation = operation
        self.subject = subject
        self.cause = cause
        self.next_step = next_step

"""What the box must still know of its meters after a power cut or a month: last good counters and serial numbers.

A small JSON document in the buffer's file. One that cannot be read, or is about something else, is as good as none.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from agent.core.time_units import DAY_MS
from wire.batch import Anchor, Column
from wire.errors import WireError
from wire.resolution import Resolution

UNKNOWN_MS = 31 * DAY_MS  # how long it was off, where neither boot nor UTC tells: what a counter may have grown


class MeterMemory(msgspec.Struct, frozen=True):
    """`terms`: what its values depended on; where that has changed, its counters cannot be compared with new ones.

    `counters`: measurand -> step, last good value in steps, and when it was read on the clock of the memory's boot.
    """

    terms: str
    serial_number: str | None = None
    counters: dict[str, tuple[str, int, int]] = {}

    def known(self, shift_ms: int) -> dict[Column, tuple[int, int]]:
        """As `MeterTruth.remember` takes them, on another clock."""
        return {
            Column(name, Resolution.parse(step)): (value, read_ms + shift_ms)
            for name, (step, value, read_ms) in self.counters.items()
        }


class Memory(msgspec.Struct, frozen=True):
    """All meters of a box. `boot` is hexadecimal; `boot_utc_ms` and `uncertainty_ms` its anchor, where it had one."""

    box: str
    boot: str
    boot_utc_ms: int | None
    uncertainty_ms: int
    meters: dict[str, MeterMemory]

    def shift_ms(self, boot: bytes, anchor: Anchor | None, now_ms: int) -> int:
        """What to add to its times, for the clock of `boot`: never so little that a counter could have grown more."""
        if self.boot == boot.hex():
            return 0
        newest_ms = max((one[2] for meter in self.meters.values() for one in meter.counters.values()), default=0)
        if self.boot_utc_ms is not None and anchor is not None:
            shift_ms = self.boot_utc_ms - anchor.boot_utc_ms - self.uncertainty_ms - anchor.uncertainty_ms
            if newest_ms + shift_ms <= now_ms:
                return shift_ms
        return now_ms - UNKNOWN_MS - newest_ms


def pack_memory(memory: Memory) -> bytes:
    """For the buffer."""
    return msgspec.json.encode(memory)


def unpack_memory(body: bytes | None, box: str) -> Memory | None:
    """What `pack_memory` made for this box; None for anything else."""
    if body is None:
        return None
    try:
        memory = msgspec.json.decode(body, type=Memory)
        for meter in memory.meters.values():
            meter.known(0)
    except (msgspec.DecodeError, WireError):
        return None
    return memory if memory.box == box else None


def remembered(counters: Mapping[Column, tuple[int, int]]) -> dict[str, tuple[str, int, int]]:
    """The counters of `MeterTruth.counters`, as they are kept."""
    return {
        column.measurand: (str(column.resolution.step), value, read_ms) for column, (value, read_ms) in counters.items()
    }

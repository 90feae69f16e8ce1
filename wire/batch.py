"""What a batch says, as values: the model that `wire.codec` turns into bytes and back.

The meaning of each field is specified in `docs/wire-format.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Any

from wire.resolution import Resolution

EPOCH_BYTES = 8
FLAG_BITS = 31
BOOT_BYTES = 8
DESCRIPTOR_BYTES = 4


class Quality(IntFlag):
    """Flags of one value; 0 is good. Bits not named here travel unchanged and print as `bitN`."""

    NOT_AVAILABLE = 1  # the meter answered its own code for "no value"
    OUT_OF_RANGE = 2  # outside what the profile or any grid can have
    BACKWARDS = 4  # a counter went back
    JUMP = 8  # a counter moved more than the meter's maximum current allows
    STALE = 16  # identical for too long
    OVERFLOW = 32  # not representable in its column; the value is missing


def flag_names(flags: int) -> list[str]:
    """The names of quality flags, `bitN` for those without."""
    known = {flag.value: flag.name.lower() for flag in Quality if flag.name}
    return [known.get(1 << bit, f"bit{bit}") for bit in range(FLAG_BITS) if flags >> bit & 1]


@dataclass(frozen=True, slots=True)
class BatchKey:
    """The key of a batch everywhere: box, buffer, ledger, archive. `epoch` is 8 bytes; `first..last` inclusive."""

    device: str
    epoch: bytes
    first: int
    last: int
    rev: int = 0


@dataclass(frozen=True, slots=True)
class Anchor:
    """UTC of a boot's clock: `utc_ms = boot_utc_ms + mono_ms`, within `uncertainty_ms` either way."""

    boot_utc_ms: int
    uncertainty_ms: int


@dataclass(frozen=True, slots=True)
class Column:
    """One measurand of a series: a name of `wire.measurand` (or any other `[a-z0-9_]` name) and its step."""

    measurand: str
    resolution: Resolution


@dataclass(frozen=True, slots=True)
class Slots:
    """Poll slots of one meter in the time of a batch; `due == read + explained` unless something is unaccounted."""

    due: int = 0
    read: int = 0
    explained: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of one meter: `values[i]` counts steps of column i, None is missing; no `flags` when all good."""

    seq: int
    mono_ms: int
    values: tuple[int | None, ...]
    flags: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """The readings of one meter with one set of columns, ascending by seq."""

    meter: str
    columns: tuple[Column, ...]
    readings: Sequence[Reading]
    slots: Slots = Slots()
    descriptor: bytes | None = None  # DESCRIPTOR_BYTES of the hash that the `descriptor` event carries


@dataclass(frozen=True, slots=True)
class Event:
    """A record that is not a reading: gap, restart, clock step ... `data` is what JSON can say."""

    seq: int
    mono_ms: int
    kind: str
    meter: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """A contiguous range of records of one device, epoch and boot. `boot` is BOOT_BYTES of the boot id."""

    key: BatchKey
    boot: bytes
    anchor: Anchor | None
    confirm_wanted: bool
    series: Sequence[Series] = ()
    events: Sequence[Event] = ()

"""What goes first when the disk is full, or nearly so. Pure: `agent.adapters.buffer.space` looks, does it and reports.

1. The ballast, which holds only zeros, but for the last of it.
2. Old batches are thinned (`agent.core.buffer.thinning`): what the cloud keeps in quarantine first, then the least
   thinned, the oldest first. The counters go last, the account of the slots never.
3. The last of the ballast, as thinning may itself need room; then batches are thinned again.
4. Records wait in memory, at most `PENDING_MAX`; then the oldest readings are dropped, and a gap says so.

After each seal the same is done early: old batches are thinned where the buffer has outgrown its limit, or where the
disk is nearly full and a reserve within the buffer's file would be all that is left to write to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from agent.core.buffer.thinning import LEVEL_MAX

BALLAST_BYTES = 1_000_000
BALLAST_LAST_BYTES = 400_000  # as much as bringing the WAL into the file may need
BALLAST_AGAIN_BYTES = 4_000_000  # free on the disk before the ballast is put back
LOW_BYTES = 1_000_000  # free on the disk: less is nearly full
RESERVE_BYTES = 400_000  # more than the WAL has between two checkpoints
ROOM_BYTES = 200_000  # what a refused write is given
KEEP_WITHIN = 0.95  # of the limit, once it was exceeded: so batches are thinned rarely, and then enough of them
PASS_BATCHES_MAX = 100  # some seconds on a small box, then commits have their turn
PENDING_MAX = 20_000  # records in memory that the disk would not take


class Measure(Enum):
    """What a full disk is given room with."""

    RELEASE_BALLAST = "release the ballast but for its last part"
    THIN = "thin old batches"
    RELEASE_LAST = "release the last part of the ballast"
    THIN_AGAIN = "thin old batches with that room"


# What is tried next, by what was tried last and whether that made room; None: no more.
NEXT_MEASURE: Mapping[tuple[Measure, bool], Measure | None] = {
    (Measure.RELEASE_BALLAST, True): None,
    (Measure.RELEASE_BALLAST, False): Measure.THIN,
    (Measure.THIN, True): None,
    (Measure.THIN, False): Measure.RELEASE_LAST,
    (Measure.RELEASE_LAST, True): Measure.THIN_AGAIN,
    (Measure.RELEASE_LAST, False): None,
    (Measure.THIN_AGAIN, True): None,
    (Measure.THIN_AGAIN, False): None,
}
FIRST_MEASURE = Measure.RELEASE_BALLAST


@dataclass(frozen=True, slots=True)
class BatchKind:
    """Batches that are alike to a full disk: `held` in the cloud's quarantine, thinned to level `rev`."""

    held: bool
    rev: int


Stock = Mapping[BatchKind, int]  # bytes of the batches in the buffer


@dataclass(frozen=True, slots=True)
class Pass:
    """Thin batches, of these kinds one after another and the oldest of each first, until `bytes_wanted` are free."""

    bytes_wanted: int
    kinds: Sequence[BatchKind]
    why: str


@dataclass(frozen=True, slots=True)
class NoPass:
    """No batch is thinned."""

    why: str


def pass_for_write(stock: Stock) -> Pass | NoPass:
    """For a write that the full disk has refused: of a small backlog the oldest half at most, by one level.

    It shall not lose everything at once for room that it does not have.
    """
    kinds = thinnable(stock, LEVEL_MAX)
    if not kinds:
        return NoPass("every batch is thinned as far as it can be")
    return Pass(min(ROOM_BYTES, _bytes_of(stock, kinds) // 4), kinds, "the disk is full")


def pass_for_limit(stock: Stock, used_bytes: int, limit_bytes: int) -> Pass:
    """For a buffer that has outgrown its limit."""
    wanted = used_bytes - int(limit_bytes * KEEP_WITHIN)
    return Pass(wanted, thinnable(stock, LEVEL_MAX), "the buffer has reached [buffer] max_size")


def short_of_reserve(disk_free_bytes: int, ballast_bytes: int, spare_bytes: int) -> int:
    """How many bytes the free pages within the file, `spare_bytes`, should be more.

    On a nearly full disk the file cannot grow, and what is in the WAL could not be brought into it, so that it would be
    too late even for thinning. The ballast, as long as it is whole, is reserve enough.
    """
    if disk_free_bytes >= LOW_BYTES or ballast_bytes >= BALLAST_BYTES:
        return 0
    return max(0, RESERVE_BYTES - spare_bytes)


def pass_for_reserve(stock: Stock, short_bytes: int, disk_free_bytes: int) -> Pass | NoPass:
    """For a reserve that is short of some bytes: given up where thinning cannot give that much.

    As long as the disk itself has as much room, only what is between the counters is given up for it.
    """
    level_max = 1 if disk_free_bytes >= RESERVE_BYTES else LEVEL_MAX
    kinds = thinnable(stock, level_max)
    if short_bytes > _bytes_of(stock, kinds) // 2:  # each level frees at least half
        return NoPass("thinning cannot free enough for the reserve")
    return Pass(short_bytes, kinds, "the disk is nearly full")


def thinnable(stock: Stock, level_max: int) -> Sequence[BatchKind]:
    """The kinds that may be thinned up to `level_max`, in the order in which they are."""
    kinds = [kind for kind in stock if kind.rev < level_max]
    return sorted(kinds, key=lambda kind: (not kind.held, kind.rev))


def is_over(done: Pass, batches: int, freed_bytes: int) -> bool:
    """Whether a pass that has thinned so many batches ends."""
    return batches >= PASS_BATCHES_MAX or freed_bytes >= done.bytes_wanted


def may_have_ballast(disk_free_bytes: int, ballast_bytes: int) -> bool:
    """Whether the ballast is put back: not on a disk that is nearly full."""
    return ballast_bytes < BALLAST_BYTES and disk_free_bytes >= BALLAST_AGAIN_BYTES


def overflow(pending_records: int, pending_max: int = PENDING_MAX) -> int:
    """How many of the oldest records in memory are dropped."""
    return max(0, pending_records - pending_max)


def _bytes_of(stock: Stock, kinds: Sequence[BatchKind]) -> int:
    return sum(stock[kind] for kind in kinds)

"""Whether a batch that conflicts with what is stored holds anything of it: what a box must know to number it anew.

Two histories of one box (a restored backup, a copied card) give the same numbers to different records from the moment
on at which they part, and have every record before that in common, number for number. So a batch of which one record is
stored under its number is of the time before, and all of it may be stored; otherwise none of it is. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wire.batch import Batch
from wire.codec import decode
from wire.errors import WireError
from wire.receipt import APART


def proven(reason: str, batch: Batch, data: bytes, stored: Iterable[bytes]) -> str:
    """`reason`, with `APART` if no record of `batch` is in `stored`, all the batches that share numbers with it."""
    others = [one for one in stored if one != data]
    try:
        apart = all(_are_apart(batch, decode(one)) for one in others)
    except WireError:
        return reason
    return f"{reason}; {APART}" if others and apart else reason


def _are_apart(one: Batch, other: Batch) -> bool:
    """Records of two boots are never the same; those of one boot must show that they are not."""
    if one.boot != other.boot:
        return True
    mine, theirs = _records(one), _records(other)
    common = mine.keys() & theirs.keys()
    return bool(common) and all(mine[seq] != theirs[seq] for seq in common)


def _records(batch: Batch) -> Mapping[int, tuple[str | None, str, int]]:
    """Number -> what tells a record from all others of its boot."""
    readings = {
        reading.seq: (series.meter, "", reading.mono_ms) for series in batch.series for reading in series.readings
    }
    return readings | {event.seq: (event.meter, event.kind, event.mono_ms) for event in batch.events}

"""Whether a batch that conflicts with the store shares any record with it. If not, the box may renumber it. Pure.

Two histories of one box (a restored backup, a copied card) give the same numbers to different records from the moment
at which they part; every record before that moment is the same in both. So if one record of a batch is stored under
its number, the batch may reach back before that moment and all of its records may be stored; otherwise none is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wire.batch import Batch
from wire.codec import decode
from wire.errors import WireError
from wire.receipt import APART


def proven(reason: str, batch: Batch, data: bytes, stored: Iterable[bytes]) -> str:
    """`reason`, with `APART` added if no record of `batch` is in `stored`, the batches that share numbers with it."""
    others = [one for one in stored if one != data]
    try:
        apart = all(_are_apart(batch, decode(one)) for one in others)
    except WireError:
        return reason
    return f"{reason}; {APART}" if others and apart else reason


def _are_apart(one: Batch, other: Batch) -> bool:
    """Records of two boots always differ; records of one boot are compared."""
    if one.boot != other.boot:
        return True
    mine, theirs = _records(one), _records(other)
    common = mine.keys() & theirs.keys()
    return bool(common) and all(mine[seq] != theirs[seq] for seq in common)


def _records(batch: Batch) -> Mapping[int, tuple[str | None, str, int]]:
    """Number -> what distinguishes a record from all others of its boot."""
    readings = {
        reading.seq: (series.meter, "", reading.mono_ms) for series in batch.series for reading in series.readings
    }
    return readings | {event.seq: (event.meter, event.kind, event.mono_ms) for event in batch.events}

"""The first records of a run: that it began, what became of the numbers, and the slots of the time in between."""

from __future__ import annotations

from agent.adapters.buffer import Opening
from agent.core.records import NewEvent
from agent.version import VERSION
from wire.batch import Anchor


def restart_records(opening: Opening, now_ms: int, config_rev: str) -> list[NewEvent]:
    """`start`, and `epoch` or `numbers_skipped` where the numbering did not simply go on."""
    start = {"version": VERSION, "clean": opening.clean, "config_rev": config_rev}
    records = [NewEvent(now_ms, "start", None, start)]
    if opening.start.epoch_reason:
        records.append(NewEvent(now_ms, "epoch", None, {"reason": opening.start.epoch_reason, "previous": None}))
    if opening.start.skip:
        first, last = opening.start.skip
        records.append(NewEvent(now_ms, "numbers_skipped", None, {"first": first, "last": last}))
    if opening.moved_aside is not None:
        data = {"reason": "damaged_buffer", "kept_as": opening.moved_aside.name}
        records.append(NewEvent(now_ms, "dropped", None, data))
    return records


def downtime_gap(
    opening: Opening, meter: str, interval_ms: int, next_ms: int, boot: bytes, anchor: Anchor | None
) -> NewEvent | None:
    """The slots of `meter` after its last one of the run before and before `next_ms`, its first one of this run.

    Across a reboot the clocks differ: the beginning is then on the clock of `from_boot`, and the number of slots is
    known only if both boots knew UTC.
    """
    from_ms = max(opening.until_ms, opening.until_by_meter_ms.get(meter, 0))
    if opening.boot is None or not from_ms:
        return None
    data: dict[str, object] = {"reason": "not_running", "from_ms": from_ms, "to_ms": next_ms}
    if opening.boot == boot:
        data["slots"] = _slots_between(next_ms - from_ms, interval_ms)
    else:
        data["from_boot"] = opening.boot.hex()
        data["slots"] = None
        if anchor is not None and opening.anchor is not None:
            shift_ms = anchor.boot_utc_ms - opening.anchor.boot_utc_ms
            data["slots"] = _slots_between(next_ms + shift_ms - from_ms, interval_ms)
    return NewEvent(next_ms, "gap", meter, data) if data["slots"] != 0 else None


def _slots_between(elapsed_ms: int, interval_ms: int) -> int:
    """Slot starts strictly between a read that began `elapsed_ms` before a slot start, and that start."""
    return max(0, -(-elapsed_ms // interval_ms) - 1)

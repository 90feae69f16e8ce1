"""The first records of a run: that it began, what became of the numbers, and the slots of the time in between."""

from __future__ import annotations

from agent.adapters.buffer.buffer import Opening
from agent.core.metering.slots import MeterSlots, slots_between
from agent.core.records import NewEvent
from agent.version import VERSION
from wire.batch import Anchor

NOT_RUNNING = "not_running"


def restart_records(opening: Opening, now_ms: int, config_rev: str) -> list[NewEvent]:
    """`start`, and `epoch` or `numbers_skipped` where the numbering did not simply go on."""
    start = {"version": VERSION, "clean": opening.clean, "config_rev": config_rev}
    records = [NewEvent(now_ms, "start", None, start)]
    if opening.start.epoch_reason:
        previous = opening.previous.hex() if opening.previous is not None else None
        data: dict[str, object] = {"reason": opening.start.epoch_reason, "previous": previous}
        records.append(NewEvent(now_ms, "epoch", None, data))
    if opening.start.skip:
        first, last = opening.start.skip
        records.append(NewEvent(now_ms, "numbers_skipped", None, {"first": first, "last": last}))
    records += [NewEvent(now_ms, "thinned", None, one.data()) for one in opening.thinned]
    if opening.moved_aside is not None:
        aside = opening.moved_aside
        data = {"reason": "damaged_buffer", "kept_as": aside.path.name, "batches_saved": aside.batches}
        records.append(NewEvent(now_ms, "dropped", None, data))
    return records


def last_slot_ms(opening: Opening, meter: str, boot: bytes, anchor: Anchor | None) -> int | None:
    """Where the last slot of `meter` began that the run before accounted for; None where this boot's clock cannot say.

    It is a slot of that run, whose idea of UTC may have been another by milliseconds than the one of `anchor`.
    """
    last_ms = opening.accounted_ms.get(meter)
    if opening.boot == boot:
        return last_ms
    if last_ms is None or opening.anchor is None or anchor is None:
        return None
    return last_ms + opening.anchor.boot_utc_ms - anchor.boot_utc_ms


def next_slots(meter: str, interval_ms: int, now_ms: int, anchor: Anchor | None, last_ms: int | None) -> MeterSlots:
    """The schedule from `now_ms` on, without the slot that began at `last_ms` by the UTC of the run before.

    What lies further ahead was accounted for by another clock or interval, and is no reason to wait.
    """
    from_ms = now_ms
    if last_ms is not None and last_ms - now_ms <= interval_ms // 2:
        from_ms = max(now_ms, last_ms + interval_ms // 2 + 1)
    return MeterSlots(meter, interval_ms, from_ms, anchor.boot_utc_ms if anchor is not None else 0)


def gap_since(meter: str, interval_ms: int, last_ms: int, next_ms: int, now_ms: int) -> NewEvent | None:
    """The slots of `meter` after the one that began at `last_ms` and before `next_ms`, its first one from now on."""
    slots = slots_between(last_ms, next_ms, interval_ms)
    if slots == 0:
        return None
    data = {"reason": NOT_RUNNING, "from_ms": next_ms - slots * interval_ms, "to_ms": next_ms, "slots": slots}
    return NewEvent(now_ms, "gap", meter, data)


def downtime_gap(
    opening: Opening, meter: str, interval_ms: int, next_ms: int, now_ms: int, boot: bytes, anchor: Anchor | None
) -> NewEvent | None:
    """The slots of `meter` between the run before and `next_ms`, its first one of this run.

    Across a reboot the clocks differ. How many slots passed is then known only if both boots knew UTC, and agree that
    the one was before the other; what is known of the beginning is stated, and with it the number follows once this
    boot can be dated, or the one before rightly.
    """
    before_ms = opening.accounted_ms.get(meter)
    if opening.boot is None or before_ms is None:
        return None
    last_ms = last_slot_ms(opening, meter, boot, anchor)
    if opening.boot == boot and last_ms is not None:
        return gap_since(meter, interval_ms, last_ms, next_ms, now_ms)
    is_ahead = last_ms is not None and last_ms - now_ms > interval_ms // 2  # of a clock that was wrong by more
    slots = None if last_ms is None or is_ahead else slots_between(last_ms, next_ms, interval_ms)
    data: dict[str, object] = {"reason": NOT_RUNNING, "from_ms": 0, "to_ms": next_ms, "slots": slots}
    data |= {"interval_ms": interval_ms, "from_boot": opening.boot.hex(), "from_boot_ms": before_ms + interval_ms}
    if opening.anchor is not None and not is_ahead:
        data["from_utc_ms"] = opening.anchor.boot_utc_ms + before_ms + interval_ms
    return NewEvent(now_ms, "gap", meter, data) if slots != 0 else None

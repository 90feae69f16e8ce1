"""How the meters of one line share it: whose turn it is, and how long a read may take at the others' expense. Pure.

A slot is done if its read starts within it, so its end is the deadline. Of the slots that have begun the one whose
middle comes or came first is next: on a line with time to spare that is as good as the deadline, and where there is too
little, a meter that is read rarely has half its interval to go before the others. Of equal ones a meter that answers
goes before one that does not, then who has waited longest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from agent.core.metering.backoff import MeterBackoff
from agent.core.metering.slots import MeterSlots

READ_MIN_MS = 20
NEED_MARGIN = 2  # a meter may take so many times as long as usual, however little time there is
SMOOTHING = 8  # readings in which one that took long is forgotten

TurnOrder = tuple[bool, int, bool, int]


class Sharer(Protocol):
    """A meter on the line. `need_ms` is what a reading usually takes, 0 while that is not known."""

    slots: MeterSlots
    backoff: MeterBackoff
    need_ms: int
    asked_ms: int


def turn(meter: Sharer, now_ms: int) -> TurnOrder:
    """Order of the meters: the smallest is next, also while no slot has begun."""
    begun = meter.slots.next_ms <= now_ms
    when_ms = deadline_ms(meter, now_ms) - meter.slots.interval_ms // 2 if begun else meter.slots.next_ms
    return not begun, when_ms, _fails(meter), meter.asked_ms


def deadline_ms(meter: Sharer, now_ms: int) -> int:
    """The end of the slot that is to be read next."""
    slots = meter.slots
    missed = max(now_ms - slots.next_ms, 0) // slots.interval_ms
    return slots.next_ms + (missed + 1) * slots.interval_ms


def budget_ms(meter: Sharer, others: Iterable[Sharer], now_ms: int, read_max_ms: int) -> int:
    """How long `meter` may be read: what the others leave of the line's time, so that none starts after its slot.

    Twice its usual time it has in any case, but no more than its interval unless it usually needs more: a line that
    carried it alive can carry its return.
    """
    whole_ms = min(meter.slots.interval_ms, read_max_ms)
    others = list(others)
    least_ms = min(NEED_MARGIN * meter.need_ms, max(whole_ms, meter.need_ms + meter.need_ms // 4))
    if not meter.need_ms:
        shortest_ms = min(each.slots.interval_ms for each in (meter, *others))
        least_ms = shortest_ms // (len(others) + 1) if _fails(meter) else whole_ms
    least_ms = min(max(least_ms, READ_MIN_MS), read_max_ms)
    return max(min(whole_ms, _slack_ms(others, now_ms)), least_ms)


def _slack_ms(others: list[Sharer], now_ms: int) -> int:
    """The time that `others` do not need: in the long run, and until the first of them would be late."""
    if not others:
        return 1 << 30
    idle = 1.0
    room_ms = 1 << 30
    queue_ms = 0
    for other in sorted(others, key=lambda each: deadline_ms(each, now_ms)):
        need_ms = _need_ms(other, len(others) + 1)
        idle -= need_ms / other.slots.interval_ms
        room_ms = min(room_ms, deadline_ms(other, now_ms) - now_ms - queue_ms - 1)
        queue_ms += need_ms
    shortest_ms = min(other.slots.interval_ms for other in others)
    return min(room_ms, int(idle * shortest_ms))


def _need_ms(meter: Sharer, sharers: int) -> int:
    """Nothing, if it is left alone anyhow; its fair share, if nobody knows yet."""
    if _fails(meter):
        return 0
    return meter.need_ms or meter.slots.interval_ms // sharers


def _fails(meter: Sharer) -> bool:
    return meter.backoff.failures > 0


def learnt_ms(need_ms: int, took_ms: int) -> int:
    """What a meter usually takes, after a reading that took `took_ms`."""
    return took_ms if took_ms >= need_ms else need_ms - (need_ms - took_ms) // SMOOTHING

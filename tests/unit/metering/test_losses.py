"""What was taken and could not be kept is counted, then stated once."""

from __future__ import annotations

from agent.core.buffer.losses import Losses
from agent.core.records import NewEvent, NewReading

METERS = {1: "main", 2: "heat"}


def lost(*records: NewReading | NewEvent) -> Losses:
    losses = Losses()
    for record in records:
        losses.add(record, METERS.__getitem__)
    return losses


def test_lost_readings_become_one_gap_per_meter() -> None:
    losses = lost(NewReading(1, 10, (1,)), NewReading(2, 15, (1,)), NewReading(1, 20, (1,)), NewReading(1, 30, (1,)))
    heat, main = losses.take(99)
    assert (heat.kind, heat.meter, heat.mono_ms) == ("gap", "heat", 99)
    assert heat.data == {"reason": "not_kept", "from_ms": 15, "to_ms": 16, "slots": 1}
    assert main.data == {"reason": "not_kept", "from_ms": 10, "to_ms": 31, "slots": 3}


def test_a_lost_gap_stays_a_gap_of_the_same_span() -> None:
    gap = NewEvent(9_000, "gap", "main", {"reason": "silent", "from_ms": 5_000, "to_ms": 10_000, "slots": 5})
    (stated,) = lost(NewReading(1, 4_000, (1,)), gap).take(20_000)
    assert stated.data == {"reason": "not_kept", "from_ms": 4_000, "to_ms": 10_000, "slots": 6}


def test_a_lost_gap_of_unknown_slots_explains_none() -> None:
    gap = NewEvent(9_000, "gap", "main", {"reason": "not_running", "slots": None})
    (stated,) = lost(gap).take(20_000)
    assert stated.data == {"reason": "not_kept", "from_ms": 9_000, "to_ms": 9_000, "slots": 0}


def test_other_lost_events_are_counted_by_kind() -> None:
    losses = lost(NewEvent(1, "start"), NewEvent(2, "meter_back", "main"), NewEvent(3, "meter_back", "heat"))
    (stated,) = losses.take(50)
    assert (stated.kind, stated.meter) == ("dropped", None)
    assert stated.data == {"events": {"start": 1, "meter_back": 2}, "reason": "not_kept"}


def test_losses_are_stated_once() -> None:
    losses = lost(NewReading(1, 10, (1,)), NewEvent(1, "start"))
    assert len(losses.take(20)) == 2
    assert losses.take(30) == []

"""What a log says of values that cannot be true."""

from __future__ import annotations

from agent.core.records import NewEvent
from agent.core.truth.plausibility_events import sentences


def test_many_events_of_one_kind_are_one_line_for_a_log() -> None:
    def event(kind: str, measurand: str | None) -> NewEvent:
        return NewEvent(1_000, kind, "main", {"measurand": measurand, "flag": "stale", "value": None, "readings": 3})

    few = [event("implausible", name) for name in ("voltage_l1_n", "current_l1")]
    assert [text.split()[0] for _, text in sentences(few)] == ["voltage_l1_n", "current_l1"]
    many = [
        *few,
        event("implausible", "frequency"),
        event("implausible", None),
        event("plausible", "power_factor_total"),
    ]
    assert [text for _, text in sentences(many)] == [
        "voltage_l1_n cannot be true: stale; likewise current_l1, frequency, all registers",
        "power_factor_total is plausible again (stale for 3 readings)",
    ]
    assert list(sentences(())) == []

"""What is flagged in a reading, and which events say so: timetables of one meter, 100 A on three phases."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import pytest

from agent.core.records import NewEvent
from agent.core.truth.bounds import Ratings
from agent.core.truth.plausibility import MeterTruth
from agent.core.truth.plausibility_events import EVENTS_AT_ONCE, Place, Places, sentence
from drivers.meter import RawBlock, Sample
from wire.batch import Column, Quality
from wire.document import flag_names
from wire.resolution import Resolution

STEPS = {
    "voltage_l1_n": 0.1,
    "voltage_l2_n": 0.1,
    "voltage_l3_n": 0.1,
    "current_l1": 0.001,
    "power_active_total": 0.1,
    "power_factor_total": 0.001,
    "frequency": 0.01,
    "energy_active_import_total": 1,
    "energy_active_export_total": 1,
}
GOOD = (2301, 2299, 2310, 1500, 3400, 980, 5001, 5_000_000, 0)
FIRST_BLOCK = 4  # of these, two registers each, lie in the first of two answers


class Told:
    """A meter whose readings are `GOOD` but for what is told."""

    def __init__(
        self, names: tuple[str, ...] = tuple(STEPS), *, raw: bool = True, ratings: Ratings | None = None
    ) -> None:
        self.names = names
        columns = [Column(name, Resolution.parse(STEPS[name])) for name in names]
        places = Places([Place(4, 2 * list(STEPS).index(name), 2) for name in names]) if raw else None
        self.truth = MeterTruth("main", columns, ratings or Ratings(100), places)
        self.raw = raw
        self.events: list[NewEvent] = []
        self.restless = 0
        self.values: dict[str, int | None] = {}

    def at(self, second: float, changes: Mapping[str, int | None] | None = None, **more: int | None) -> dict[str, str]:
        """Flags by measurand. The voltage of L3 moves, as voltages do."""
        self.restless += 1
        l3 = {"voltage_l3_n": 2310 + self.restless % 3}
        self.values = dict(zip(STEPS, GOOD, strict=True)) | l3 | dict(changes or {}) | more
        return self.again(second)

    def again(self, second: float, flags: Mapping[str, int] | None = None, noise: int = 0) -> dict[str, str]:
        """The reading before once more. `noise` is what the registers say beyond the resolution."""
        values = tuple(self.values[name] for name in self.names)
        given = tuple((flags or {}).get(name, 0) for name in self.names) if flags else ()
        sample = Sample(values, given, self._words(noise) if self.raw else ())
        found, events = self.truth.judge(round(second * 1000), sample)
        self.events += events
        return {
            name: " ".join(flag_names(flag))
            for name, flag in zip(self.names, found or (0,) * len(values), strict=True)
            if flag
        }

    def _words(self, noise: int) -> tuple[RawBlock, ...]:
        data = b"".join(struct.pack(">I", (value or 0) & 0xFFFFFFFF) for value in self.values.values())
        cut = 4 * FIRST_BLOCK
        return (
            RawBlock(4, 0, data[:cut]),
            RawBlock(4, 2 * FIRST_BLOCK, data[cut:] + noise.to_bytes(4, "big")),
        )

    def said(self) -> list[tuple[str, dict[str, Any]]]:
        """The events since the last call."""
        said, self.events = [(event.kind, dict(event.data)) for event in self.events], []
        return said


def zeros(*names: str) -> dict[str, int | None]:
    return dict.fromkeys(names or STEPS, 0)


def test_a_good_reading_has_no_flags_and_no_events() -> None:
    told = Told()
    assert [told.at(second, energy_active_import_total=5_000_000 + second) for second in range(100)] == [{}] * 100
    assert told.events == []


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("voltage_l1_n", 5000),
        ("voltage_l1_n", 400),
        ("voltage_l1_n", -2300),
        ("frequency", 400),
        ("frequency", 0),
        ("power_factor_total", 1_200),
        ("current_l1", 4_000_000),
        ("power_active_total", -99_000_000),
        ("energy_active_export_total", -1),
    ],
)
def test_a_value_out_of_range_has_a_flag_and_an_event_with_its_registers(name: str, steps: int) -> None:
    told = Told()
    told.at(1)
    assert told.at(2, {name: steps}) == {name: "out_of_range"}
    assert told.at(3, {name: steps}) == {name: "out_of_range"}
    assert told.at(4) == {}
    (begin, began), (end, ended) = told.said()
    address = 2 * list(STEPS).index(name)
    number, good = (Resolution.parse(STEPS[name]).to_number(n) for n in (steps, GOOD[list(STEPS).index(name)]))
    raw = f"4:{address}:{steps & 0xFFFFFFFF:08x}"
    last = {"last": 0} if name.startswith("energy") else {}
    assert (begin, began) == (
        "implausible",
        {"measurand": name, "flag": "out_of_range", "value": number, **last, "raw": raw},
    )
    assert (end, ended) == (
        "plausible",
        {"measurand": name, "flag": "out_of_range", "value": good, "since_ms": 2_000, "readings": 2},
    )


def test_a_counter_that_goes_back_is_flagged_until_it_is_where_it_was() -> None:
    told = Told()
    told.at(1), told.at(2)
    flags = [told.at(second, energy_active_import_total=4_999_990 + second) for second in range(3, 12)]
    assert flags == [{"energy_active_import_total": "backwards"}] * 7 + [{}] * 2
    (begin, began), (end, ended) = told.said()
    assert (begin, began["last"], began["value"], began["raw"]) == (
        *("implausible", 5_000_000, 4_999_993),
        "4:14:004c4b39",
    )
    assert (end, ended["readings"]) == ("plausible", 7)


def test_one_counter_says_nothing_of_another() -> None:
    told = Told()
    told.at(1, energy_active_export_total=7), told.at(2, energy_active_export_total=7)
    for second in range(3, 9):
        flags = told.at(second, energy_active_import_total=5_000_000 + second)
        assert flags == {"energy_active_export_total": "backwards"}


def test_a_jump_is_flagged_and_nothing_after_it() -> None:
    told = Told()
    told.at(1), told.at(2)
    assert told.at(3, energy_active_import_total=58_000_000) == {"energy_active_import_total": "jump"}
    assert told.at(4, energy_active_import_total=5_000_001) == {}
    assert [(kind, data["flag"]) for kind, data in told.said()] == [("implausible", "jump"), ("plausible", "jump")]


def test_codes_for_no_value_are_told_once_and_do_not_end_what_was_wrong_before() -> None:
    told = Told()
    told.at(1, frequency=0)
    told.values["frequency"] = None
    for second in (2, 3):
        assert told.again(second, {"frequency": int(Quality.NOT_AVAILABLE)}) == {"frequency": "not_available"}
    assert [(kind, data["flag"]) for kind, data in told.said()] == [
        ("implausible", "out_of_range"),
        ("implausible", "not_available"),
    ]
    assert told.at(4) == {}
    assert sorted((kind, data["flag"], data["since_ms"]) for kind, data in told.said()) == [
        ("plausible", "not_available", 2_000),
        ("plausible", "out_of_range", 1_000),
    ]


def test_a_value_that_is_missing_without_a_flag_is_no_fault() -> None:
    """As in a telegram that does not have every value each time."""
    told = Told()
    told.at(1, frequency=0)
    assert told.at(2, frequency=None, energy_active_import_total=None) == {}
    assert told.at(3, frequency=None, energy_active_import_total=5_000_002) == {}
    assert [kind for kind, _ in told.said()] == ["implausible"]


# Zeros


def test_a_phase_that_is_not_connected_is_no_fault() -> None:
    told = Told()
    for second in range(1, 5):
        assert told.at(second, voltage_l1_n=second, voltage_l2_n=95) == {}
    assert told.at(5, voltage_l1_n=300) == {"voltage_l1_n": "out_of_range"}
    assert told.at(6, voltage_l1_n=2300) == {}
    assert told.at(7, voltage_l1_n=95) == {}


def test_a_meter_that_answers_has_a_voltage_somewhere() -> None:
    told = Told()
    told.at(1)
    dead = zeros("voltage_l1_n", "voltage_l2_n", "voltage_l3_n")
    assert told.at(2, dead) == dict.fromkeys(dead, "out_of_range"), "and the current beside them is as it was read"


def test_an_answer_of_nothing_but_zeros_is_wrong_as_a_whole() -> None:
    told = Told()
    told.at(1), told.at(2)
    names = list(STEPS)
    out = {**dict.fromkeys(names[:7], "out_of_range"), "energy_active_import_total": "backwards"}
    assert told.at(3, zeros()) == out
    assert told.at(4, zeros(*names[:FIRST_BLOCK])) == dict.fromkeys(names[:FIRST_BLOCK], "out_of_range")
    assert told.at(5, zeros(*names[FIRST_BLOCK:])) == {
        **dict.fromkeys(names[FIRST_BLOCK:7], "out_of_range"),
        "energy_active_import_total": "backwards",
    }
    assert told.at(6) == {}


def test_zeros_are_nothing_to_begin_from() -> None:
    told = Told()
    everything = dict.fromkeys(STEPS, "out_of_range")
    assert told.at(1, zeros()) == everything
    assert told.at(2) == {}


def test_zeros_are_never_believed_however_long_they_last() -> None:
    told = Told()
    told.at(1)
    for hour in range(1, 50):
        flags = told.at(hour * 3_600, zeros())
    assert flags["energy_active_import_total"] == "backwards"
    assert told.at(50 * 3_600, energy_active_import_total=5_000_100) == {}


def test_without_registers_the_reading_is_looked_at_as_a_whole() -> None:
    told = Told(raw=False)
    told.at(1)
    assert len(told.at(2, zeros())) == 8
    assert told.at(3, zeros() | {"current_l1": 5}) == {
        **dict.fromkeys(("voltage_l1_n", "voltage_l2_n", "voltage_l3_n", "frequency"), "out_of_range"),
        "energy_active_import_total": "backwards",
    }
    assert all("raw" not in data for _, data in told.said())


# Staleness


@pytest.mark.parametrize(("interval_s", "first_s"), [(1, 600), (10, 600), (60, 1_140), (900, 17_100)])
def test_registers_that_never_change_are_stale(interval_s: int, first_s: int) -> None:
    told = Told()
    told.at(0)
    flags = {s: told.again(s) for s in range(interval_s, first_s + 5 * interval_s, interval_s)}
    assert {s for s, flag in flags.items() if flag} == set(range(first_s, first_s + 5 * interval_s, interval_s))
    assert flags[first_s] == dict.fromkeys(STEPS, "stale")
    assert told.at(first_s + 5 * interval_s) == {}
    (begin, began), (end, ended) = told.said()
    assert (begin, began) == ("implausible", {"measurand": None, "flag": "stale", "value": None, "since_ms": 0})
    assert (end, ended) == ("plausible", {"measurand": None, "flag": "stale", "since_ms": 0, "readings": 5})


def test_registers_that_change_beyond_the_resolution_are_not_stale() -> None:
    told = Told()
    told.at(0)
    assert [told.again(s, noise=s) for s in range(1, 900)] == [{}] * 899


def test_a_refresh_every_five_seconds_is_not_stale() -> None:
    told = Told()
    assert [told.at(s) if s % 5 == 0 else told.again(s) for s in range(900)] == [{}] * 900


def test_counters_alone_may_stand_still_for_days() -> None:
    told = Told(("energy_active_import_total", "energy_active_export_total", "power_active_total"))
    told.at(0)
    assert [told.again(s) for s in range(60, 200_000, 60)] == [{}] * 3_333


def test_what_is_wrong_anyway_is_not_called_stale() -> None:
    told = Told()
    told.at(0, zeros())
    assert {told.again(second).get("frequency") for second in range(1, 700)} == {"out_of_range"}


# Which meter, and from where


def test_another_serial_number_is_another_meter() -> None:
    told = Told()
    told.at(1), told.at(2)
    assert told.truth.identified(3_000, "1234") == []
    assert told.truth.identified(4_000, "1234") == []
    (event,) = told.truth.identified(5_000, "5678")
    assert (event.kind, event.meter, dict(event.data)) == ("meter_replaced", "main", {"old": "1234", "new": "5678"})
    assert told.at(6, energy_active_import_total=12, energy_active_export_total=90_000) == {}
    assert told.at(7, energy_active_import_total=11, energy_active_export_total=90_000) == {
        "energy_active_import_total": "backwards"
    }


def test_what_was_last_good_is_remembered() -> None:
    before = Told()
    before.at(1), before.at(2, energy_active_import_total=9_000_000_000)
    energy, export = before.truth.counters().items()
    assert (energy[1], export[1]) == ((5_000_000, 1_000), (0, 2_000))
    after = Told()
    assert after.truth.counters() == {}
    after.truth.remember({energy[0]: (5_000_000, -60_000)})
    assert after.at(1, energy_active_import_total=4_999_999) == {"energy_active_import_total": "backwards"}
    assert after.at(2, energy_active_import_total=6_000_000) == {"energy_active_import_total": "jump"}
    assert after.at(3, energy_active_import_total=5_001_500) == {}


def test_all_counters_of_a_meter_are_reset_together() -> None:
    told = Told()
    told.at(0, energy_active_export_total=700), told.at(1, energy_active_export_total=700)
    for second in range(2, 400):
        told.at(second, energy_active_import_total=second, energy_active_export_total=0)
    kinds = [(kind, data["measurand"], data.get("from"), data.get("to")) for kind, data in told.said()]
    assert sorted(kinds) == [
        ("counter_reset", "energy_active_export_total", 700, 0),
        ("counter_reset", "energy_active_import_total", 5_000_000, 302),
        ("implausible", "energy_active_export_total", None, None),
        ("implausible", "energy_active_import_total", None, None),
        ("plausible", "energy_active_export_total", None, None),
        ("plausible", "energy_active_import_total", None, None),
    ]


def test_a_counter_that_only_one_bad_frame_touched_is_not_reset_with_the_others() -> None:
    told = Told()
    told.at(0, energy_active_export_total=700), told.at(1, energy_active_export_total=700)
    for second in range(2, 400):
        export = 0 if second == 302 else 700
        told.at(second, energy_active_import_total=second, energy_active_export_total=export)
    resets = [data["measurand"] for kind, data in told.said() if kind == "counter_reset"]
    assert resets == ["energy_active_import_total"]


def test_a_turn_over_is_an_event_and_no_flag() -> None:
    told = Told(ratings=Ratings(100, rollover={"energy_active_import_total": 5_000_002}))  # type: ignore[dict-item]
    told.at(1), told.at(2)
    assert told.at(3, energy_active_import_total=4) == {}
    assert told.said() == [
        ("rollover", {"measurand": "energy_active_import_total", "from": 5_000_000, "to": 4}),
    ]


def test_a_first_value_that_was_wrong_is_named_afterwards() -> None:
    told = Told()
    told.at(1, energy_active_import_total=88_000_000)
    told.at(2), told.at(3)
    assert told.said()[1] == (
        "implausible",
        {
            "measurand": "energy_active_import_total",
            "flag": "jump",
            "value": 88_000_000,
            "since_ms": 1_000,
            "retracted": True,
        },
    )


# Not too many events


def test_a_meter_that_is_broken_for_good_does_not_fill_the_buffer() -> None:
    told = Told()
    hours = 10
    for second in range(hours * 3_600):
        told.at(second, frequency=0 if second % 2 else 5_000, voltage_l1_n=9_999 if second % 2 else 2_300)
    said = told.said()
    assert len(said) <= 2 * (EVENTS_AT_ONCE + 60 * hours)
    assert len([kind for kind, _ in said if kind == "implausible"]) >= EVENTS_AT_ONCE + 60 * hours - 2
    assert sum(data.get("suppressed", 0) for _, data in said) > 10_000


def test_what_was_wrong_at_first_is_not_named_either_when_there_is_no_room() -> None:
    told = Told()
    told.at(0, energy_active_import_total=88_000_000)
    for tenth in range(2 * EVENTS_AT_ONCE):
        told.at(tenth / 10, energy_active_import_total=None, frequency=5_000 if tenth % 2 else 0)
    told.said()
    told.at(10), told.at(11)
    assert told.said() == []


def test_registers_that_an_answer_does_not_have_are_not_shown() -> None:
    place = Place(4, 3, 2)
    assert place.text((RawBlock(4, 0, bytes(8)), RawBlock(3, 0, bytes(100)), RawBlock(4, 4, bytes(8)))) is None
    assert place.text((RawBlock(4, 4, bytes(8)), RawBlock(4, 1, bytes(range(8))))) == "4:3:04050607"


def test_what_was_not_said_is_not_taken_back_either() -> None:
    told = Told()
    for second in range(2 * EVENTS_AT_ONCE):
        told.at(second / 10, frequency=5_000 if second % 2 else 0)
    told.said()
    told.at(20, frequency=0)
    told.at(21)
    assert told.said() == []
    told.at(70, energy_active_import_total=4), told.at(71)
    assert [(kind, data.get("suppressed")) for kind, data in told.said()] == [("implausible", 1), ("plausible", None)]


# In words

EVENT = {"measurand": "frequency", "flag": "out_of_range"}
ENERGY = {"measurand": "energy_active_import_total"}


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        (
            "implausible",
            EVENT | {"value": 0.0, "raw": "4:70:00000000"},
            "frequency = 0.0 cannot be true: out of range, registers 4:70:00000000",
        ),
        (
            "implausible",
            ENERGY | {"flag": "backwards", "value": 7, "last": 9},
            "energy_active_import_total = 7 cannot be true: backwards, last good 9",
        ),
        (
            "implausible",
            ENERGY | {"flag": "jump", "value": 7, "since_ms": 5, "retracted": True},
            "energy_active_import_total = 7 cannot be true: jump, found out afterwards",
        ),
        (
            "implausible",
            {"measurand": None, "flag": "stale", "value": None, "since_ms": 5},
            "all registers cannot be true: stale",
        ),
        (
            "plausible",
            EVENT | {"value": 50.0, "since_ms": 5, "readings": 3},
            "frequency is plausible again (out of range for 3 readings)",
        ),
        ("rollover", ENERGY | {"from": 99, "to": 1}, "energy_active_import_total turned over from 99 to 1"),
        (
            "counter_reset",
            ENERGY | {"from": 99, "to": 1},
            "energy_active_import_total was reset from 99 to 1, and goes on from there",
        ),
    ],
)
def test_a_log_says_it_in_words(kind: str, data: dict[str, Any], expected: str) -> None:
    assert sentence(NewEvent(1_000, kind, "main", data)) == expected

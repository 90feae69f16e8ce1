"""Readings by hand are judged as the daemon judges them."""

from __future__ import annotations

from dataclasses import replace

from agent.cli.shared.judging import Judges
from drivers.building import build_line, build_meter
from drivers.meter import Sample
from drivers.profile.files import find_profile
from wire.batch import Quality

PROFILE = find_profile("eastron-sdm630")
WANTED = ("voltage_l1_n", "current_l1", "energy_active_import_total")


def test_one_reading_shows_what_no_meter_can_say_and_the_next_what_went_back() -> None:
    line = build_line(PROFILE, "bus", "tcp://127.0.0.1:1")
    meters = [build_meter(line, unit, PROFILE, "main", WANTED) for unit in (1, 2)]
    judges = Judges()
    assert judges.judged(meters[0], 0, Sample((2_300, 1_000, 5_000))).flags == ()
    assert judges.judged(meters[1], 0, Sample((9_999, 1_000, 4_000))).flags == (int(Quality.OUT_OF_RANGE), 0, 0)
    assert judges.judged(meters[0], 1_000, Sample((2_301, 300_000, 4_000))).flags == (
        *(0, int(Quality.OUT_OF_RANGE)),
        int(Quality.BACKWARDS),
    )


def test_a_ratio_that_the_box_applies_widens_what_can_be() -> None:
    line = build_line(PROFILE, "bus", "tcp://127.0.0.1:1")
    for profile, flags in ((PROFILE, (0, int(Quality.OUT_OF_RANGE), 0)), (replace(PROFILE, ct="box"), ())):
        meter = build_meter(line, 1, profile, "main", WANTED, ct_ratio=40)
        assert Judges().judged(meter, 0, Sample((2_300, 300_000, 5_000))).flags == flags

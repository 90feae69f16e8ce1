"""A sample of the telegram fuzz that `make torture` runs in full, so that decoders and script stay right."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from drivers.hdlc import HdlcFramer
from meter_sim.telegrams import aidon, hdlc

SCRIPT = Path(__file__).with_name("fuzz_telegrams.py")


@pytest.mark.parametrize("seed", ["a", "b"])
def test_a_sample_of_spoiled_telegrams(seed: str) -> None:
    telegrams, outcomes = runpy.run_path(str(SCRIPT))["run"](2_500, seed)
    assert telegrams >= 2_500
    assert outcomes["read"] > 0.25 * telegrams
    assert {"checksum", "truncated", "length", "syntax"} <= outcomes.keys()


def test_a_frame_whose_closing_flag_is_lost_is_found_at_once() -> None:
    """Else it would be dated when the next telegram begins, seconds later."""
    frame = hdlc(aidon([("1-0:1.7.0", 1234, 0, 27, 6)]))
    framer = HdlcFramer()
    assert framer.feed(frame[:-2]) == []
    (found,) = framer.feed(frame[-2:-1])
    assert isinstance(found, bytes)
    assert framer.feed(frame[-1:]) == []
    assert framer.feed(frame) == [found], "the closing flag is no harm"

"""A sample of the telegram fuzz that `make torture` runs in full, so that decoders and script stay right."""

from __future__ import annotations

import asyncio
import runpy
from pathlib import Path

import pytest
from virtual_time import run_virtual

from drivers.building import build_line, build_meter
from drivers.profile.files import find_profile
from drivers.telegrams.hdlc import HdlcFramer
from drivers.telegrams.push import PushLine
from meter_sim.telegrams.encoders import aidon, hdlc

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


def test_a_telegram_that_was_cut_holds_back_none_that_comes_after_a_pause() -> None:
    """Its length field claims the bytes of the next; that one would be found, and dated, with the one after it."""

    async def go() -> float | None:
        profile = find_profile("han-aidon")
        line = build_line(profile, "han", "/dev/null")
        assert isinstance(line, PushLine)
        line._port = NoPort()
        meter = build_meter(line, 1, profile, "main", ["power_active_import"])
        long = hdlc(aidon([("1-0:1.7.0", number, 0, 27, 6) for number in range(30)]))
        line.received(long[:40])
        await asyncio.sleep(10)
        line.received(hdlc(aidon([("1-0:1.7.0", 1234, 0, 27, 6)])))
        sample = await meter.read(100)
        assert sample.values == (1234,)
        return sample.taken_s

    assert run_virtual(go()) == pytest.approx(10)


class NoPort:
    """Open, and still."""

    is_open = True

    async def open(self, sink: object, timeout_s: float) -> None: ...
    def write(self, data: bytes) -> None: ...
    def rest(self, seconds: float) -> None: ...
    def drain(self) -> None: ...
    def close(self) -> None: ...

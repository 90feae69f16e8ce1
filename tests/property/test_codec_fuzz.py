"""A sample of the fuzz that `make torture` runs in full, so that the script stays right."""

from __future__ import annotations

import runpy
import tracemalloc
from pathlib import Path

import pytest

from wire.codec import decode
from wire.errors import WireError

SLOW_TO_TRACE = {1, 2}  # the script's --trace-memory does
SCRIPT = Path(__file__).with_name("fuzz_codec.py")


@pytest.mark.parametrize("seed", [1, 2])
def test_a_sample_of_the_fuzz(seed: int) -> None:
    outcomes = runpy.run_path(str(SCRIPT))["run"](2_000, seed, trace_memory=False)
    assert sum(outcomes.values()) == 2_000
    assert any("read" in name for name in outcomes)
    assert any("refused" in name for name in outcomes)


def test_few_bytes_that_say_much_are_bounded_in_memory_and_end() -> None:
    script = runpy.run_path(str(SCRIPT))
    outcomes = []
    for number, bomb in enumerate(script["bombs"]()):
        if number not in SLOW_TO_TRACE:
            tracemalloc.start()
        try:
            decode(bomb)
            outcomes.append("read")
        except WireError:
            outcomes.append("refused")
        finally:
            peak = tracemalloc.get_traced_memory()[1]  # 0 when not tracing
            tracemalloc.stop()
        assert peak < script["PEAK_BYTES_MAX"]
    assert outcomes == ["read"] * 5 + ["refused"] * 4

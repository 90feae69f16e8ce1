"""A sample of the fault fuzz that `make torture` runs in full, so that the line and the script stay right."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from meter_sim.faults.schedule import WIRE

SCRIPT = Path(__file__).with_name("fuzz_line.py")


@pytest.mark.timeout(180)
def test_a_sample_of_the_faults() -> None:
    tally, outcomes, episodes = runpy.run_path(str(SCRIPT))["run"](20_000, "sample")
    assert tally.frames >= 20_000
    assert episodes >= 20
    assert WIRE.keys() <= tally.faults.keys(), "every kind has come up"
    assert tally.faults["none"] < 0.9 * tally.frames
    assert outcomes["reading"] > 1000
    assert {"reading", "silent", "garbage", "exception", "line_lost", "line_missing", "well again"} <= outcomes.keys()


def test_an_episode_is_the_same_again() -> None:
    play = runpy.run_path(str(SCRIPT))["play"]
    one, same, other = (play(seed, 300) for seed in ("a/1", "a/1", "a/2"))
    assert (one.tally, one.outcomes) == (same.tally, same.outcomes)
    assert one.mix != other.mix


@pytest.mark.parametrize("episode", ["1/172", "1/832"])
def test_lines_on_which_an_answer_was_once_taken_for_anothers(episode: str) -> None:
    """An overdue refusal ended the request that was to prove the meter in step; twice, in different ways."""
    runpy.run_path(str(SCRIPT))["play"](episode)


def test_an_answer_to_another_request_is_known_as_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """The fuzz itself: a driver that takes what the request before was answered is found, with how to see it again."""
    script = runpy.run_path(str(SCRIPT))
    play, words, port = script["play"], script["words"], script["FaultyPort"]
    port._answer.__globals__["words"] = lambda asked, number: words(asked, number - 1)
    with pytest.raises(script["WrongError"], match="got the answer to"):
        play("wrong/1", 500)
    port._answer.__globals__["words"] = words
    assert "see it again: fuzz_line.py --episode wrong/" in capsys.readouterr().err

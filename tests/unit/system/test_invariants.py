"""A broken invariant says its name and what was found."""

from __future__ import annotations

import pytest

from agent.core.invariants import BrokenInvariantError, require


def test_what_holds_says_nothing() -> None:
    require("it holds", [0])


def test_what_does_not_hold_names_itself_with_the_facts() -> None:
    with pytest.raises(BrokenInvariantError) as broken:
        require("ranges are contiguous", [], first=7, due="4")
    assert (broken.value.name, broken.value.facts) == ("ranges are contiguous", {"first": 7, "due": "4"})
    step = "this is a bug: please report this line"
    assert str(broken.value) == f"broken invariant: ranges are contiguous (first=7, due='4'); {step}"


def test_a_name_alone_is_enough() -> None:
    with pytest.raises(BrokenInvariantError, match=r"^broken invariant: it holds; this is a bug"):
        require("it holds", None)

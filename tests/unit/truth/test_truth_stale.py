"""Registers that do not move, also where the plan of reading changes between."""

from __future__ import annotations

from agent.core.truth.plausibility import Same
from drivers.meter import RawBlock, Sample


def test_what_is_read_in_other_blocks_or_not_at_all_has_not_moved() -> None:
    """A block that is refused now and then is cut, and its values are left out: the others are stuck all the same."""
    same = Same()
    whole = Sample((2300, 5000), words=(RawBlock(4, 0, bytes.fromhex("08fc00001388")),))
    cut = Sample((2300, 5000), words=(RawBlock(4, 0, bytes.fromhex("08fc")), RawBlock(4, 2, bytes.fromhex("1388"))))
    part = Sample((2300, None), (0, 1), (RawBlock(4, 0, bytes.fromhex("08fc")),))
    for number, sample in enumerate((whole, cut, part, cut, whole), start=1):
        same.note(1000 * number, sample)
        assert (same.since_ms, same.readings) == (1000, number)
    moved = Sample((2300, 5000), words=(RawBlock(4, 0, bytes.fromhex("08fd00001388")),))
    same.note(9000, moved)
    assert (same.since_ms, same.readings) == (9000, 1)
    same.note(10_000, Sample((None, 5001), (1, 0), (RawBlock(4, 2, bytes.fromhex("1389")),)))
    assert same.since_ms == 10_000

"""From which number a box goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.buffer.numbering import Start, Stored, decide_start

BOOT, OTHER_BOOT = b"boot---1", b"boot---2"
CLEAN = Stored("apt-1", "machine", BOOT, clean=True, next_seq=101, reserved=4_200)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (None, Start("new database")),
        (CLEAN, Start(None)),
        (replace(CLEAN, boot=OTHER_BOOT), Start(None)),
        (replace(CLEAN, clean=False), Start(None)),  # a killed process loses no committed page
        (replace(CLEAN, clean=False, boot=OTHER_BOOT), Start(None, (101, 4_200))),
        (replace(CLEAN, clean=False, boot=OTHER_BOOT, reserved=101), Start(None, (101, 101))),
        (replace(CLEAN, clean=False, boot=OTHER_BOOT, reserved=100), Start(None)),
        (replace(CLEAN, box_id="apt-2"), Start("database of box apt-2")),
        (replace(CLEAN, machine_id="other"), Start("database of another machine")),
        (replace(CLEAN, box_id="apt-2", clean=False, boot=OTHER_BOOT), Start("database of box apt-2")),
        (replace(CLEAN, machine_id="other", clean=False, boot=OTHER_BOOT), Start("database of another machine")),
    ],
)
def test_how_a_start_goes_on(stored: Stored | None, expected: Start) -> None:
    assert decide_start(stored, "apt-1", "machine", BOOT) == expected

"""What commands print fits the terminal: each block by itself, without blanks at the end of lines."""

from __future__ import annotations

import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from agent.cli.shared import terminal
from agent.cli.shared.terminal import grid, show

COLUMNS = 40


def test_a_table_that_is_too_wide_widens_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "console", lambda: Console(force_terminal=True, width=COLUMNS))
    wide, wrapped = grid("l", "l"), grid("l", "L")
    wide.add_row("meters", "x" * COLUMNS)
    wide.add_row("", "y")
    wrapped.add_row("buffer", "many words that are to be wrapped where the terminal ends")
    show(wide, "", wrapped)
    first, second, empty, *rest = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in capsys.readouterr().out.splitlines()]
    assert first == f"meters  {'x' * COLUMNS}"
    assert (second.split(), empty) == (["y"], "")
    assert len(rest) > 1
    assert all(line == line.rstrip() and cell_len(line) <= COLUMNS for line in [second, *rest])

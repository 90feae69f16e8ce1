"""Print to a terminal in colour and fitted to its width; elsewhere plain, in lines of any length."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager, nullcontext

import click
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table

PIPE_COLUMNS = 400  # so wide that no line is broken that a script may look for
WRAPPED_COLUMNS_MIN = 12
GAP = 2  # between columns
END_BLANKS = re.compile(r"(?: |\x1b\[[0-9;]*m)+$")  # also between colour codes


def console(*, stderr: bool = False) -> Console:
    """A console for standard output or standard error; colours follow NO_COLOR and the terminal."""
    made = Console(stderr=stderr, highlight=False, emoji=False, markup=False)
    if not made.is_terminal:
        made.width = int(os.environ.get("COLUMNS", "") or PIPE_COLUMNS)  # `watch` sets COLUMNS
    return made


def show(*blocks: RenderableType) -> None:
    """Print to standard output, each block as wide as needed, without the blanks at the ends of a table's lines."""
    out = console()
    fitting = out.width
    for block in blocks:
        out.width = max(fitting, _least_width(block) if isinstance(block, Table) else 0)
        with out.capture() as captured:
            out.print(block)
        for line in captured.get().splitlines():
            click.echo(END_BLANKS.sub(_codes, line), color=out.is_terminal or None)


def _codes(blanks: re.Match[str]) -> str:
    """The end of a line without its blanks: in a narrower terminal they would start a new line."""
    return blanks[0].replace(" ", "")


def _least_width(table: Table) -> int:
    """The least width of a table. A narrower terminal breaks its lines; nothing is cut off with an ellipsis."""
    for column in table.columns:
        width = max(cell_len(str(cell)) for cell in (column.header, *column.cells))
        column.min_width = width if column.no_wrap else min(width, WRAPPED_COLUMNS_MIN)
    return sum((column.min_width or 0) + GAP for column in table.columns) - GAP


def waiting(text: str) -> AbstractContextManager[object]:
    """Show on standard error, if it is a terminal, that something takes time."""
    out = console(stderr=True)
    return out.status(text) if out.is_terminal else nullcontext()


def grid(*columns: str) -> Table:
    """A table without lines. "l" and "r" align a column; a capital lets its text wrap."""
    return listing(*((column, "") for column in columns))


def listing(*columns: tuple[str, str]) -> Table:
    """Like `grid`, with a header per column: `("r", "bytes")`."""
    headed = any(header for _, header in columns)
    made = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_header=headed, header_style="dim")
    for column, header in columns:
        made.add_column(
            header,
            justify="right" if column in "rR" else "left",
            no_wrap=column.islower(),
            overflow="fold",
        )
    return made

"""Where commands print: in colour and fitted to a terminal; plain, and in lines of any length, everywhere else."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager, nullcontext

import click
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table

PIPE_COLUMNS = 400  # no line that a script may look for is broken
WRAPPED_COLUMNS_MIN = 12
GAP = 2  # between columns
END_BLANKS = re.compile(r"(?: |\x1b\[[0-9;]*m)+$")  # between codes of colours, too


def console(*, stderr: bool = False) -> Console:
    """A console for standard output or standard error; colours follow NO_COLOR and the terminal."""
    made = Console(stderr=stderr, highlight=False, emoji=False, markup=False)
    if not made.is_terminal:
        made.width = int(os.environ.get("COLUMNS", "") or PIPE_COLUMNS)  # `watch` says how wide it is
    return made


def show(*blocks: RenderableType) -> None:
    """Print to standard output, each block as wide as it must be, without the blanks that fill a table's lines."""
    out = console()
    fitting = out.width
    for block in blocks:
        out.width = max(fitting, _least_width(block) if isinstance(block, Table) else 0)
        with out.capture() as captured:
            out.print(block)
        for line in captured.get().splitlines():
            click.echo(END_BLANKS.sub(_codes, line), color=out.is_terminal or None)


def _codes(blanks: re.Match[str]) -> str:
    """What ends a line, without its blanks: where a terminal is narrower they would begin a new one."""
    return blanks[0].replace(" ", "")


def _least_width(table: Table) -> int:
    """Where a terminal is narrower than that, it breaks the lines, rather than an ellipsis the numbers."""
    for column in table.columns:
        width = max(cell_len(str(cell)) for cell in (column.header, *column.cells))
        column.min_width = width if column.no_wrap else min(width, WRAPPED_COLUMNS_MIN)
    return sum((column.min_width or 0) + GAP for column in table.columns) - GAP


def waiting(text: str) -> AbstractContextManager[object]:
    """Shows on standard error that something takes its time, where somebody sees it."""
    out = console(stderr=True)
    return out.status(text) if out.is_terminal else nullcontext()


def grid(*columns: str) -> Table:
    """A table without lines; "l" and "r" say how a column is aligned, capitals that its text may be wrapped."""
    return listing(*((column, "") for column in columns))


def listing(*columns: tuple[str, str]) -> Table:
    """As `grid`, with a header: `("r", "bytes")`."""
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

"""Where commands print: in colour and fitted to a terminal; plain, and in lines of any length, everywhere else."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import click
from rich.console import Console, RenderableType
from rich.table import Table

PIPE_COLUMNS = 400  # no line that a script may look for is broken


def console(*, stderr: bool = False) -> Console:
    """A console for standard output or standard error; colours follow NO_COLOR and the terminal."""
    made = Console(stderr=stderr, highlight=False, emoji=False, markup=False)
    if not made.is_terminal:
        made.width = int(os.environ.get("COLUMNS", "") or PIPE_COLUMNS)  # `watch` says how wide it is
    return made


def show(*blocks: RenderableType) -> None:
    """Print to standard output, without the blanks that fill a table's lines where nobody sees them."""
    out = console()
    if out.is_terminal:
        out.print(*blocks, sep="\n")
        return
    with out.capture() as captured:
        out.print(*blocks, sep="\n")
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def waiting(text: str) -> AbstractContextManager[object]:
    """Shows on standard error that something takes its time, where somebody sees it."""
    out = console(stderr=True)
    return out.status(text) if out.is_terminal else nullcontext()


def grid(*columns: str) -> Table:
    """A table without lines; "l" and "r" say how a column is aligned, capitals that its text may be wrapped."""
    made = Table.grid(padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(
            justify="right" if column in "rR" else "left",
            no_wrap=column.islower(),
            overflow="fold" if column.isupper() else "ellipsis",
        )
    return made

"""`wattpost buffer renumber`: does it, and says what became of each."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import click

from agent.adapters.buffer.buffer_file import BufferFileError
from agent.adapters.buffer.renumbering import renumber
from agent.core.texts import count


def renumber_at(path: Path, *, as_json: bool) -> None:
    """Print what was done; ends the command where it could not be."""
    try:
        done = renumber(path)
    except BufferFileError as error:
        click.echo(f"Error: {error}", err=True)
        raise click.exceptions.Exit(os.EX_UNAVAILABLE if error.code == sqlite3.SQLITE_BUSY else os.EX_IOERR) from error
    if as_json:
        left = [{"first": first, "last": last, "held": why} for first, last, why in done.left]
        click.echo(json.dumps({"renumbered": done.batches, "left": left}, indent=2))
        return
    if done.batches:
        click.echo(f"{count(done.batches, 'batch', 'batches')} renumbered, to be sent when the agent runs")
    elif not done.left:
        click.echo("nothing is held by the cloud")
    for first, last, why in done.left:
        click.echo(f"records {first}..{last} stay held: {why}")

"""`wattpost buffer renumber`: renumber the held batches and print the result for each."""

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
    """Print what was done; on failure end the command."""
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
        click.echo(f"{count(done.batches, 'batch', 'batches')} renumbered; the agent sends them when it runs again")
    elif not done.left:
        click.echo("the cloud holds nothing")
    for first, last, why in done.left:
        click.echo(f"records {first}..{last} stay held: {why}")

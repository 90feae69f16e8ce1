"""`wattpost cloud readings`: the stored readings, one by one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from cloud.cli.opening import open_local, open_to_read
from cloud.cli.options import device_option, fail, json_option, local_option, store_option
from cloud.cli.snapshot import snapshot
from cloud.ports import StoreError, Stores
from cloud.stores.export import readings
from wire.json_safe import json_safe

QUANTITIES_SHOWN = 4


@click.command("readings")
@store_option("The folder that `wattpost receive --store` fills.")
@local_option
@device_option
@json_option("One JSON object per line, for scripts.")
@click.option(
    "--sqlite",
    "table",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write them as the table `reading` of FILE instead.",
)
def command(store: Path | None, local: Path | None, device: str | None, *, as_json: bool, table: Path | None) -> None:
    """Print all stored readings, oldest first, each exactly once.

    `at` is UTC. It is null (shown as ?) while the clock of the box is not known; the `boot` and `mono_ms` beside it
    date the reading later.

    \b
    Examples:
      wattpost cloud readings --store /srv/wattpost --device apt-0123
      wattpost cloud readings --local .demo/cloud --json | jq .values
      wattpost cloud readings --store /srv/wattpost --sqlite readings.db
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    if as_json and table is not None:
        raise click.UsageError("--json and --sqlite exclude each other")
    try:
        with _opened(store, local) as stores:
            found = readings(stores, device)
            if table is not None:
                _write(found, table)
                return
            for reading in found:
                click.echo(json.dumps(json_safe(reading)) if as_json else _line(reading))
    except StoreError as error:
        fail(error, os.EX_IOERR)


def _write(found: Iterator[dict[str, Any]], table: Path) -> None:
    from cloud.cli.tables import TableError, write_table  # noqa: PLC0415 - only where it is asked for

    try:
        click.echo(f"{table}: {write_table(found, table)} readings")
    except TableError as error:
        fail(error, os.EX_CANTCREAT)


@contextmanager
def _opened(store: Path | None, local: Path | None) -> Iterator[Stores]:
    match store, local:
        case Path(), None:
            with snapshot(store) as copy:
                yield open_to_read(copy)
        case None, Path():
            yield open_local(local, "cloud readings --local")
        case _:
            raise click.UsageError("give one of --store DIR and --local DIR")


def _line(reading: dict[str, Any]) -> str:
    values = reading["values"]
    shown = "  ".join(f"{name} {value}" for name, value in list(values.items())[:QUANTITIES_SHOWN])
    more = f"  (+{len(values) - QUANTITIES_SHOWN})" if len(values) > QUANTITIES_SHOWN else ""
    marks = f"  {', '.join(f'{name}: {flags}' for name, flags in reading['quality'].items())}"
    at = reading["at"] or f"? boot {reading['boot'][:6]} +{reading['mono_ms']} ms"
    return f"{at}  {reading['device']}  {reading['meter']}  #{reading['seq']}  {shown}{more}{marks}".rstrip()

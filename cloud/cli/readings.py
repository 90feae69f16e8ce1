"""`wattpost cloud readings`: what a store holds, reading by reading."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from cloud.cli.extra import is_there, refuse
from cloud.ports import Readings, StoreError
from cloud.stores.export import readings
from wire.json_safe import json_safe

QUANTITIES_SHOWN = 4


@click.command("readings")
@click.option(
    "--store",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder that `wattpost receive --store` fills.",
)
@click.option(
    "--local",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder of a running `wattpost cloud local --dir`.",
)
@click.option("--device", help="Only this box. Default: all.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for scripts.")
def command(store: Path | None, local: Path | None, device: str | None, *, as_json: bool) -> None:
    """Print all stored readings, oldest first, each exactly once.

    `at` is UTC. It is null (shown as ?) while the clock of the box is not known; the `boot` and `mono_ms` beside it
    date the reading later.

    \b
    Examples:
      wattpost cloud readings --store /srv/wattpost --device apt-0123
      wattpost cloud readings --local .demo/cloud --json | jq .values
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    if (store is None) == (local is None):
        raise click.UsageError("give one of --store DIR and --local DIR")
    try:
        for reading in readings(_open(store, local), device):
            click.echo(json.dumps(json_safe(reading)) if as_json else _line(reading))
    except StoreError as error:
        click.echo(f"Error: {error}", err=True)
        raise click.exceptions.Exit(os.EX_IOERR) from error


def _open(store: Path | None, local: Path | None) -> Readings:
    if store is not None:
        from cloud.stores.sqlite.folder import open_to_read  # noqa: PLC0415 - one of the two is needed

        return open_to_read(store)
    if not is_there("boto3"):
        refuse("cloud readings --local")
    from cloud.local.bring_up import Connection  # noqa: PLC0415 - boto3 takes 0.3 s to import
    from cloud.local.errors import LocalCloudError  # noqa: PLC0415

    try:
        return Connection.load(local or Path()).readings()
    except LocalCloudError as error:
        raise StoreError(str(error)) from error


def _line(reading: dict[str, Any]) -> str:
    values = reading["values"]
    shown = "  ".join(f"{name} {value}" for name, value in list(values.items())[:QUANTITIES_SHOWN])
    more = f"  (+{len(values) - QUANTITIES_SHOWN})" if len(values) > QUANTITIES_SHOWN else ""
    marks = f"  {', '.join(f'{name}: {flags}' for name, flags in reading['quality'].items())}"
    at = reading["at"] or f"? boot {reading['boot'][:6]} +{reading['mono_ms']} ms"
    return f"{at}  {reading['device']}  {reading['meter']}  #{reading['seq']}  {shown}{more}{marks}".rstrip()

"""`wattpost status`: show whether the daemon works, and what it is doing."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli.shared.exit_codes import ATTENTION
from agent.cli.shared.options import config_option, file_option, json_option
from agent.settings import DEFAULT_STATUS_PATH, SettingsError, describe, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.cli.status.view import View


@click.command("status", short_help="Show whether the daemon works, and what it is doing.")
@config_option("The configuration file, which has the path of the status file.")
@file_option("The status file")
@click.option("--values", is_flag=True, help="Also show every value of each meter's last reading.")
@json_option()
def command(config: Path, file: Path | None, *, values: bool, as_json: bool) -> None:
    """Show whether the daemon works, what needs attention, and what the daemon is doing.

    The daemon writes its status to a file every few seconds. This command reads that file; any user may run it. The
    first lines are the verdict: `good`, or `attention` with each problem and its next step. Then follow the meters with
    their last reading, the buffer, and the uplink.

    Exit code: 0 good, 1 something needs attention, 65 the file is not a status that this version can read, 66 it cannot
    be read, 69 the daemon is not running, 78 there is neither a status nor a usable configuration.

    \b
    Examples:
      wattpost status
      wattpost status --values
      wattpost status --file .demo/status.json
      wattpost status --json | jq '.findings[].text'
      watch -n 2 wattpost status
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    path, mistakes = (file, []) if file is not None else _path(config)
    from agent.cli.status.view import look  # noqa: PLC0415 - keeps `--help` fast

    view = look(path, mistakes)
    if as_json:
        click.echo(json.dumps(_as_document(view), indent=2))
    else:
        from agent.cli.status.screen import show_status  # noqa: PLC0415 - only a person pays for rich

        show_status(view, values=values)
    if not view.running:
        raise click.exceptions.Exit(os.EX_UNAVAILABLE)
    if view.findings:
        raise click.exceptions.Exit(ATTENTION)


def _path(config: Path) -> tuple[Path, Sequence[str]]:
    """The status file, and the mistakes of the configuration. With mistakes, it is the default path if a file is there.

    The daemon then runs with the earlier configuration. Mistakes of a file that this user cannot read are left out.
    """
    try:
        return load(config).status_path, []
    except SettingsError as error:
        if not DEFAULT_STATUS_PATH.exists():
            for mistake in error.mistakes:
                click.echo(describe(config, mistake), err=True)
            raise click.exceptions.Exit(os.EX_CONFIG) from error
        readable = os.access(config, os.R_OK)
        return DEFAULT_STATUS_PATH, [describe(config, mistake) for mistake in error.mistakes] if readable else []


def _as_document(view: View) -> dict[str, Any]:
    status = dataclasses.asdict(view.status) if view.status is not None else None
    return {
        "verdict": view.verdict,
        "findings": [{**dataclasses.asdict(finding), "text": finding.text} for finding in view.findings],
        "running": view.running,
        "age_ms": view.age_ms,
        "file": str(view.path),
        "status": status,
    }

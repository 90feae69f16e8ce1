"""The configuration of a command that cannot do without one."""

from __future__ import annotations

import os
from pathlib import Path

import click

from agent.settings import Settings, SettingsError, describe, load


def settings_or_exit(config: Path, without: str) -> Settings:
    """The settings of `config`; with mistakes all are said, `without` says what works without them, and it ends."""
    try:
        return load(config)
    except SettingsError as error:
        for mistake in error.mistakes:
            click.echo(describe(config, mistake), err=True)
        click.echo(without, err=True)
        raise click.exceptions.Exit(os.EX_CONFIG) from error

"""Load the configuration for a command that needs one."""

from __future__ import annotations

import os
from pathlib import Path

import click

from agent.settings import Settings, SettingsError, describe, load


def settings_or_exit(config: Path, without: str) -> Settings:
    """The settings of `config`. On mistakes: print them all and `without` (how to go on without), end the command."""
    try:
        return load(config)
    except SettingsError as error:
        for mistake in error.mistakes:
            click.echo(describe(config, mistake), err=True)
        click.echo(without, err=True)
        raise click.exceptions.Exit(os.EX_CONFIG) from error

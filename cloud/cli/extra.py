"""Commands that need more packages than a box has."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import NoReturn

import click

LOCAL = ("boto3", "cryptography", "ministack")
INSTALL = "needs pip install 'wattpost[local]'"


def is_there(*modules: str) -> bool:
    """Whether all of them are installed. Imports none of them."""
    return all(find_spec(name) is not None for name in modules)


def refuse(command: str) -> NoReturn:
    """End with one line that says what to install."""
    click.echo(f"Error: wattpost {command} {INSTALL}", err=True)
    raise click.exceptions.Exit(os.EX_UNAVAILABLE)


def stand_in(name: str) -> click.Command:
    """`wattpost cloud NAME` without the extra: accepts any arguments and says what to install."""
    takes_anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(
        name, takes_anything, callback=lambda: refuse(f"cloud {name}"), short_help=f"({INSTALL})", add_help_option=False
    )

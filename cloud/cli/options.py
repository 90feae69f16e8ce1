"""Options that several commands have, and how they end with an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
NEW_FOLDER = click.Path(path_type=Path, file_okay=False)


def store_option(text: str) -> Callable[[F], F]:
    """The folder of `wattpost receive`."""
    return click.option("--store", type=FOLDER, help=text)


def local_option(command: F) -> F:
    """The folder of a local cloud."""
    return click.option("--local", type=FOLDER, help="The folder of a running `wattpost cloud local --dir`.")(command)


def device_option(command: F) -> F:
    """One box or all."""
    return click.option("--device", help="Only this box. Default: all.")(command)


def json_option(text: str) -> Callable[[F], F]:
    """Output for scripts."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def fail(error: Exception, code: int) -> NoReturn:
    """End with the error as one line."""
    click.echo(f"Error: {error}", err=True)
    raise click.exceptions.Exit(code) from error

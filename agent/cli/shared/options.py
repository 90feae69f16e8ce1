"""Options that several commands have, each defined once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from agent.core.metering.addresses import UNIT_MAX
from agent.settings import DEFAULT_PATH

F = TypeVar("F", bound=Callable[..., Any])

# Without click's own check of read access: the code that reads the file also gives the next step.
A_FILE = click.Path(path_type=Path, readable=False)
PARITIES: Mapping[str, Literal["N", "E", "O"]] = {"N": "N", "E": "E", "O": "O"}
STOPBITS: Mapping[str, Literal[1, 2]] = {"1": 1, "2": 2}
A_BAUDRATE = click.IntRange(300)
A_PARITY = click.Choice(list(PARITIES))
STOP_BITS = click.Choice(list(STOPBITS))


def config_option(text: str = "The configuration file.") -> Callable[[F], F]:
    """--config, for every command that needs the configuration."""
    return click.option("--config", "-c", type=A_FILE, default=DEFAULT_PATH, show_default=True, help=text)


def file_option(what: str) -> Callable[[F], F]:
    """--file, to read a file of the daemon without its configuration."""
    return click.option("--file", "-f", type=A_FILE, help=f"{what} itself; no configuration is read.")


def json_option(text: str = "Print one JSON object, for scripts.") -> Callable[[F], F]:
    """--json, as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def meter_options(with_option: str) -> Callable[[F], F]:
    """--unit, --baudrate, --parity and --stopbits of a meter whose port `with_option` names."""
    text = f"With {with_option}: overrides the profile."
    unit = f"With {with_option}: the Modbus unit id or M-Bus address (default: the profile's)."

    def decorated(function: F) -> F:
        for option in (
            click.option("--stopbits", type=STOP_BITS, help=text),
            click.option("--parity", type=A_PARITY, help=text),
            click.option("--baudrate", type=A_BAUDRATE, help=text),
            click.option("--unit", type=click.IntRange(0, UNIT_MAX), help=unit),
        ):
            function = option(function)
        return function

    return decorated

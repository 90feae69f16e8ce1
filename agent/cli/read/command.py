"""`wattpost read`: read each meter once, or repeatedly."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

import click

from agent.cli.shared.configuration import settings_or_exit
from agent.cli.shared.exit_codes import ATTENTION
from agent.cli.shared.options import STOPBITS, config_option, json_option, meter_options
from agent.core.texts import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.cli.shared.reading import Taken
    from agent.settings import Settings
    from drivers.building import BuiltMeter

WATCH_S, WATCH_MIN_S, WATCH_MAX_S = 2.0, 0.1, 86_400.0


class Period(click.ParamType[float]):
    """Seconds between readings. The error also explains a meter's name that click took for them."""

    name = "seconds"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number of seconds; write --watch last, or --watch=2", param, ctx)
        if not WATCH_MIN_S <= seconds <= WATCH_MAX_S:
            self.fail(f"{seconds:g} s is out of range; give {WATCH_MIN_S:g} to {WATCH_MAX_S:g}", param, ctx)
        return seconds


@click.command("read", short_help="Take one reading of each meter and print it as a table.")
@config_option()
@json_option("Print a JSON list with one object per meter, for scripts.")
@click.option("--raw", is_flag=True, help="Also show the registers behind each value.")
@click.option(
    "--watch",
    "-w",
    "watch_s",
    is_flag=False,
    flag_value=str(WATCH_S),
    type=Period(),
    metavar="[SECONDS]",
    help=f"Read again every SECONDS ({WATCH_S:g}) until Ctrl-C, and show what changes.",
)
@click.option(
    "--measurand", "-m", "measurands", multiple=True, metavar="NAME", help="Read only this measurand; may be repeated."
)
@click.option("--all", "everything", is_flag=True, help="Read all measurands of the meter's profile.")
@click.option("--port", "-p", metavar="PORT", help="Read without a configuration: /dev/... or tcp://host:port.")
@click.option("--model", metavar="MODEL", help="With --port: the meter's profile, such as eastron-sdm630.")
@meter_options("--port")
@click.argument("meters", metavar="[METER]...", nargs=-1)
def command(
    *,
    meters: tuple[str, ...],
    config: Path,
    measurands: tuple[str, ...],
    port: str | None,
    model: str | None,
    unit: int | None,
    baudrate: int | None,
    parity: Literal["N", "E", "O"] | None,
    stopbits: str | None,
    as_json: bool,
    raw: bool,
    watch_s: float | None,
    everything: bool,
) -> None:
    """Read the METERs of the configuration once, or all of them, and print a table.

    Nothing is stored or sent. A meter that does not answer does not stop the others; the error, its cause and the next
    step go to standard error. With --port, --model and --unit you need no configuration, to try out a meter, a cable or
    line settings.

    Only one program can use a line. A running daemon finishes its request, lends the line, and reads on afterwards; the
    slots that it misses are recorded with the reason `lent`. If another program has the line, the error names it.

    With --watch a terminal shows one table with the changes; a pipe gets a line per meter and reading, or with --json
    one object per line. The daemon then lends the line only for the duration of each reading.

    Exit code: 0 all meters answered, or Ctrl-C ended --watch; 1 some answered, 69 none answered, 64 wrong usage, 78
    wrong configuration.

    \b
    Examples:
      wattpost read
      wattpost read main --raw
      wattpost read main --watch
      wattpost read --watch=10 --json >> readings.jsonl
      wattpost read --all --json | jq '.[].values.frequency'
      wattpost read --port /dev/ttyUSB0 --model eastron-sdm630 --unit 1
      wattpost read --port tcp://192.168.1.20:502 --model schneider-iem3155 -m voltage_l1_n
      wattpost read --port /dev/ttyUSB0 --model eastron-sdm120 --baudrate 2400 --parity N
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    if measurands and everything:
        raise click.UsageError("--measurand and --all exclude each other")
    from agent.cli.shared import targets  # noqa: PLC0415 - keeps `--help` fast
    from agent.cli.shared.borrow import status_path as status_path_of  # noqa: PLC0415

    wanted = targets.Wanted(measurands, everything)
    if port is None:
        _without_port(model=model, unit=unit, baudrate=baudrate, parity=parity, stopbits=stopbits)
        settings = _settings(config)
        drivers, status_path = targets.configured(settings, meters, wanted), settings.status_path
    else:
        if meters:
            raise click.UsageError("give METER, a meter of the configuration, or --port, not both")
        if model is None:
            raise click.UsageError("--port needs --model, the meter's profile")
        line = targets.LineOptions(port, baudrate, parity, STOPBITS.get(stopbits or ""))
        drivers = [targets.described(line, model, unit, wanted, config.parent / "profiles")]
        status_path = status_path_of(config)
    if watch_s is not None:
        from agent.cli.read.watch import follow  # noqa: PLC0415

        follow(drivers, status_path, watch_s, as_json=as_json, raw=raw)
        return
    _report(_take(drivers, status_path), status_path, as_json=as_json, raw=raw)


def _take(drivers: Sequence[BuiltMeter], status_path: Path) -> Sequence[Taken]:
    from agent.cli.shared.borrow import borrowed  # noqa: PLC0415 - keeps `--help` fast
    from agent.cli.shared.reading import take_all  # noqa: PLC0415
    from agent.cli.shared.terminal import waiting  # noqa: PLC0415

    with (
        borrowed([driver.line.port for driver in drivers], status_path) as refused,
        waiting(f"reading {count(len(drivers), 'meter')}"),
    ):
        return asyncio.run(take_all(drivers, refused))


def _without_port(**options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise click.UsageError(f"--{name} needs --port; without --port it comes from the configuration")


def _settings(config: Path) -> Settings:
    without = "to read without a configuration: wattpost read --port PORT --model MODEL --unit N"
    settings = settings_or_exit(config, without)
    if not settings.meters:
        click.echo(f"{config}: no [[meter]] is configured; add a [[bus]] and a [[meter]]", err=True)
        raise click.exceptions.Exit(os.EX_CONFIG)
    return settings


def _report(taken: Sequence[Taken], status_path: Path, *, as_json: bool, raw: bool) -> NoReturn:
    from agent.cli.shared.reading import as_document, failures, notes  # noqa: PLC0415 - keeps `--help` fast

    if as_json:
        click.echo(json.dumps([as_document(one, raw=raw) for one in taken], indent=2))
    else:
        from agent.cli.read.table import show_readings  # noqa: PLC0415 - only a person pays for rich

        show_readings(taken, raw=raw)
    for text in () if as_json else notes(taken):
        click.echo(f"Note: {text}", err=True)
    for text in failures(taken, status_path):
        click.echo(f"Error: {text}", err=True)
    silent = sum(one.error is not None for one in taken)
    if silent and silent < len(taken):
        click.echo(f"{len(taken) - silent} of {len(taken)} meters answered", err=True)
    raise click.exceptions.Exit(os.EX_UNAVAILABLE if silent == len(taken) else ATTENTION if silent else os.EX_OK)

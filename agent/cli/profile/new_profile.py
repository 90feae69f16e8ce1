"""`wattpost new-profile`: make a profile and its test from a register table."""

from __future__ import annotations

import os
import re
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Literal

import click

from agent.cli.shared.options import A_BAUDRATE, A_FILE, A_PARITY, STOP_BITS, STOPBITS
from agent.core.metering.addresses import SERIAL_UNIT_MAX
from agent.core.texts import cause_of, count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.profile.model import Register
    from drivers.profile.register_csv import TableRead

MODEL = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@click.command("new-profile", short_help="Make a meter profile from a register table in CSV.")
@click.argument("table", metavar="CSV", type=A_FILE)
@click.option("--model", metavar="NAME", help="The model, such as acme-one (default: the file's name).")
@click.option("--vendor", metavar="NAME", help="Manufacturer of the meter.")
@click.option("--description", metavar="TEXT", help="Kind of meter: phases, mounting, largest current.")
@click.option("--source", "sources", multiple=True, metavar="TEXT", help="Source of the table; may be repeated.")
@click.option(
    "--addresses",
    type=click.Choice(["wire", "one", "modicon"]),
    default="wire",
    show_default=True,
    help="Addresses in the table start at 0 (as on the wire), 1, or 30001 (function 4) and 40001 (function 3).",
)
@click.option("--function", type=click.Choice(["3", "4"]), help="For rows without a function: 3 holding, 4 input.")
@click.option("--baudrate", type=A_BAUDRATE, default=9600, show_default=True, help="Factory setting.")
@click.option("--parity", type=A_PARITY, default="N", show_default=True, help="Factory setting.")
@click.option("--stopbits", type=STOP_BITS, default="1", show_default=True, help="Factory setting.")
@click.option(
    "--unit",
    type=click.IntRange(1, SERIAL_UNIT_MAX),
    default=1,
    show_default=True,
    help="Factory setting: Modbus unit id.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    show_default=True,
    help="The folder to write into.",
)
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def command(
    *,
    table: Path,
    model: str | None,
    vendor: str | None,
    description: str | None,
    sources: tuple[str, ...],
    addresses: Literal["wire", "one", "modicon"],
    function: str | None,
    baudrate: int,
    parity: Literal["N", "E", "O"],
    stopbits: str,
    unit: int,
    output: Path,
    force: bool,
) -> None:
    """Make MODEL.toml, a meter profile, and MODEL.test.json, its test, from a register table.

    The table is CSV (comma, semicolon or tab), and its first line names the columns. Required: measurand, address and
    type. Optional: function, word_order, byte_order, scale, unit, resolution and not_available. Other columns are
    ignored. All mistakes in the table are reported at once, with line and column.

    Exit code: 0 success, 64 wrong usage, 65 the table has mistakes, 66 the table cannot be read, 73 the files cannot be
    written.

    \b
    Examples:
      wattpost new-profile acme-one.csv
      wattpost new-profile table.csv --model acme-one --vendor Acme --addresses one --function 4
      wattpost new-profile table.csv --model acme-one --addresses modicon --output /etc/wattpost/profiles
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    name = model if model is not None else re.sub(r"[^a-z0-9]+", "-", table.stem.lower()).strip("-")
    if not MODEL.fullmatch(name):
        raise click.UsageError(f"--model is {name!r}; give lower-case letters, digits and dashes, such as acme-one")
    found = _read(table, addresses, function)
    registers = found.registers
    from drivers.profile.model import SerialDefaults  # noqa: PLC0415 - keeps `--help` fast
    from drivers.profile.write import NewProfile, examples_json, profile_toml  # noqa: PLC0415

    serial = SerialDefaults(baudrate, parity, STOPBITS[stopbits], unit)
    said = sources or (f"{table.name}: say which manual, which edition, which page",)
    new = NewProfile(
        name, vendor or "unknown", description or f"{name}: say what it is", said, serial, tuple(found.doubts)
    )
    files = {f"{name}.toml": profile_toml(new, registers), f"{name}.test.json": examples_json(registers)}
    _check(files[f"{name}.toml"])
    _write(output, files, force=force)
    _next_steps(output / f"{name}.toml", registers, vendor=vendor, description=description, sources=sources)


def _read(table: Path, addresses: Literal["wire", "one", "modicon"], function: str | None) -> TableRead:
    from drivers.profile.register_csv import read_csv  # noqa: PLC0415 - keeps `--help` fast

    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        click.echo(f"Error: cannot read register table {table}: {cause_of(error)}; give a CSV file in UTF-8", err=True)
        raise click.exceptions.Exit(os.EX_NOINPUT) from error
    found = read_csv(text, addresses, None if function is None else int(function))
    if found.ignored:
        click.echo(f"ignored columns: {', '.join(found.ignored)}", err=True)
    if found.mistakes:
        _refuse(table, found)
    for doubt, row in found.doubts.items():
        click.echo(f"{table}:{row}: {doubt}", err=True)
    return found


def _refuse(table: Path, found: TableRead) -> None:
    for mistake in found.mistakes:
        click.echo(f"{table}:{mistake.row}: {mistake}", err=True)
    click.echo(f"{table}: {count(len(found.mistakes), 'mistake')}", err=True)
    raise click.exceptions.Exit(os.EX_DATAERR)


def _check(text: str) -> None:
    """Each register may be right, and still overlap with another."""
    from drivers.profile.model import ProfileError  # noqa: PLC0415
    from drivers.profile.parse import parse_profile  # noqa: PLC0415 - keeps `--help` fast

    try:
        parse_profile(text)
    except ProfileError as error:
        for mistake in error.mistakes:
            click.echo(f"Error: {mistake}", err=True)
        raise click.exceptions.Exit(os.EX_DATAERR) from error


def _write(folder: Path, files: dict[str, str], *, force: bool) -> None:
    there = [str(folder / name) for name in files if (folder / name).exists()]
    if there and not force:
        click.echo(f"Error: cannot write {', '.join(there)}: it exists already; move it, or use --force", err=True)
        raise click.exceptions.Exit(os.EX_CANTCREAT)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        click.echo(f"Error: cannot write into {folder}: {cause_of(error)}; choose another one with --output", err=True)
        raise click.exceptions.Exit(os.EX_CANTCREAT) from error


def _next_steps(file: Path, registers: Sequence[Register], **said: object) -> None:
    to_fill = ", ".join(key for key, value in said.items() if not value)
    click.echo(f"{file}: {count(len(registers), 'measurand')}; its test is {file.stem}.test.json")
    steps = [
        *([f"edit it and fill in: {to_fill}"] if to_fill else []),
        f"check what it reads:                  wattpost check-profile {_shown(file)}",
        f"compare it with a meter:              wattpost check-profile {_shown(file)} --against /dev/ttyUSB0",
        f"use it on this box:                   sudo cp {quote(str(file))} /etc/wattpost/profiles/",
        f'and in agent.toml, under [[meter]]:   model = "{file.stem}"',
    ]
    for number, step in enumerate(steps, 1):
        click.echo(f"  {number}. {step}")


def _shown(file: Path) -> str:
    return quote(str(file) if file.is_absolute() else f"./{file}")

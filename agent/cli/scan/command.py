"""`wattpost scan`: find meters, their line settings and their models."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from agent.cli.shared.exit_codes import INTERRUPTED
from agent.cli.shared.options import PARITIES, STOPBITS, config_option, json_option
from agent.core.metering.addresses import SERIAL_UNIT_MAX, TCP, TCP_PORT
from agent.core.texts import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.cli.scan.run import FoundMeter, ScannedLine
    from agent.core.metering.scan_plan import Setting
    from drivers.profile.model import Profile

BY_ID = Path("/dev/serial/by-id")
QUICK_UNITS = "1-16"
ALL_UNITS = f"1-{SERIAL_UNIT_MAX}"
GATEWAY_UNITS = "0,255"


class SettingType(click.ParamType[object]):
    """`9600,N,1` or `9600 8N1`."""

    name = "setting"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        from agent.core.metering.scan_plan import Setting  # noqa: PLC0415 - keeps `--help` fast

        words = str(value).upper().replace(",", " ").split()
        frame = words[1].removeprefix("8") + "".join(words[2:]) if len(words) > 1 else ""
        if len(frame) != 2 or not words[0].isdecimal() or frame[0] not in "NEO" or frame[1] not in "12":  # noqa: PLR2004
            self.fail(f"{value!r} is not a line setting; give one such as 9600,N,1", param, ctx)
        return Setting(int(words[0]), PARITIES[frame[0]], STOPBITS[frame[1]])


@click.command("scan", short_help="Find meters, their line settings, unit ids and models.")
@click.option("--port", "-p", "ports", multiple=True, metavar="DEVICE", help="A serial port; may be repeated.")
@click.option(
    "--host", "hosts", multiple=True, metavar="HOST[:PORT]", help="A Modbus TCP meter or gateway; may be repeated."
)
@click.option(
    "--units",
    metavar="LIST",
    help=f"Unit ids to ask, such as 1-10,126 (default: {ALL_UNITS}, for hosts also {GATEWAY_UNITS}).",
)
@click.option(
    "--setting",
    "settings",
    multiple=True,
    type=SettingType(),
    help="Try only these settings, such as 9600,N,1; may be repeated.",
)
@click.option("--quick", is_flag=True, help=f"Try factory settings and units {QUICK_UNITS} only: about ten seconds.")
@click.option("--full", is_flag=True, help="Try every usual setting and unit, also after a meter has answered.")
@click.option("--no-listen", is_flag=True, help="Do not listen for meters that send unasked.")
@click.option("--write", is_flag=True, help="Add the meters that were found to the configuration.")
@json_option()
@config_option("The configuration: --write adds to it; it also gives your own profiles and the daemon's status.")
def command(
    *,
    ports: tuple[str, ...],
    hosts: tuple[str, ...],
    units: str | None,
    settings: tuple[Setting, ...],
    quick: bool,
    full: bool,
    no_listen: bool,
    write: bool,
    as_json: bool,
    config: Path,
) -> None:
    """Find the meters on a line, their settings, unit ids and models.

    Without options, all serial ports of this machine are scanned. Factory settings are tried first, with unit 1 before
    all others, so a meter with factory settings is found within three seconds. All meters of a line have the same
    settings, so once one has answered, the other unit ids are asked at its settings only. Only Modbus functions that
    read are used.

    The model comes from what the meter says about itself (identification registers, function 43, SunSpec). If it says
    nothing, it is the profile that gives plausible voltages and frequency. The command shows how sure that is and why.
    If several models have the same registers, all are named.

    Meters that send unasked (DSMR P1, SML, HAN, IEC 62056-21 mode D) are heard at any speed. The scan listens at the
    start, between questions, and at the end for as long as such meters may be silent. After noise it tries the settings
    of each kind until a whole telegram arrives.

    The scan first prints how long it takes. Ctrl-C ends it and shows what was found so far. A running daemon lends its
    lines, and reads on afterwards.

    Exit code: 0 meters were found, 69 none was found, 130 interrupted, 64 wrong usage, 73 or 78 the configuration could
    not be written.

    \b
    Examples:
      wattpost scan
      wattpost scan --quick --port /dev/ttyUSB0
      wattpost scan --host 192.168.1.20 --units 1-10
      wattpost scan --full --port /dev/ttyUSB0
      wattpost scan --write && wattpost check-config
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    if quick and full:
        raise click.UsageError("--quick and --full exclude each other")
    from agent.cli.scan.run import LISTEN_LAST_S, LISTEN_S, scan  # noqa: PLC0415 - keeps `--help` fast
    from agent.cli.scan.screen import ScanScreen, as_document, failures, outlook, show_found  # noqa: PLC0415

    if write:
        from agent.cli.scan.write import check  # noqa: PLC0415

        with _writing():
            check(config)
    profiles = _profiles(config)
    lines = _lines(ports, hosts, profiles, settings, units, quick=quick, full=full)
    for line in lines:
        line.listen_first_s = 0 if no_listen else LISTEN_S
        line.listen_last_s = 0 if no_listen or quick else LISTEN_LAST_S
    complete = False
    with suppress(KeyboardInterrupt), ScanScreen(quiet=as_json) as screen:
        for line in lines:
            screen.say(outlook(line))
        from agent.cli.shared.borrow import status_path  # noqa: PLC0415

        asyncio.run(scan(lines, profiles, screen, status_path(config)))
        complete = True
    found = [found for line in lines for found in line.found]
    if as_json:
        click.echo(json.dumps(as_document(lines, complete=complete), indent=2))
    elif found:
        show_found(found)
    failures(lines)
    _end(config, lines, found, write=write, complete=complete, as_json=as_json)


def _end(
    config: Path,
    lines: Sequence[ScannedLine],
    found: Sequence[FoundMeter],
    *,
    write: bool,
    complete: bool,
    as_json: bool,
) -> None:
    if not complete:
        click.echo(f"interrupted; {count(len(found), 'meter')} found so far", err=True)
    if write and found:
        _write(config, found, as_json=as_json)
    elif found and not as_json and complete:
        click.echo("to add these to the configuration, repeat the command with --write", err=True)
    if not complete:
        raise click.exceptions.Exit(INTERRUPTED)
    if not found:
        if any(line.error is None for line in lines):
            step = "check wiring (swap A and B), power and termination, then run: wattpost scan --full"
            click.echo(f"Error: no meter answered; {step}", err=True)
        raise click.exceptions.Exit(os.EX_UNAVAILABLE)


def _write(config: Path, found: Sequence[FoundMeter], *, as_json: bool) -> None:
    from agent.cli.scan.write import add_to  # noqa: PLC0415 - only with --write

    with _writing():
        for text in add_to(config, found):
            click.echo(text, err=as_json)


@contextmanager
def _writing() -> Iterator[None]:
    """Ends the command with the reason why the configuration cannot be written."""
    from agent.cli.scan.write import WriteError  # noqa: PLC0415 - only with --write

    try:
        yield
    except WriteError as error:
        click.echo(f"Error: {error}", err=True)
        code = os.EX_CANTCREAT if str(error).startswith("cannot write") else os.EX_CONFIG
        raise click.exceptions.Exit(code) from error


def _profiles(config: Path) -> list[Profile]:
    """All known profiles; one with mistakes is skipped and named."""
    from drivers.profile.files import load_profile, shipped_profiles  # noqa: PLC0415
    from drivers.profile.parse import ProfileError  # noqa: PLC0415

    paths = dict(shipped_profiles())
    with suppress(OSError):
        paths |= {path.stem: path for path in sorted((config.parent / "profiles").glob("*.toml"))}
    profiles = []
    for path in paths.values():
        try:
            profiles.append(load_profile(path))
        except ProfileError as error:
            click.echo(f"skipped: {error}", err=True)
    return profiles


def _lines(
    ports: Sequence[str],
    hosts: Sequence[str],
    profiles: Sequence[Profile],
    wanted: Sequence[Setting],
    units: str | None,
    *,
    quick: bool,
    full: bool,
) -> list[ScannedLine]:
    from agent.cli.scan.run import ScannedLine  # noqa: PLC0415
    from agent.cli.shared.targets import check_device  # noqa: PLC0415
    from agent.core.metering.scan_plan import (  # noqa: PLC0415
        Setting,
        factory_settings,
        other_settings,
        parse_units,
        serial_steps,
        tcp_steps,
    )

    modbus = [profile for profile in profiles if profile.protocol == "modbus"]
    of = {
        profile.model: Setting(profile.serial.baudrate, profile.serial.parity, 2 if profile.serial.stopbits > 1 else 1)
        for profile in modbus
    }
    factory = tuple(wanted) or factory_settings((profile.vendor, of[profile.model]) for profile in modbus)
    likely = {
        setting: [profile.serial.unit for profile in modbus if of[profile.model] == setting] for setting in factory
    }
    try:
        serial_units = parse_units(units or ALL_UNITS)
        tcp_units = parse_units(units or f"{GATEWAY_UNITS},{QUICK_UNITS if quick else ALL_UNITS}")
    except ValueError as error:
        raise click.UsageError(f"--units: {error}") from error
    if quick and units is None:
        near = set(parse_units(QUICK_UNITS)).union(*likely.values())
        serial_units = tuple(unit for unit in serial_units if unit in near)
    others = other_settings(factory) if full and not wanted else ()
    found = [_url(host) for host in (*hosts, *(port for port in ports if port.startswith(TCP)))]
    named = [port for port in ports if not port.startswith(TCP)]
    for port in named:
        check_device(port)
    serial = named or ([] if found else list(serial_ports()))
    if not serial and not found:
        step = "plug in an adapter and run `ls /dev/serial/by-id`, or name a port with --port, a gateway with --host"
        click.echo(f"Error: this machine has no serial port; {step}", err=True)
        raise click.exceptions.Exit(os.EX_UNAVAILABLE)
    steps = serial_steps(factory, likely, serial_units, others)
    return [
        *(ScannedLine(port, steps, whole=full) for port in dict.fromkeys(serial)),
        *(ScannedLine(url, tcp_steps(tcp_units), whole=full) for url in dict.fromkeys(found)),
    ]


def _url(host: str) -> str:
    text = host.removeprefix(TCP)
    try:
        parts = urlsplit(f"tcp://{text}")
        if parts.hostname and parts.port != 0 and "/" not in text:
            return f"{TCP}{text}" if parts.port else f"{TCP}{text}:{TCP_PORT}"
    except ValueError:
        pass
    raise click.UsageError(f"--host: {host!r} is not a host such as 192.168.1.20 or 192.168.1.20:502")


def serial_ports() -> Iterator[str]:
    """Serial ports of this machine, by their names in /dev/serial/by-id if they have one."""
    from serial.tools.list_ports import comports  # type: ignore[import-untyped]  # noqa: PLC0415

    seen = set()
    links = sorted(BY_ID.iterdir()) if BY_ID.is_dir() else []
    for path in [*map(str, links), *sorted(port.device for port in comports())]:
        if os.path.realpath(path) not in seen:
            seen.add(os.path.realpath(path))
            yield path

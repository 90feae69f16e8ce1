"""The meters that `wattpost read` reads: those of the configuration, or one given by options."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import click

from agent.core.metering.addresses import TCP, expected_unit
from agent.services.metering.meters import build_lines
from agent.settings import Settings
from agent.settings.ports import port_expected
from drivers.building import BuiltMeter, build_line, build_meter
from drivers.near_names import near_name
from drivers.profile.files import find_profile
from drivers.profile.model import Parity, Profile, ProfileMistake
from drivers.profile.parse import ProfileError


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read of each meter: `everything` in its profile, or `measurands`, or else its usual set."""

    measurands: tuple[str, ...] = ()
    everything: bool = False

    def of(self, profile: Profile, usual: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """The measurands to read, None for the profile's default; `click.UsageError` for one that it does not have."""
        known = profile.measurands
        for name in self.measurands:
            if name not in known:
                text = f"{profile.model} has no measurand {name!r}{_suggest(name, known)}"
                raise click.UsageError(text)
        return known if self.everything else tuple(dict.fromkeys(self.measurands)) or usual


@dataclass(frozen=True, slots=True)
class LineOptions:
    """The options of a line; None takes the profile's value."""

    port: str
    baudrate: int | None = None
    parity: Parity | None = None
    stopbits: Literal[1, 2] | None = None
    option: str = "--port"  # that names the port


def check_unit(line: LineOptions, profile: Profile, unit: int | None) -> None:
    """Raises `click.UsageError` for a unit id or address that no meter of this profile can have on such a line."""
    expected = None if unit is None else expected_unit(profile.protocol, line.port, unit)
    if expected is not None:
        where = "an M-Bus" if profile.protocol == "mbus" else "a serial line"
        raise click.UsageError(f"--unit {unit}: no meter on {where} can have it; give {expected}")


def configured(settings: Settings, names: Sequence[str], wanted: Wanted) -> list[BuiltMeter]:
    """The named meters of the configuration, or all of them, in its order."""
    known = [meter.name for meter in settings.meters]
    for name in names:
        if name not in known:
            raise click.UsageError(f"there is no meter {name!r} in the configuration{_suggest(name, known)}")
    chosen = set(names or known)
    # Build all meters: a line may take its settings from a meter that is not read.
    meters = [
        dataclasses.replace(
            meter, measurands=wanted.of(find_profile(meter.model, settings.profile_folders), meter.measurands)
        )
        if meter.name in chosen
        else meter
        for meter in settings.meters
    ]
    lines = build_lines(dataclasses.replace(settings, meters=tuple(meters)))
    drivers = {meter.settings.name: meter.driver for line in lines for meter in line.meters}
    return [drivers[name] for name in known if name in chosen]


def described(line: LineOptions, model: str, unit: int | None, wanted: Wanted, folder: Path) -> BuiltMeter:
    """The meter that the options describe; its profile is in `folder` or among the shipped ones."""
    try:
        profile = find_profile(model, (folder,))
    except ProfileError as error:
        raise click.UsageError("\n".join(_of_model(model, mistake) for mistake in error.mistakes)) from error
    check_unit(line, profile, unit)
    return of_profile(profile, line, unit, wanted.of(profile, None))


def of_profile(profile: Profile, line: LineOptions, unit: int | None, measurands: tuple[str, ...] | None) -> BuiltMeter:
    """The meter of a loaded profile, on the line of the options."""
    _check_port(line.port, line.option)
    settings = {"--baudrate": line.baudrate, "--parity": line.parity, "--stopbits": line.stopbits}
    useless = [name for name, value in settings.items() if value is not None]
    if useless and line.port.startswith(TCP):
        have = "has" if len(useless) == 1 else "have"
        click.echo(f"warning: {', '.join(useless)} {have} no effect on a tcp:// line", err=True)
    built = build_line(profile, line.port.rpartition("/")[2], line.port, line.baudrate, line.parity, line.stopbits)
    asked = profile.serial.unit if unit is None else unit  # 0 is a unit id, too
    return build_meter(built, asked, profile, profile.model, measurands)


def _of_model(model: str, mistake: ProfileMistake) -> str:
    said = f"{mistake.problem}; expected {mistake.expected}" if mistake.path == "model" else str(mistake)
    return f"--model {model}: {said}"


def check_device(port: str, option: str = "--port") -> None:
    """Raises `click.UsageError`, in the words of `check-config`, unless it is a path or an existing file."""
    if "://" in port or not (port.startswith(("/", ".")) or Path(port).exists()):
        raise click.UsageError(f'{option} is "{port}"; {port_expected(port)}')


def _check_port(port: str, option: str) -> None:
    if not port.startswith(TCP):
        check_device(port, option)
        return
    try:
        good = urlsplit(port).hostname is not None and urlsplit(port).port != 0
    except ValueError:
        good = False
    if not good:
        raise click.UsageError(f"{option}: {port!r} is not tcp://host:port, such as tcp://192.168.1.20:502")


def _suggest(name: str, known: Iterable[str]) -> str:
    ordered = list(known)
    near = near_name(name, ordered)
    return f"; it has: {', '.join(ordered)}" if near is None else f"; did you mean {near!r}?"

"""`wattpost check-profile`: find mistakes in a profile, show what it reads, and compare it with a meter."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from agent.cli.shared.exit_codes import ATTENTION
from agent.cli.shared.options import STOPBITS, config_option, json_option, meter_options
from agent.core.texts import cause_of, count, unit_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.cli.profile.source import ProfileFinding, Source
    from agent.cli.profile.trial import Trial
    from drivers.profile.model import Profile


@click.command("check-profile", short_help="Check a meter profile, and compare it with a meter.")
@click.argument("profile", metavar="[FILE|MODEL]", required=False)
@click.option("--against", metavar="PORT", help="Read the meter at /dev/... or tcp://host:port and check its values.")
@meter_options("--against")
@json_option()
@config_option("The configuration file; your own profiles are in profiles/ beside it.")
def command(
    *,
    profile: str | None,
    against: str | None,
    unit: int | None,
    baudrate: int | None,
    parity: Literal["N", "E", "O"] | None,
    stopbits: str | None,
    as_json: bool,
    config: Path,
) -> None:
    """Check a meter profile, given as FILE or by its MODEL (your own or a shipped one). Without one, list all models.

    Each mistake is one line: FILE:LINE: key: what is wrong; what would be right. If the profile can be used, the
    command shows what it reads and warns of what is doubtful. Examples in a .test.json file beside it are tested.

    --against reads all measurands of the profile from a meter, or from the simulator, and checks each value: refused by
    the meter, not available, implausible for the grid, or in contradiction to other values. A running daemon lends the
    line. Nothing is stored, sent, or written to the meter.

    Exit code: 0 success (there may be warnings), 1 a value needs a look, 64 wrong usage, 65 the profile has mistakes,
    66 there is no such file or model, 69 the meter does not answer.

    \b
    Examples:
      wattpost check-profile
      wattpost check-profile eastron-sdm630
      wattpost check-profile ./acme-one.toml
      wattpost check-profile ./acme-one.toml --against /dev/ttyUSB0 --unit 3
      wattpost check-profile schneider-iem3155 --json | jq '.measurands[].measurand'
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    if profile is None:
        if against is not None:
            raise click.UsageError("--against needs a FILE or MODEL")
        _list_models(config, as_json=as_json)
        return
    if against is None:
        for name, value in {"unit": unit, "baudrate": baudrate, "parity": parity, "stopbits": stopbits}.items():
            if value is not None:
                raise click.UsageError(f"--{name} needs --against, which names the port of the meter")
    source = _source(profile, config)
    good = source.profile
    remarks = [] if good is None else _remarks(good, source)
    trial = None
    if good is not None and against is not None:
        from agent.cli.profile.trial import try_profile  # noqa: PLC0415
        from agent.cli.shared import targets  # noqa: PLC0415 - keeps `--help` fast
        from agent.cli.shared.borrow import status_path  # noqa: PLC0415

        line = targets.LineOptions(against, baudrate, parity, STOPBITS.get(stopbits or ""), "--against")
        targets.check_unit(line, good, unit)
        trial = try_profile(good, line, unit, status_path(config))
    if as_json:
        click.echo(json.dumps(_as_document(source, remarks, trial), indent=2))
    else:
        _show(source, remarks, trial)
    raise click.exceptions.Exit(_exit_code(source, trial))


def _source(given: str, config: Path) -> Source:
    from agent.cli.profile.source import locate, read_source  # noqa: PLC0415 - keeps `--help` fast
    from drivers.profile.model import ProfileError  # noqa: PLC0415

    try:
        return read_source(locate(given, config.parent / "profiles"))
    except ProfileError as error:
        click.echo(f"Error: {error}", err=True)
    except (OSError, UnicodeDecodeError) as error:
        step = "give a file, or a model such as eastron-sdm630"
        click.echo(f"Error: cannot read profile {given}: {cause_of(error)}; {step}", err=True)
    raise click.exceptions.Exit(os.EX_NOINPUT)


def _list_models(config: Path, *, as_json: bool) -> None:
    from agent.cli.profile.source import all_models  # noqa: PLC0415 - keeps `--help` fast

    models = all_models(config.parent / "profiles")
    if as_json:
        said = [
            {"model": name, "file": str(each.file), "mistakes": len(each.mistakes)} for name, each in models.items()
        ]
        click.echo(json.dumps(said, indent=2))
        return
    from agent.cli.profile.screen import show_models  # noqa: PLC0415 - only a person pays for rich

    show_models(models)


def _remarks(profile: Profile, source: Source) -> list[ProfileFinding]:
    from agent.cli.profile.source import ProfileFinding  # noqa: PLC0415 - keeps `--help` fast
    from drivers.profile.review import remarks  # noqa: PLC0415

    return [
        ProfileFinding(each.path, source.line(each.path), each.problem, each.advice, each.is_hint)
        for each in remarks(profile)
    ]


def _show(source: Source, remarks: Sequence[ProfileFinding], trial: Trial | None) -> None:
    from agent.cli.profile.screen import show_profile, show_trial  # noqa: PLC0415 - only a person pays for rich

    for mistake in source.mistakes:
        click.echo(mistake.describe(source.file), err=True)
    if source.mistakes:
        click.echo(f"{source.file}: {count(len(source.mistakes), 'mistake')}", err=True)
    elif source.profile is not None and trial is None:
        show_profile(source.profile, remarks, source)
    if trial is not None and trial.error is None:
        show_trial(trial)
    elif trial is not None:
        click.echo(f"Error: {trial.error}", err=True)


def _exit_code(source: Source, trial: Trial | None) -> int:
    if source.mistakes:
        return os.EX_DATAERR
    if trial is None or trial.is_good:
        return os.EX_OK
    return ATTENTION if trial.error is None else os.EX_UNAVAILABLE


def _as_document(source: Source, remarks: Sequence[ProfileFinding], trial: Trial | None) -> dict[str, Any]:
    from agent.cli.profile.source import as_document  # noqa: PLC0415 - keeps `--help` fast

    profile = source.profile
    document: dict[str, Any] = {
        "file": str(source.file),
        "ok": not source.mistakes,
        "mistakes": [as_document(mistake) for mistake in source.mistakes],
        "warnings": [as_document(remark) for remark in remarks if not remark.is_hint],
        "hints": [as_document(remark) for remark in remarks if remark.is_hint],
        "examples": source.examples,
    }
    if profile is not None:
        document |= {"model": profile.model, "vendor": profile.vendor, "description": profile.description}
        document["measurands"] = [
            {"measurand": name, "unit": unit_of(name), "default": name in profile.default}
            for name in profile.measurands
        ]
    if trial is not None:
        from agent.cli.profile.trial import as_document as trial_document  # noqa: PLC0415

        document["against"] = trial_document(trial)
    return document

"""`wattpost check-config`: report every mistake in a configuration at once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from agent.cli.shared.options import A_FILE, config_option, json_option
from agent.settings import ConfigMistake, Settings, SettingsError, describe, load
from agent.settings.key_positions import line_of, scan
from agent.settings.quantities import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.core.system.finding import Finding
    from agent.settings.mistake import Named


@click.command("check-config", short_help="Report every mistake in a configuration.")
@click.argument("file", type=A_FILE, required=False)
@config_option("The configuration file; the same as FILE.")
@json_option()
@click.option("--no-files", is_flag=True, help="Skip certificates and key, for the configuration of another box.")
@click.pass_context
def command(context: click.Context, file: Path | None, config: Path, *, as_json: bool, no_files: bool) -> None:
    """Check a configuration file and report all its mistakes at once.

    Each mistake is one line: FILE:LINE: key: what is wrong; what would be right. The command also checks certificates
    and key: missing, damaged or expired files, a key that does not belong to the certificate, a key file that others
    have access to. It cannot check a key that is a systemd credential, which only the daemon can read; it warns then.

    Exit code: 0 if the file can be used (there may be warnings), 78 if not.

    \b
    Examples:
      wattpost check-config
      wattpost check-config config/agent.example.toml --no-files
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    if file is not None:
        if context.get_parameter_source("config") is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError("give the configuration file once: as FILE, or with --config")
        config = file
    settings, mistakes, warnings = _check(config, look_at_files=not no_files)
    if as_json:
        click.echo(json.dumps(_as_document(config, settings, mistakes, warnings), indent=2))
    else:
        for mistake in mistakes:
            click.echo(describe(config, mistake), err=True)
        for warning in warnings:
            click.echo(f"warning: {describe(config, warning)}", err=True)
        click.echo(_summary(config, settings, len(mistakes)), err=bool(mistakes))
    if mistakes:
        raise click.exceptions.Exit(os.EX_CONFIG)


def _check(
    config: Path, *, look_at_files: bool
) -> tuple[Settings | None, Sequence[ConfigMistake], Sequence[ConfigMistake]]:
    settings: Settings | None = None
    mistakes: list[ConfigMistake] = []
    try:
        settings = load(config)
    except SettingsError as error:
        mistakes, warnings, named = error.mistakes, error.warnings, error.named
    else:
        warnings, named = list(settings.warnings), settings.named
    if look_at_files and named is not None:
        findings = _findings(named, settings.clock.source if settings is not None else "ntp")
        lines = scan(config.read_text("utf-8-sig"))
        mistakes = [*mistakes, *(_as_mistake(lines, each) for each in findings if each.severity == "error")]
        warnings = [*warnings, *(_as_mistake(lines, each) for each in findings if each.severity == "warning")]
    return settings, sorted(mistakes, key=lambda mistake: mistake.line or 0), warnings


def _findings(named: Named, clock_source: Literal["ntp", "system"]) -> Sequence[Finding]:
    from agent.adapters.system.clock import SystemClock  # noqa: PLC0415 - keeps `--help` fast
    from agent.checks.named_files import look_at_files  # noqa: PLC0415 - as above
    from agent.checks.registry import check_files  # noqa: PLC0415 - as above

    return check_files(look_at_files(named, SystemClock(clock_source).look()))


def _as_mistake(lines: Mapping[tuple[str | int, ...], int], finding: Finding) -> ConfigMistake:
    """The finding at the line of the key that it is about."""
    table, _, key = finding.subject.rpartition(".")
    name, _, index = table.rstrip("]").partition("[")
    path = (name, int(index), key) if index else (name, key)
    return ConfigMistake(finding.subject, line_of(lines, path), finding.cause, finding.next_step)


def _summary(config: Path, settings: Settings | None, mistake_count: int) -> str:
    if settings is None or mistake_count:
        return f"{config}: {mistake_count} mistake{'s' if mistake_count != 1 else ''}"
    buffer, uplink = settings.buffer, settings.uplink
    lines = [f"{config} is good: box {settings.box.id}, revision {settings.revision}"]
    for meter in settings.meters:
        port = next(bus.port for bus in settings.buses if bus.name == meter.bus)
        every = format_duration(meter.interval_ms)
        lines.append(f"  meter {meter.name}: {meter.model}, unit {meter.unit} on {port}, every {every}")
    lines.append(
        f"  buffer {buffer.path}: at most {format_size(buffer.max_size_bytes)}, "
        f"a power cut loses at most {format_duration(buffer.durability_ms)}"
    )
    lines.append(f"  uplink {uplink.endpoint}:{uplink.port}, topic {uplink.topic}, deleted after {uplink.confirm}")
    return "\n".join(lines)


def _as_document(
    config: Path, settings: Settings | None, mistakes: Sequence[ConfigMistake], warnings: Sequence[ConfigMistake]
) -> dict[str, object]:
    def as_dict(mistake: ConfigMistake) -> dict[str, object]:
        return {
            "path": mistake.path,
            "line": mistake.line,
            "problem": mistake.problem,
            "expected": mistake.expected,
        }

    return {
        "file": str(config),
        "ok": not mistakes,
        "revision": settings.revision if settings is not None else None,
        "mistakes": [as_dict(mistake) for mistake in mistakes],
        "warnings": [as_dict(warning) for warning in warnings],
    }

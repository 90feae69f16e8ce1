"""`wattpost run`: run the daemon in the foreground."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import click

from agent.cli.shared.options import config_option
from agent.settings import SettingsError, describe, load


@click.command("run", short_help="Run the daemon: read meters, keep the readings, deliver them.")
@config_option()
@click.option("--verbose", "-v", is_flag=True, help="Also log details for finding faults.")
def command(config: Path, *, verbose: bool) -> None:
    """Read the meters, keep the readings and deliver them, until SIGTERM or Ctrl-C.

    Logs to standard error, one line per change of state. On SIGTERM or Ctrl-C it writes pending readings and ends
    within 5 seconds. On SIGHUP it reads the configuration again. An ordinary user can run it, with access to the serial
    ports (group dialout) and to the files that the configuration names.

    Exit code: 0 after SIGTERM or Ctrl-C, 78 the configuration has mistakes, 74 the buffer cannot be opened, 70 a
    bug: the agent stopped itself, and the log names the broken invariant.

    \b
    Examples:
      wattpost run
      wattpost run --config ./agent.toml --verbose
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    from agent.adapters.buffer.buffer_file import BufferFileError  # noqa: PLC0415 - keeps `--help` fast
    from agent.adapters.system.logs import set_up  # noqa: PLC0415
    from agent.app import App  # noqa: PLC0415
    from agent.core.invariants import BrokenInvariantError  # noqa: PLC0415

    set_up(verbose=verbose)
    log = logging.getLogger("agent")
    try:
        settings = load(config)
    except SettingsError as error:
        for mistake in error.mistakes:
            log.error("config: %s", describe(config, mistake))  # noqa: TRY400 - the trace helps no installer
        raise click.exceptions.Exit(os.EX_CONFIG) from error
    try:
        asyncio.run(App.main(settings, config))
    except BufferFileError as error:
        log.error("buffer: %s", error)  # noqa: TRY400 - as above
        raise click.exceptions.Exit(os.EX_IOERR) from error
    except BrokenInvariantError as error:
        log.error("stop: %s", error)  # noqa: TRY400 - its name and facts say more than the trace
        raise click.exceptions.Exit(os.EX_SOFTWARE) from error

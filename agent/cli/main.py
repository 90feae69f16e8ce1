"""The `wattpost` command: finds the subcommand and imports nothing else.

Our own subcommands are in a static table, so that the daemon starts without `importlib.metadata` (3 MB, 60 ms on a Pi).
Those of other packages are found by entry points.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

from agent.adapters.system.no_openssl import leave_out_openssl
from agent.cli.shared.exit_codes import INTERRUPTED
from agent.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENTRY_POINT_GROUP = "wattpost.commands"
OWN_COMMANDS: Mapping[str, str] = {
    "run": "agent.cli.run",
    "check-config": "agent.cli.check_config",
    "scan": "agent.cli.scan.command",
    "read": "agent.cli.read.command",
    "check-profile": "agent.cli.profile.check_profile",
    "new-profile": "agent.cli.profile.new_profile",
    "status": "agent.cli.status.command",
    "buffer": "agent.cli.buffer.command",
    "decode": "agent.cli.batch.decode",
    "encode": "agent.cli.batch.encode",
}
OWN_PACKAGES = frozenset({"agent", "drivers", "wire", "cloud", "demo", "meter_sim"})
EXTRA_BY_COMMAND = {"cloud": "local", "demo": "local", "receive": "cloud"}


class CommandGroup(click.Group):
    """Imports a command when it is used; imports all of them only for `--help`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [*OWN_COMMANDS, *sorted(set(_entry_points()) - set(OWN_COMMANDS))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        try:
            return _load(cmd_name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] in OWN_PACKAGES and not ctx.resilient_parsing:
                raise
            return _unavailable(cmd_name, error.name or str(error))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(_unknown(args[0], self.list_commands(ctx)), ctx) from error


def _load(name: str) -> click.Command | None:
    module = OWN_COMMANDS.get(name)
    reference = f"{module}:command" if module is not None else _entry_points().get(name)
    if reference is None:
        return None
    module, _, attribute = reference.partition(":")
    command: click.Command = getattr(import_module(module), attribute)
    return command


def _entry_points() -> Mapping[str, str]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - not in the daemon's path

    return {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}


def _unavailable(name: str, missing: str) -> click.Command:
    """Replaces a command whose optional dependencies are not installed."""
    extra = EXTRA_BY_COMMAND.get(name, "cloud")
    hint = f"needs the Python package {missing}: pip install 'wattpost[{extra}]'"

    def fail() -> None:
        click.echo(f"Error: wattpost {name} {hint}", err=True)
        raise click.exceptions.Exit(os.EX_UNAVAILABLE)

    takes_anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, takes_anything, callback=fail, short_help=f"({hint})", add_help_option=False)


def _unknown(name: str, known: Sequence[str]) -> str:
    from drivers.near_names import near_name  # noqa: PLC0415 - only when there is a mistake

    near = near_name(name, known)
    return f"there is no command {name!r}" + ("" if near is None else f"; did you mean {near!r}?")


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="For help with a command: wattpost COMMAND --help. Exit codes follow sysexits: 0 success, 64 wrong usage, "
    "65 invalid input, 66 the input cannot be read, 69 something needed is not available, 73 a file cannot be written, "
    "74 input or output failed, 78 wrong configuration.",
)
@click.version_option(VERSION, prog_name="wattpost")
def cli() -> None:
    """Read energy meters and deliver every reading to AWS IoT Core.

    No reading is deleted on the box before the cloud has confirmed that it is stored.

    \b
    First steps on a box:
      wattpost scan                find meters (--write adds them to the configuration)
      wattpost check-config        find every mistake in /etc/wattpost/agent.toml
      wattpost read                read each meter once and print a table
      wattpost run                 run the daemon in the foreground
      wattpost status              show what the daemon is doing

    To try it without a box, a meter or an AWS account: wattpost demo
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped


def main(args: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit code."""
    words = sys.argv[1:] if args is None else args
    if list(words[:1]) == ["run"]:
        leave_out_openssl()
    try:
        code = cli.main(list(args) if args is not None else None, prog_name="wattpost", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        sys.exit(os.EX_USAGE)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("Aborted", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(code if isinstance(code, int) else os.EX_OK)

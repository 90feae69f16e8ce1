"""`wattpost cloud`: the group. A command is imported when it is used."""

from __future__ import annotations

from importlib import import_module

import click

from cloud.cli.extra import LOCAL, is_there, stand_in

COMMANDS = {"local": "cloud.cli.local", "readings": "cloud.cli.readings", "retry-held": "cloud.cli.retry_held"}


class LazyGroup(click.Group):
    """`wattpost --help` and each command import only the modules that they need."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        if cmd_name == "local" and not is_there(*LOCAL):
            return stand_in(cmd_name)
        command: click.Command = import_module(COMMANDS[cmd_name]).command
        return command


@click.group("cloud", cls=LazyGroup, no_args_is_help=True, short_help="The cloud side: a local AWS, a store.")
def command() -> None:
    """The cloud side: a local AWS to try things on, and the content of a store.

    The real AWS is deployed from cloud/infra/template.json: see docs/cloud.md.
    """

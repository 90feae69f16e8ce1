"""`wattpost cloud local`: an AWS on this machine, with one box registered."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import click

from cloud.cli.options import NEW_FOLDER, fail, json_option
from cloud.cli.stopping import stop_signals
from cloud.local.bring_up import CONNECTION, local_cloud
from cloud.local.errors import LocalCloudError
from wire.errors import WireError
from wire.limits import check_device


@click.command("local", short_help="An AWS on this machine, with one box registered.")
@click.option(
    "--dir",
    "folder",
    type=NEW_FOLDER,
    required=True,
    help="Where connection.json, the certificates and the log go. Made if missing.",
)
@click.option("--box", default="apt-demo", show_default=True, help="Name of the box (thing) to register.")
@click.option("--mqtt-port", type=click.IntRange(1, 65535), help="Port for MQTT over TLS. Default: a free one.")
@click.option("--gateway-port", type=click.IntRange(1, 65535), help="Port for the AWS API. Default: a free one.")
@json_option("When ready, print the connection as one JSON line.")
def command(folder: Path, box: str, mqtt_port: int | None, gateway_port: int | None, *, as_json: bool) -> None:
    """Run an AWS on this machine, with the receiver deployed and a box registered.

    Starts MiniStack, deploys cloud/infra/template.json into it (the same template as for the real AWS), makes a
    thing, a certificate and a policy for the box, writes DIR/connection.json, prints `ready` and runs until SIGTERM
    or Ctrl-C, which end everything. Nothing is kept: the next start is a new cloud.

    All ports are on 127.0.0.1 only. DIR/connection.json and the box's key are readable by you alone.

    \b
    See what arrived:
      wattpost cloud readings --local DIR
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    try:
        check_device(box)
        with stop_signals() as stopping, local_cloud(folder, box, gateway_port, mqtt_port) as cloud:
            line = json.dumps(asdict(cloud.connection)) if as_json else f"ready {folder / CONNECTION}"
            click.echo(line)
            sys.stdout.flush()
            while not stopping.wait(0.2):
                cloud.check()
    except WireError as error:
        raise click.BadParameter(str(error), param_hint="--box") from error
    except LocalCloudError as error:
        fail(error, os.EX_UNAVAILABLE)

"""`wattpost receive`: the receiver behind any MQTT 5 broker, without AWS."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click

from cloud.cli.options import FILE, NEW_FOLDER, fail, json_option
from cloud.cli.receive_report import ReceiveReport
from cloud.cli.stopping import stop_signals
from cloud.doors.mqtt import serve
from cloud.doors.mqtt_connection import Broker, DoorError, MqttConnection
from cloud.doors.take import TakeResult
from cloud.doors.topic_pattern import TopicPattern
from cloud.ports import InboundMessage, StoreError
from cloud.stores.sqlite.lock import StoreInUseError, StoreLock
from cloud.stores.sqlite.stores import open_stores
from wire.errors import WireError
from wire.topics import check_publish_topic, expand

DEFAULT_PORT = 8883
_log = logging.getLogger("wattpost.receive")


@click.command("receive", short_help="Store and confirm batches behind any MQTT 5 broker.")
@click.option("--broker", required=True, metavar="mqtts://HOST[:PORT]", help="The broker; port 8883 unless given.")
@click.option("--ca", type=FILE, required=True, help="Root certificate that signed the broker's (PEM).")
@click.option("--cert", type=FILE, required=True, help="Certificate of this receiver (PEM).")
@click.option("--key", type=FILE, required=True, help="Its private key (PEM).")
@click.option(
    "--topic",
    default="wattpost/+/batches",
    show_default=True,
    help="Where batches arrive; `+` is the name of the box.",
)
@click.option(
    "--receipts", default="wattpost/{box}/receipts", show_default=True, help="Where the receipts of each box go."
)
@click.option(
    "--store",
    type=NEW_FOLDER,
    required=True,
    help="Folder for everything stored; made if missing. One receiver per folder.",
)
@click.option(
    "--client-id",
    default="wattpost-receiver",
    show_default=True,
    help="Do not change it: under this name the broker keeps messages while the receiver is stopped.",
)
@json_option("Print one JSON line per group of batches received.")
def command(  # noqa: PLR0913, PLR0917 - one parameter per option
    broker: str,
    ca: Path,
    cert: Path,
    key: Path,
    topic: str,
    receipts: str,
    store: Path,
    client_id: str,
    *,
    as_json: bool,
) -> None:
    """Store and confirm batches from any MQTT 5 broker, without AWS.

    Runs until SIGTERM or Ctrl-C. A batch is acknowledged to the broker only when it is durably stored, and confirmed
    to the box by a receipt. A batch that cannot be stored as readings is kept in STORE/quarantine with the reason and
    blocks nothing. The log names each box once, and has a summary every five minutes.

    The level of the topic at the `+` names the box: the broker's access rules must allow each box its own topics only.

    \b
    On the box, in agent.toml:
      [uplink]
      topic = "wattpost/{box}/batches"
      receipts = "wattpost/{box}/receipts"
    Here:
      wattpost receive --broker mqtts://broker.example --ca ca.pem --cert receiver.pem --key receiver.key \\
          --store /srv/wattpost
      wattpost cloud readings --store /srv/wattpost
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    host, port = _address(broker)
    try:
        _check_receipts(receipts)
        connection = MqttConnection(Broker(host, port, ca, cert, key), client_id, TopicPattern.parse(topic), receipts)
        lock, stores = StoreLock(store), open_stores(store)
    except WireError as error:
        raise click.UsageError(str(error)) from error
    except DoorError as error:
        fail(error, os.EX_CONFIG)
    except StoreInUseError as error:
        fail(error, os.EX_UNAVAILABLE)
    except StoreError as error:
        fail(error, os.EX_CANTCREAT)
    with stop_signals() as stopping:
        connection.start()
        try:
            serve(connection, stores, stopping, _Report(ReceiveReport(_log, time.monotonic()), as_json))
        except DoorError as error:
            fail(error, os.EX_NOPERM)
        finally:
            connection.stop()
            lock.close()


def _address(broker: str) -> tuple[str, int]:
    try:
        parts = urlsplit(broker)
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError as error:
        raise click.BadParameter(f"{broker!r}: {error}", param_hint="--broker") from error
    if parts.scheme != "mqtts" or not host:
        raise click.BadParameter(f"{broker!r} is not of the form mqtts://HOST[:PORT]", param_hint="--broker")
    return host, port


def _check_receipts(template: str) -> None:
    """Raises `WireError` and `click.BadParameter`."""
    check_publish_topic(expand(template, "box"))
    if "{box}" not in template:
        text = f"{template!r} has no {{box}} where the name of the box goes, so that each box would get all receipts"
        raise click.BadParameter(text, param_hint="--receipts")


@dataclass(frozen=True, slots=True)
class _Report:
    """The log, and with `--json` one line per group on standard output."""

    report: ReceiveReport
    as_json: bool

    def took(self, messages: Sequence[InboundMessage], taken: TakeResult) -> None:
        for failure in taken.unsent:
            _log.warning("%s", failure.cause)
        devices = (message.device for message in messages)
        self.report.took(time.monotonic(), zip(devices, taken.outcomes, strict=True))
        if self.as_json:
            click.echo(json.dumps({**taken.counts(), "receipts": taken.receipts_sent}))
            sys.stdout.flush()

    def tick(self, *, last: bool = False) -> None:
        self.report.tick(time.monotonic(), last=last)

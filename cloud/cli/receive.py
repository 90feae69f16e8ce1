"""`wattpost receive`: the receiver behind any MQTT 5 broker, without AWS."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import click

from cloud.cli.receive_report import Report
from cloud.cli.stopping import stop_signals
from cloud.core.answer import AddressedReceipt
from cloud.doors.mqtt import Broker, DoorError, Message, MqttDoor
from cloud.doors.topic_pattern import TopicPattern
from cloud.ingest.ingest import Status, ingest
from cloud.ports import StoreError, Stores
from cloud.stores.sqlite.folder import StoreInUseError, StoreLock, open_stores
from wire.errors import WireError
from wire.topics import check_publish_topic, expand

DEFAULT_PORT = 8883
TAKE_S = 0.2
RETRY_MIN_S, RETRY_MAX_S = 1.0, 30.0
_log = logging.getLogger("wattpost.receive")
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("receive", short_help="Store and confirm batches behind any MQTT 5 broker.")
@click.option("--broker", required=True, metavar="mqtts://HOST[:PORT]", help="The broker; port 8883 unless given.")
@click.option("--ca", type=_FILE, required=True, help="Root certificate that signed the broker's (PEM).")
@click.option("--cert", type=_FILE, required=True, help="Certificate of this receiver (PEM).")
@click.option("--key", type=_FILE, required=True, help="Its private key (PEM).")
@click.option(
    "--topic", default="wattpost/+/batches", show_default=True, help="Where batches come; `+` is the box's name."
)
@click.option(
    "--receipts", default="wattpost/{box}/receipts", show_default=True, help="Where receipts go, for each box."
)
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for everything stored; made if missing. One receiver per folder.",
)
@click.option(
    "--client-id",
    default="wattpost-receiver",
    show_default=True,
    help="Keep it: under this name the broker holds what comes while the receiver is away.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line per group of batches taken.")
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
    to the box by a receipt. What cannot be taken is kept in STORE/quarantine with its reason, and blocks nothing.
    It says of each box once that it is stored, and every five minutes how many batches came.

    The box is whom the topic says: let the broker's access rules allow each box its own topics only.

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
        check_publish_topic(expand(receipts, "box"))
        if "{box}" not in receipts:
            text = (
                f"{receipts!r} has no {{box}} where the name of the box goes, so that each box would get all receipts"
            )
            raise click.BadParameter(text, param_hint="--receipts")
        door = MqttDoor(Broker(host, port, ca, cert, key), client_id, TopicPattern.parse(topic), receipts)
        lock, stores = StoreLock(store), open_stores(store)
    except WireError as error:
        raise click.UsageError(str(error)) from error
    except DoorError as error:
        _fail(error, os.EX_CONFIG)
    except StoreInUseError as error:
        _fail(error, os.EX_UNAVAILABLE)
    except StoreError as error:
        _fail(error, os.EX_CANTCREAT)
    with stop_signals() as stopping:
        door.start()
        try:
            _serve(door, stores, stopping, as_json=as_json)
        except DoorError as error:
            _fail(error, os.EX_NOPERM)
        finally:
            door.stop()
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


def _fail(error: Exception, code: int) -> None:
    click.echo(f"Error: {error}", err=True)
    raise click.exceptions.Exit(code) from error


def _serve(door: MqttDoor, stores: Stores, stopping: threading.Event, *, as_json: bool) -> None:
    """Take, ingest, acknowledge, answer. What a store refused stays in hand, unacknowledged, and is tried again.

    Of a connection that is gone it is let go, for it comes again on the next one.
    """
    in_hand: list[Message] = []
    delay_s = RETRY_MIN_S
    report = Report(_log, time.monotonic())
    while not stopping.is_set():
        in_hand = door.still_ours([*in_hand, *door.take(TAKE_S)])
        report.tick(time.monotonic())
        if not in_hand:
            continue
        in_hand = _ingest(door, stores, in_hand, report, as_json=as_json)
        if in_hand:
            stopping.wait(delay_s)
            delay_s = min(2 * delay_s, RETRY_MAX_S)
        else:
            delay_s = RETRY_MIN_S
    report.tick(time.monotonic(), last=True)


def _ingest(door: MqttDoor, stores: Stores, messages: list[Message], report: Report, *, as_json: bool) -> list[Message]:
    """The messages that failed."""
    ingested = ingest([message.delivery for message in messages], stores)
    outcomes = list(zip(messages, ingested.outcomes, strict=True))
    door.acknowledge([message for message, outcome in outcomes if outcome.status is not Status.FAILED])
    sent = _send(door, ingested.receipts)
    report.took(time.monotonic(), ((message.delivery.device, outcome) for message, outcome in outcomes))
    if as_json:
        counts = Counter(outcome.status.value for outcome in ingested.outcomes)
        click.echo(json.dumps({**counts, "receipts": sent}))
        sys.stdout.flush()
    return [message for message, outcome in outcomes if outcome.status is Status.FAILED]


def _send(door: MqttDoor, receipts: Iterable[AddressedReceipt]) -> int:
    sent = 0
    for addressed in receipts:
        try:
            door.send(addressed.device, addressed.receipt.to_json())
            sent += 1
        except StoreError as error:
            _log.warning("%s", error)
    return sent

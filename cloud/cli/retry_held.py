"""`wattpost cloud retry-held`: offer the batches in quarantine to the receiver once more."""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path

import click

from cloud.cli.opening import locked, open_aws, open_local
from cloud.cli.options import device_option, fail, json_option, local_option, store_option
from cloud.ingest.ingest import ingest
from cloud.ingest.outcome import IngestStatus
from cloud.ports import StoreError, Stores

NAME = "cloud retry-held"
AT_ONCE = 50
WORDS = {
    IngestStatus.STORED: "stored now",
    IngestStatus.RESEND: "were stored already",
    IngestStatus.SUPERSEDED: "are replaced by what is stored",
    IngestStatus.HELD: "stay held",
    IngestStatus.QUARANTINED: "stay in quarantine, and no box can be told",
    IngestStatus.FAILED: "could not be tried",
}


@click.command("retry-held", short_help="Offer the batches in quarantine to the receiver once more.")
@store_option("The folder of `wattpost receive --store`, which is not running.")
@local_option
@click.option("--table", help="The table on AWS (output Table of the stack); needs --bucket.")
@click.option("--bucket", help="The bucket on AWS (output Bucket of the stack).")
@device_option
@json_option("Print one JSON object, for scripts.")
def command(
    store: Path | None, local: Path | None, table: str | None, bucket: str | None, device: str | None, *, as_json: bool
) -> None:
    """Store batches that the receiver refused before it was updated, such as batches of a newer format.

    Each batch in quarantine is treated as if it had just arrived, by this version of the receiver. A batch that is
    stored now is no longer held: the next receipt, at the latest in about an hour, tells the box, which deletes its
    copy. A batch that conflicts with what is stored stays held. Nothing is deleted, and repeating it is harmless.

    \b
    Examples:
      wattpost cloud retry-held --store /srv/wattpost
      wattpost cloud retry-held --table wattpost-Table... --bucket wattpost-bucket... --device apt-0123

    Exit codes: 0 every batch that was tried is decided, 69 the store is in use, 74 a store failed.
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    try:
        with _opened(store, local, table, bucket) as stores:
            counts, reasons = _retry(stores, device)
    except StoreError as error:
        fail(error, os.EX_IOERR)
    _show(counts, reasons, as_json=as_json)
    if counts[IngestStatus.FAILED]:
        raise click.exceptions.Exit(os.EX_IOERR)


def _opened(
    store: Path | None, local: Path | None, table: str | None, bucket: str | None
) -> AbstractContextManager[Stores]:
    match store, local, table, bucket:
        case Path(), None, None, None:
            return locked(store)
        case None, Path(), None, None:
            return nullcontext(open_local(local, NAME))
        case None, None, str(), str():
            return nullcontext(open_aws(table, bucket, NAME))
        case _:
            raise click.UsageError("give one of --store DIR, --local DIR, and --table with --bucket")


def _retry(stores: Stores, device: str | None) -> tuple[Counter[IngestStatus], Counter[str]]:
    """What became of the batches, and how often each reason was given."""
    counts: Counter[IngestStatus] = Counter()
    reasons: Counter[str] = Counter()
    messages = (one for one in stores.quarantine.messages() if device in (None, one.device))
    while group := list(islice(messages, AT_ONCE)):
        for outcome in ingest(group, stores).outcomes:
            counts[outcome.status] += 1
            if outcome.reason:
                reasons[outcome.reason.partition(" (")[0]] += 1
    return counts, reasons


def _show(counts: Counter[IngestStatus], reasons: Counter[str], *, as_json: bool) -> None:
    if as_json:
        by_name = {status.value: counts[status] for status in IngestStatus if counts[status]}
        click.echo(json.dumps({"tried": counts.total(), **by_name, "reasons": dict(reasons)}))
        return
    if not counts:
        click.echo("the quarantine is empty")
    for status, words in WORDS.items():
        if counts[status]:
            click.echo(f"{counts[status]:6} {words}")
    for reason, number in reasons.most_common():
        click.echo(f"       {number} of them: {reason}")

"""`wattpost cloud retry-held`: what lies in quarantine, offered to the receiver once more."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

import click

from cloud.cli.extra import is_there, refuse
from cloud.ingest.ingest import Status, ingest
from cloud.ports import StoreError, Stores

AT_ONCE = 50
WORDS = {
    Status.STORED: "stored now",
    Status.RESEND: "were stored already",
    Status.SUPERSEDED: "are replaced by what is stored",
    Status.HELD: "stay held",
    Status.QUARANTINED: "stay in quarantine, of nobody who could be told",
    Status.FAILED: "could not be tried",
}
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command("retry-held", short_help="Offer what lies in quarantine to the receiver once more.")
@click.option("--store", type=_FOLDER, help="The folder of `wattpost receive --store`, which is not running.")
@click.option("--local", type=_FOLDER, help="The folder of a running `wattpost cloud local --dir`.")
@click.option("--table", help="The table on AWS (output Table of the stack); needs --bucket.")
@click.option("--bucket", help="The bucket on AWS (output Bucket of the stack).")
@click.option("--device", help="Only this box. Default: all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
def command(
    store: Path | None, local: Path | None, table: str | None, bucket: str | None, device: str | None, *, as_json: bool
) -> None:
    """Take in what the receiver could not take before, such as batches of a newer format, after it was updated.

    Each batch in quarantine goes the way of one that has just come, with this program's version of the receiver. What
    is stored now is no longer held: the box hears of it with its next receipt, at the latest in about an hour, and
    deletes its copy. What conflicts with what is stored stays held. Nothing is deleted, and doing it again is harmless.

    \b
    Examples:
      wattpost cloud retry-held --store /srv/wattpost
      wattpost cloud retry-held --table wattpost-Table... --bucket wattpost-bucket... --device apt-0123

    Exit codes: 0 all that was tried is decided, 69 the store is in use, 74 a store failed.
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    counts: Counter[Status] = Counter()
    reasons: Counter[str] = Counter()
    try:
        with _opened(store, local, table, bucket) as stores:
            entries = (one for one in stores.quarantine.deliveries() if device in (None, one.device))
            while batch := list(islice(entries, AT_ONCE)):
                for outcome in ingest(batch, stores).outcomes:
                    counts[outcome.status] += 1
                    if outcome.reason:
                        reasons[outcome.reason.partition(" (")[0]] += 1
    except StoreError as error:
        click.echo(f"Error: {error}", err=True)
        raise click.exceptions.Exit(os.EX_IOERR) from error
    _show(counts, reasons, as_json=as_json)
    if counts[Status.FAILED]:
        raise click.exceptions.Exit(os.EX_IOERR)


@contextmanager
def _opened(store: Path | None, local: Path | None, table: str | None, bucket: str | None) -> Iterator[Stores]:
    on_aws = table is not None or bucket is not None
    if (store is not None) + (local is not None) + on_aws != 1 or (table is None) != (bucket is None):
        raise click.UsageError("give one of --store DIR, --local DIR, and --table with --bucket")
    if store is not None:
        from cloud.stores.sqlite.folder import StoreInUseError, StoreLock, open_stores  # noqa: PLC0415 - one of three

        try:
            lock = StoreLock(store)
        except StoreInUseError as error:
            click.echo(f"Error: {error}", err=True)
            raise click.exceptions.Exit(os.EX_UNAVAILABLE) from error
        with closing(lock):
            yield open_stores(store)
        return
    if not is_there("boto3"):
        refuse("cloud retry-held")
    from cloud.stores.aws.dynamodb import aws_stores  # noqa: PLC0415 - botocore is only there with an extra

    if local is not None:
        from cloud.local.bring_up import Connection  # noqa: PLC0415 - as above
        from cloud.local.errors import LocalCloudError  # noqa: PLC0415

        try:
            found = Connection.load(local)
        except LocalCloudError as error:
            raise StoreError(str(error)) from error
        yield aws_stores(found.client("dynamodb"), found.table, found.client("s3"), found.bucket)
        return
    import boto3  # noqa: PLC0415 - as above

    yield aws_stores(boto3.client("dynamodb"), table or "", boto3.client("s3"), bucket or "")


def _show(counts: Counter[Status], reasons: Counter[str], *, as_json: bool) -> None:
    if as_json:
        by_name = {status.value: counts[status] for status in Status if counts[status]}
        click.echo(json.dumps({"tried": counts.total(), **by_name, "reasons": dict(reasons)}))
        return
    if not counts:
        click.echo("nothing lies in quarantine")
    for status, words in WORDS.items():
        if counts[status]:
            click.echo(f"{counts[status]:6} {words}")
    for reason, number in reasons.most_common():
        click.echo(f"       {number} of them: {reason}")

"""`wattpost decode`: show a batch as JSON or CSV."""

from __future__ import annotations

import json
import sys

import click

from agent.cli.batch.files import STDIN, batch_bytes, data_error, read_input
from wire.codec import decode
from wire.document import safe_document, to_document
from wire.errors import WireError

NEXT_STEP = "give the whole payload of one message, as bytes, hexadecimal or base64"


@click.command("decode", short_help="Show a batch as JSON or CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole batch as JSON (the default).")
@click.option("--csv", "as_csv", is_flag=True, help="Print one line per reading, one column per measurand; no events.")
@click.argument("file", default=STDIN)
def command(file: str, *, as_json: bool, as_csv: bool) -> None:
    """Show the batch in FILE (- is standard input).

    A batch is the payload of one message on the batch topic, or a file that `wattpost buffer export` writes. It may
    also be hexadecimal or base64 text. `wattpost encode` makes the same bytes from the JSON.

    \b
    Examples:
      wattpost decode batch.wpb
      mosquitto_sub -t 'wattpost/+/batches' -C 1 -N | wattpost decode --csv -
      wattpost decode batch.wpb | jq '.readings[0].values'

    Exit codes: 65 the input is not a batch, 66 it cannot be read.
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    data = read_input(file)
    try:
        document = to_document(decode(batch_bytes(data)))
    except WireError as error:
        raise data_error(file, error, NEXT_STEP) from error
    if as_csv:
        from agent.cli.batch.csv_text import write_csv  # noqa: PLC0415 - only where it is asked for

        write_csv(document, sys.stdout)
    else:
        click.echo(json.dumps(safe_document(document), indent=2, ensure_ascii=False))

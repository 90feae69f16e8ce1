"""`wattpost encode`: make the bytes of a batch from JSON or CSV."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from agent.cli.batch.files import STDIN, data_error, name_of, read_input
from agent.cli.shared.exit_codes import CannotCreate, DataError
from wire.batch import EPOCH_BYTES
from wire.codec import encode
from wire.document import from_document
from wire.errors import WireError
from wire.limits import check_device
from wire.node import Node

NEXT_STEP = "correct it; docs/wire-format.md has an example"


@click.command("encode", short_help="Make a batch from JSON or CSV.")
@click.option("-o", "--output", metavar="FILE", help="Write the batch to FILE instead of standard output.")
@click.option("--csv", "from_csv", is_flag=True, help="FILE is CSV as from `decode --csv`; needs the next two.")
@click.option("--device", metavar="NAME", help="With --csv: the device that sends the batch.")
@click.option("--epoch", metavar="HEX", help="With --csv: the epoch of its record numbers, 16 hexadecimal digits.")
@click.argument("file", default=STDIN)
def command(file: str, output: str | None, device: str | None, epoch: str | None, *, from_csv: bool) -> None:
    """Make the bytes of a batch from the JSON in FILE (- is standard input): the inverse of `wattpost decode`.

    Use it for test data and for senders other than the agent. The JSON needs only device, epoch and, per reading,
    meter, at and values; "resolution": {"frequency": 0.001} sets the step of a measurand. The CSV column mono_ms is
    ignored, because CSV does not name the boot that it counts from; `at` dates the readings.

    \b
    Examples:
      wattpost encode batch.json -o batch.wpb
      wattpost decode batch.wpb | jq '.rev = 1' | wattpost encode | wattpost decode
      wattpost encode --csv --device apt-0123 --epoch 00112233445566aa readings.csv -o batch.wpb

    Exit codes: 65 the input is not a batch, 66 it cannot be read, 73 the output cannot be written.
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    _check_options(device, epoch, from_csv=from_csv)
    if output is None and sys.stdout.isatty():
        raise click.UsageError("a batch is binary, not for a terminal; give -o FILE, or pipe it into a command")
    text = _text(file)
    try:
        document = _from_csv(text, device or "", epoch or "") if from_csv else _from_json(text)
        data = encode(from_document(document))
    except WireError as error:
        raise data_error(file, error, NEXT_STEP) from error
    _write(data, output)


def _check_options(device: str | None, epoch: str | None, *, from_csv: bool) -> None:
    """Raises `click.UsageError`, because the mistake is in the options, not in the file."""
    if not from_csv:
        for option, value in (("--device", device), ("--epoch", epoch)):
            if value is not None:
                raise click.UsageError(f"{option} needs --csv; JSON contains it")
        return
    if not (device and epoch):
        raise click.UsageError("--csv needs --device and --epoch, which CSV does not contain")
    try:
        Node(device, "--device").checked(check_device)
        Node(epoch, "--epoch").octets(EPOCH_BYTES)
    except WireError as error:
        raise click.UsageError(str(error)) from error


def _text(file: str) -> str:
    try:
        return read_input(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name_of(file)}: not UTF-8 text; {NEXT_STEP}") from error


def _from_json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError as error:
        raise WireError("nested too deeply") from error
    except WireError:
        raise
    except ValueError as error:
        raise WireError(f"not JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that is given twice: Python would keep only the last."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise WireError(f"an object has the key {name[:60]!r} twice")
        found[name] = value
    return found


def _no_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python reads but JSON does not have."""
    raise WireError(f"not JSON: {name} is not a number")


def _from_csv(text: str, device: str, epoch: str) -> dict[str, Any]:
    from agent.cli.batch.csv_text import read_csv  # noqa: PLC0415 - only where it is asked for

    return read_csv(text, device, epoch)


def _write(data: bytes, output: str | None) -> None:
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        Path(output).write_bytes(data)
    except OSError as error:
        raise CannotCreate(f"cannot write {output}: {error.strerror}; choose another path") from error

"""`wattpost buffer`: show and export the batches that wait on the box."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from agent.cli.shared.configuration import settings_or_exit
from agent.cli.shared.exit_codes import CannotCreate, DataError, NoInput
from agent.cli.shared.options import A_FILE, file_option, json_option
from agent.settings import DEFAULT_PATH, DEFAULT_STATUS_PATH, Settings

if TYPE_CHECKING:
    from agent.adapters.buffer.buffer_reader import BufferReader

F = TypeVar("F", bound=Callable[..., Any])
LISTED = 50


def source_options(function: F) -> F:
    """--config and --file, before or after the subcommand."""
    text = f"The configuration file, which has the path of the buffer.  [default: {DEFAULT_PATH}]"
    config = click.option("--config", "-c", type=A_FILE, help=text)
    return config(file_option("The buffer's file")(function))


@click.group("buffer", invoke_without_command=True, short_help="Show and export what waits on the box.")
@source_options
@json_option()
@click.pass_context
def command(context: click.Context, config: Path | None, file: Path | None, *, as_json: bool) -> None:
    """Show and export the records that wait on this box until the cloud confirms them.

    It does not disturb a running daemon: it reads a copy of the file and never deletes anything. Without a subcommand
    it shows a summary. It needs the rights of the daemon's user or of root.

    Exit codes: 65 the file is not a buffer of this version, 66 it cannot be read, 73 a file cannot be written, 78 wrong
    configuration.

    \b
    Examples:
      sudo wattpost buffer
      sudo wattpost buffer list
      sudo wattpost buffer export /media/usb
      sudo wattpost buffer get 17 | wattpost decode --csv -
      wattpost buffer --file /mnt/card/var/lib/wattpost/buffer.db     another box's SD card
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    if context.invoked_subcommand is None:
        _show(context, config, file, as_json=as_json)
    elif as_json:
        raise click.UsageError(f"write --json after {context.invoked_subcommand}")


@command.command("show", short_help="Show a summary: what waits, since when, for which box (the default).")
@source_options
@json_option()
@click.pass_context
def show_command(context: click.Context, config: Path | None, file: Path | None, *, as_json: bool) -> None:
    """Show how many records wait, since when, what the cloud holds in quarantine, and which box the buffer belongs to.

    \b
    Examples:
      wattpost buffer show
      wattpost buffer show --json | jq .batch_records
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    _show(context, config, file, as_json=as_json)


@command.command("list", short_help="List the sealed batches, one line each.")
@source_options
@click.option(
    "--limit", "-n", type=click.IntRange(0), help=f"Only the newest N, 0 for all.  [default: {LISTED}; JSON: 0]"
)
@json_option("Print a JSON list, for scripts.")
@click.pass_context
def list_command(
    context: click.Context, config: Path | None, file: Path | None, limit: int | None, *, as_json: bool
) -> None:
    """List the sealed batches, oldest first: id, record numbers, size, first and last time, and whether it was sent.

    Readings of the last minutes are not in a batch yet.

    \b
    Examples:
      wattpost buffer list
      wattpost buffer list --limit 0
      wattpost buffer list --json | jq 'map(select(.held)) | .[].id'
      wattpost buffer list --json | jq -r '.[] | [.id, .oldest.at, .newest.at] | @tsv'
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    from agent.cli.buffer.view import row_document, when  # noqa: PLC0415 - keeps `--help` fast

    with _opened(context, config, file) as (reader, _settings):
        rows = reader.batches()
        wanted = limit if limit is not None else 0 if as_json else LISTED
        shown = rows[-wanted:] if wanted else rows
        dated = [(row, when(reader.body(row.id))) for row in shown]
        if as_json:
            click.echo(json.dumps([row_document(row, times) for row, times in dated], indent=2))
            return
        from agent.cli.buffer.screen import show_list  # noqa: PLC0415 - only a person pays for rich

        show_list(dated, older=len(rows) - len(shown), epochs=len({row.epoch for row in rows}))


@command.command("export", short_help="Copy all sealed batches into a folder, or their readings into SQLite tables.")
@source_options
@click.option("--sqlite", "tables", type=A_FILE, metavar="FILE", help="Write readings and events as tables of FILE.")
@json_option()
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False), required=False)
@click.pass_context
def export_command(
    context: click.Context,
    folder: Path | None,
    config: Path | None,
    file: Path | None,
    *,
    tables: Path | None,
    as_json: bool,
) -> None:
    """Copy all sealed batches into DIR, one file each.

    Each file, DEVICE-EPOCH-FIRST-LAST-REV.wpb, holds exactly the bytes that the box would have sent. It is either whole
    and on the disk, or absent. Existing files are skipped, so an interrupted export can be repeated. Nothing is deleted
    from the buffer: the box goes on sending these batches, and the cloud stores each record once.

    With --sqlite, FILE becomes a SQLite database with the tables `reading` (one column per measurand) and `event`.

    \b
    Examples:
      wattpost buffer export /media/usb
      wattpost buffer export ./kept --file /mnt/card/var/lib/wattpost/buffer.db
      wattpost decode /media/usb/apt-0123-46b59376a9cab6c4-1-22-0.wpb
      wattpost buffer export --sqlite readings.db && sqlite3 readings.db 'SELECT max(at) FROM reading'
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    if (folder is None) == (tables is None):
        raise click.UsageError("name one target: DIR, or --sqlite FILE")
    if tables is not None:
        from agent.cli.buffer.tables import export_tables  # noqa: PLC0415 - keeps `--help` fast

        with _opened(context, config, file) as (reader, _settings):
            export_tables(reader, tables, as_json=as_json)
    if folder is not None:
        _export_batches(context, folder, config, file, as_json=as_json)


def _export_batches(
    context: click.Context, folder: Path, config: Path | None, file: Path | None, *, as_json: bool
) -> None:
    from agent.cli.buffer.export import export  # noqa: PLC0415 - keeps `--help` fast

    try:
        is_folder = folder.is_dir()
    except OSError as error:
        raise CannotCreate(f"cannot open {folder}: {error.strerror}; use a folder that this user can read") from error
    if not is_folder:
        raise CannotCreate(f"there is no folder {folder}; mount the USB stick, or run: mkdir {folder}")
    with _opened(context, config, file, scratch=folder) as (reader, _settings):
        export(reader, folder, as_json=as_json)


@command.command("get", short_help="Write one batch to standard output.")
@source_options
@click.option("--first", "-n", type=click.IntRange(1), metavar="N", help="The batch whose first record is N.")
@click.argument("batch_id", metavar="[ID]", type=click.IntRange(1), required=False)
@click.pass_context
def get_command(
    context: click.Context, batch_id: int | None, first: int | None, config: Path | None, file: Path | None
) -> None:
    """Write the bytes of one batch to standard output. ID is its id in `wattpost buffer list`.

    --first takes the batch whose first record is N, from the newest epoch that has one.

    \b
    Examples:
      wattpost buffer get 17 | wattpost decode -
      wattpost buffer get --first 131 > batch.wpb
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    if (batch_id is None) == (first is None):
        raise click.UsageError("name one batch: its ID, or --first N")
    if sys.stdout.isatty():
        raise click.UsageError("a batch is binary, not for a terminal; pipe it into a command: | wattpost decode -")
    with _opened(context, config, file) as (reader, _settings):
        found = [row for row in reader.batches() if batch_id in (None, row.id) and first in (None, row.first)]
        if not found:
            name = f"the id {batch_id}" if first is None else f"the first record {first}"
            raise NoInput(f"no batch has {name}; it may have been confirmed since; see: wattpost buffer list")
        sys.stdout.buffer.write(reader.body(found[-1].id))
        sys.stdout.buffer.flush()


@command.command("renumber", short_help="Give new numbers to batches that conflict in the cloud.")
@source_options
@json_option()
@click.pass_context
def renumber_command(context: click.Context, config: Path | None, file: Path | None, *, as_json: bool) -> None:
    """Give new record numbers to batches that the cloud holds because their numbers are already used.

    This happens after a backup of the buffer was restored: the box then uses the same numbers again, for other
    readings. Only batches of which, as the cloud says, nothing is stored get new numbers, so nothing is stored twice,
    even if you repeat the command. Each batch gets an event with its old numbers, and is sent like a new one.

    Stop the agent first.

    \b
    Examples:
      sudo systemctl stop wattpost && sudo wattpost buffer renumber && sudo systemctl start wattpost

    Exit codes: as `wattpost buffer`; 69 the agent has the buffer open, 74 it cannot be written.
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    from agent.cli.buffer.renumber import renumber_at  # noqa: PLC0415 - keeps `--help` fast

    renumber_at(_source(context, config, file)[0], as_json=as_json)


def _show(context: click.Context, config: Path | None, file: Path | None, *, as_json: bool) -> None:
    from agent.cli.buffer.view import sum_up, summary_document  # noqa: PLC0415 - keeps `--help` fast

    with _opened(context, config, file) as (reader, settings):
        summary = sum_up(reader, settings)
        if as_json:
            click.echo(json.dumps(summary_document(summary, reader), indent=2))
            return
        from agent.cli.buffer.screen import show_summary  # noqa: PLC0415 - only a person pays for rich

        show_summary(summary, reader.path)


@contextmanager
def _opened(
    context: click.Context, config: Path | None, file: Path | None, scratch: Path | None = None
) -> Iterator[tuple[BufferReader, Settings | None]]:
    """The buffer that the options name, here or before the subcommand; an error is one line."""
    from agent.adapters.buffer.buffer_reader import BufferReader, BufferReadError  # noqa: PLC0415 - keeps `--help` fast

    path, settings = _source(context, config, file)
    if os.path.isdir(path):  # noqa: PTH112 - False without permission; opening the file then gives the error
        raise NoInput(f"cannot read the buffer {path}: Is a directory; name the file in it")
    try:
        opened = BufferReader.open(path, scratch)
    except FileNotFoundError as error:
        step = "the agent creates it when it starts; check [buffer] path, or name another file with --file"
        raise NoInput(f"there is no buffer {path}; {step}") from error
    except PermissionError as error:
        raise NoInput(f"cannot read the buffer {path}: {error.strerror}; run as root: sudo wattpost buffer") from error
    except OSError as error:
        raise NoInput(f"cannot read the buffer {path}: {error.strerror or error}; see `dmesg`") from error
    except BufferReadError as error:
        raise DataError(str(error)) from error
    with opened as reader:
        try:
            yield reader, settings
        except BufferReadError as error:
            raise DataError(str(error)) from error


def _source(context: click.Context, config: Path | None, file: Path | None) -> tuple[Path, Settings | None]:
    """The file, and the configuration unless --file is given, here or before the subcommand."""
    outer = context.parent.params if context.parent is not None else {}
    path = file or (outer.get("file") if config is None else None)
    if path is not None:
        return path, None
    named = config or outer.get("config") or DEFAULT_PATH
    settings = settings_or_exit(named, "to read a buffer without a configuration: wattpost buffer --file BUFFER.DB")
    return _in_use(settings, named) or settings.buffer.path, settings


def _in_use(settings: Settings, config: Path) -> Path | None:
    """The file that a daemon with this configuration has open, if the configuration now names another one."""
    from agent.adapters.system.status_file import running_status  # noqa: PLC0415 - keeps `--help` fast

    for place in dict.fromkeys((settings.status_path, DEFAULT_STATUS_PATH)):
        status = running_status(place)
        if status is None or Path(status.settings.config).resolve() != config.resolve():
            continue
        path = Path(status.settings.buffer_path)
        if path == settings.buffer.path:
            return None
        text = f"this shows {path}, which the daemon still has open; after a restart it opens {settings.buffer.path}"
        click.echo(f"note: [buffer] path has changed: {text}", err=True)
        return path
    return None

"""Show the buffer to people: a summary, and a table of its batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.text import Text

from agent.adapters.buffer.buffer_reader import BatchRow
from agent.cli.buffer.view import Summary, Times, When
from agent.cli.shared.terminal import grid, listing, show
from agent.core.texts import count, size, span
from agent.core.time_units import DAY_MS
from wire.receipt import APART
from wire.utc import format_utc

BOOT_DIGITS = 8
EPOCH_DIGITS = 8
MINUTES = len("2026-01-31 12:00")
DAY = len("2026-01-31 ")


def show_summary(summary: Summary, path: Path) -> None:
    """How much waits, since when, what the cloud holds, and which box the buffer belongs to."""
    made = grid("l", "L")
    for title, lines in (
        ("waiting", _waiting(summary)),
        ("held", _held(summary)),
        ("size", _size(summary)),
        ("owner", _owner(summary)),
    ):
        for number, line in enumerate(lines):
            made.add_row(Text("" if number else title, "dim"), line)
    show(Text.assemble(("buffer", "bold"), f"  {path}"), "", made)


def _waiting(summary: Summary) -> Iterator[str | Text]:
    about = summary.about
    if summary.batches:
        sent = len(summary.batches) - summary.unsent
        unsent = f", {summary.unsent:,} of them never sent" if sent else ", never sent"
        unsent = unsent if summary.unsent else ", all under way to the cloud at least once"
        batches = count(len(summary.batches), "batch", "batches")
        yield f"{count(summary.records, 'record')} in {batches} ({size(summary.size)}){unsent}"
        for title, when in (("oldest", summary.oldest), ("newest", summary.newest)):
            if when is not None:
                yield f"{title} from {_when(when)}"
    if about.open_records:
        yield f"{count(about.open_records, 'record')} not yet in a batch"
    if not summary.batches and not about.open_records:
        yield Text("nothing: all committed records are confirmed" if about.box_id else "nothing was ever written")


def _when(when: When) -> str:
    if when.damage is not None:
        return f"an unknown time: its bytes are damaged ({when.damage})"
    age = f", {span(when.age_ms)} ago" if when.age_ms is not None else ""
    if when.utc_ms is not None:
        return f"{when_text(when.utc_ms)}{age}"
    boot = when.boot.hex()[:BOOT_DIGITS]
    return f"{span(when.mono_ms)} after boot {boot}{age}; the cloud dates it once the time is known"


def when_text(utc_ms: int) -> str:
    """2026-01-31 12:00:00 UTC."""
    return f"{format_utc(utc_ms)[:19].replace('T', ' ')} UTC"


def _held(summary: Summary) -> Iterator[str | Text]:
    if not summary.held:
        yield "nothing is in the cloud's quarantine"
        return
    batches = count(len(summary.held), "batch", "batches")
    yield Text(f"{batches} in the cloud's quarantine; kept here until space is needed", "yellow")
    for row in summary.held:
        yield f"{row.id}  records {row.first:,}..{row.last:,}: {row.held}"
    if any(APART in (row.held or "") for row in summary.held):
        way = "systemctl stop wattpost; wattpost buffer renumber; systemctl start wattpost"
        yield Text(f"to give new numbers to batches that are not stored: {way}", "dim")
    yield Text(f"to look inside: wattpost buffer get {summary.held[0].id} | wattpost decode -", "dim")


def _size(summary: Summary) -> Iterator[str]:
    about, settings = summary.about, summary.settings
    limit = f" of {size(settings.buffer.max_size_bytes)}" if settings is not None else ""
    yield f"{size(about.used_bytes)}{limit} in use; the file takes {size(about.file_bytes)}"


def _owner(summary: Summary) -> Iterator[str | Text]:
    about = summary.about
    if about.box_id is None:
        return
    yield f"box {about.box_id}, epoch {about.epoch.hex()}, numbers used up to {about.last_number:,}"
    if summary.strange is not None:
        yield Text(summary.strange, "yellow")
    for device, batches in summary.of_others.items():
        text = f"{count(batches, 'batch', 'batches')} of box {device}, kept but not sent; see: wattpost buffer export"
        yield Text(text, "yellow")


def show_list(rows: Sequence[tuple[BatchRow, Times]], *, older: int, epochs: int) -> None:
    """One line per batch; `older` is how many batches are not shown, `epochs` how many epochs there are in all."""
    thinned = any(row.rev for row, _ in rows)
    made = listing(
        ("r", "id"),
        *([("l", "epoch")] if epochs > 1 else []),
        ("r", "numbers"),
        *([("r", "rev")] if thinned else []),
        *(("r", "records"), ("r", "bytes"), ("l", "from (UTC)"), ("l", "to"), ("l", "receipt"), ("L", "state")),
    )
    for row, times in rows:
        made.add_row(
            str(row.id),
            *([row.epoch.hex()[:EPOCH_DIGITS]] if epochs > 1 else []),
            f"{row.first}..{row.last}",
            *([str(row.rev)] if thinned else []),
            *(str(row.records), str(row.size), *_from_to(*times)),
            *("asked" if row.confirm_wanted else "", _state(row)),
        )
    show(made)
    if older:
        show("", Text(f"and {count(older, 'older batch', 'older batches')}: --limit 0 lists all", "dim"))


def _from_to(oldest: When, newest: When) -> tuple[str, str]:
    """First and last time; the last without its date, so that a line fits 80 columns, unless it is a day later."""
    if oldest.damage is not None:
        return "damaged", ""
    if oldest.utc_ms is None or newest.utc_ms is None:
        return f"boot {oldest.boot.hex()[:BOOT_DIGITS]} + {span(oldest.mono_ms)}", f"+ {span(newest.mono_ms)}"
    end = when_text(newest.utc_ms)[:MINUTES]
    return when_text(oldest.utc_ms)[:MINUTES], end if newest.utc_ms - oldest.utc_ms >= DAY_MS else end[DAY:]


def _state(row: BatchRow) -> Text:
    """Under way from before the publish on: only a receipt says that the batch has arrived."""
    if row.held is not None:
        return Text(f"held: {row.held}", "yellow")
    return Text("under way") if row.sent else Text("waits", "cyan")

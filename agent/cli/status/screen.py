"""Show the status to people: the verdict first, then meters, buffer, uplink and the program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agent.cli.shared.terminal import grid, show
from agent.cli.status.view import View
from agent.core.system.status import MeterStatus, Status
from agent.core.texts import count, size, span, unit_of

VERDICT_STYLE = {"good": "bold green", "attention": "bold yellow", "not running": "bold red"}
HEADLINE = ("power_active_total", "power_active_l1", "energy_active_import_total")
WEAKER = 'weaker promise: with confirm = "puback" a batch is deleted once the broker has it, not once it is stored'


def show_status(view: View, *, values: bool) -> None:
    """Print the view; `values` adds every value of the last readings."""
    blocks: list[RenderableType] = [_verdict(view)]
    status = view.status
    if status is not None:
        blocks += ["", _meters(status, view.age_ms or 0)] if view.running else [""]
        blocks.append(_rest(status, running=view.running))
        for name, meter in status.meters.items() if values else ():
            blocks += ["", _values(name, meter)]
    show(*blocks)


def _verdict(view: View) -> Table:
    made = grid("l", "l", "L")
    style = VERDICT_STYLE[view.verdict]
    if not view.findings and view.status is not None:
        made = grid("l", "L")
        made.add_row(Text(view.verdict, style), _summary(view.status))
    for number, finding in enumerate(view.findings):
        made.add_row(Text("" if number else view.verdict, style), Text(finding.subject, "bold"), finding.text)
    return made


def _summary(status: Status) -> str:
    meters = f"{status.box} reads {count(len(status.meters), 'meter')} and is connected"
    waiting = status.buffer.records
    return f"{meters}; {count(waiting, 'record')} not yet confirmed" if waiting else f"{meters}; all is confirmed"


def _meters(status: Status, file_age_ms: int) -> Table:
    made = grid("l", "l", "l", "l", "r", "r", "l", "L")
    for number, (name, meter) in enumerate(status.meters.items()):
        settings = status.settings.meters.get(name)
        value, unit = _headline(meter.values)
        made.add_row(
            Text("" if number else "meters", "dim"),
            name,
            settings.model if settings else "",
            Text(meter.state.replace("_", " "), "green" if meter.state == "ok" else "yellow"),
            "never" if meter.age_ms is None else f"{span(meter.age_ms + file_age_ms)} ago",
            Text(value, "bold"),
            unit,
            Text(", ".join(_losses(meter)), "dim"),
        )
    return made


def _losses(meter: MeterStatus) -> Iterator[str]:
    if meter.slots_missed:
        yield f"{count(meter.slots_missed, 'slot')} missed"
    if meter.flagged_values:
        yield f"{meter.flagged_values:,} values flagged"


def _headline(values: Mapping[str, float | int | None]) -> tuple[str, str]:
    """The most useful value, and its unit."""
    for name in (*HEADLINE, *values):
        value = values.get(name)
        if value is not None:
            return f"{value}", unit_of(name)
    return "-", ""


def _rest(status: Status, *, running: bool) -> Table:
    made = grid("l", "L")
    sections = [("buffer", _buffer(status)), ("uplink", _uplink(status))] if running else []
    for title, lines in [*sections, ("agent", _agent(status, running=running))]:
        for number, line in enumerate(lines):
            made.add_row(Text("" if number else title, "dim"), line)
    return made


def _buffer(status: Status) -> Iterator[str | Text]:
    buffer, limit = status.buffer, status.settings.buffer_max_bytes
    if buffer.records:
        in_batches = f"{buffer.batch_records:,} in {count(buffer.batches, 'batch', 'batches')}"
        parts = [in_batches] if buffer.batches else []
        parts += [f"{buffer.held_batches:,} of them held by the cloud"] if buffer.held_batches else []
        parts += [f"{buffer.open_records:,} not yet in a batch"] if buffer.open_records else []
        parts += [f"{buffer.pending_records:,} in memory"] if buffer.pending_records else []
        age = f"; the oldest for {span(buffer.oldest_age_ms)}" if buffer.oldest_age_ms is not None else ""
        yield f"{count(buffer.records, 'record')} wait: {', '.join(parts)}{age}"
    else:
        yield "nothing waits"
    yield Text(f"{size(buffer.used_bytes)}{_share(buffer.used_bytes, limit)}, in {status.settings.buffer_path}", "dim")


def _share(used_bytes: int, limit_bytes: int) -> str:
    if not limit_bytes:  # a daemon of another version may not report it
        return ""
    share = 100 * used_bytes / limit_bytes
    shown = "under 0.1 %" if share < 0.1 else f"{share:.1f} %"  # noqa: PLR2004 - a tenth, as it is shown
    return f", {shown} of {size(limit_bytes)}"


def _uplink(status: Status) -> Iterator[str | Text]:
    uplink, settings = status.uplink, status.settings
    if uplink.connected:
        since = f" for {span(uplink.connected_ms)}" if uplink.connected_ms is not None else ""
        yield f"connected to {settings.endpoint}{since}"
    else:
        yield Text(f"not connected to {settings.endpoint}", "yellow")
    confirmed = count(uplink.confirmed_records, "record")
    sent = f"{count(uplink.published_batches, 'batch', 'batches')} sent, {confirmed} confirmed since the start"
    if settings.confirm == "puback":
        yield sent
        yield Text(WEAKER, "yellow")
    elif uplink.receipt_age_ms is None:
        yield f"no receipt yet; {sent}"
    else:
        interval_ms = settings.confirm_interval_ms
        every = f"asked for about every {span(interval_ms)}" if interval_ms else "asked for with each batch"
        yield f"last receipt {span(uplink.receipt_age_ms)} ago ({every}); {sent}"


def _agent(status: Status, *, running: bool) -> Iterator[str | Text]:
    state = f"pid {status.pid}, up {span(status.up_ms)}" if running else f"was pid {status.pid}"
    memory = f", at most {size(status.rss_max_bytes)} of memory" if running else ""
    clock = "" if status.utc_ms is not None or not running else ", clock not known yet"
    yield f"wattpost {status.version}, box {status.box}, {state}{memory}{clock}"
    yield Text(f"configuration {status.settings.config}, revision {status.settings.revision}", "dim")


def _values(name: str, meter: MeterStatus) -> RenderableType:
    made = grid("l", "l", "r", "l", "l")
    for number, (measurand, value) in enumerate(meter.values.items()):
        shown = Text("missing", "yellow") if value is None else Text(f"{value}", "bold")
        flags = Text(", ".join(meter.quality.get(measurand, ())).replace("_", " "), "yellow")
        made.add_row(Text("" if number else name, "dim"), measurand, shown, unit_of(measurand), flags)
    if meter.doubt is None or meter.doubt_age_ms is None:
        return made
    return Group(made, Text(f"{span(meter.doubt_age_ms)} ago: {meter.doubt}", "dim"))

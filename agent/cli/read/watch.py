"""`wattpost read --watch`: read repeatedly until Ctrl-C and print a changing table, lines, or JSON lines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from agent.cli.read.table import table, title
from agent.cli.shared.borrow import borrowed
from agent.cli.shared.judging import Judges
from agent.cli.shared.reading import Taken, as_document, failures, take_all
from agent.cli.shared.terminal import console
from agent.core.texts import count, unit_of
from drivers.building import BuiltMeter
from wire.utc import format_utc

Show = Callable[[Sequence[Taken]], None]


def follow(drivers: Sequence[BuiltMeter], status_path: Path, period_s: float, *, as_json: bool, raw: bool) -> None:
    """Read every `period_s` until Ctrl-C. A daemon that has a line lends it for the duration of each reading."""
    out = console()
    with suppress(KeyboardInterrupt):
        if as_json:
            asyncio.run(_readings(drivers, status_path, period_s, lambda taken: _print_json(taken, raw=raw)))
        elif not out.is_terminal:
            asyncio.run(_readings(drivers, status_path, period_s, lambda taken: _print_lines(taken, status_path)))
        else:
            with Live(console=out, auto_refresh=False, vertical_overflow="crop") as live:
                screen = WatchScreen(live, status_path, period_s, raw=raw)
                asyncio.run(_readings(drivers, status_path, period_s, screen.show))


async def _readings(drivers: Sequence[BuiltMeter], status_path: Path, period_s: float, show: Show) -> None:
    """Begin each round a whole number of periods after the first. Skip rounds that should begin during a slow one."""
    loop = asyncio.get_running_loop()
    first_s, told = loop.time(), False
    ports = [driver.line.port for driver in drivers]
    judges = Judges()
    while True:
        with borrowed(ports, status_path, quiet=told) as refused:
            taken = await take_all(drivers, refused, judges)
        told = True
        show(taken)
        await asyncio.sleep(period_s - (loop.time() - first_s) % period_s)


def _print_json(taken: Sequence[Taken], *, raw: bool) -> None:
    for one in taken:
        click.echo(json.dumps(as_document(one, raw=raw)))


def _print_lines(taken: Sequence[Taken], status_path: Path) -> None:
    for one in taken:
        document = as_document(one, raw=False)
        pairs = (f"{name}={_shown(value)}{unit_of(name)}" for name, value in document["values"].items())
        if one.sample is not None:
            click.echo(f"{format_utc(one.utc_ms)} {one.meter.name} {' '.join(pairs)}")
    for text in failures(taken, status_path):
        click.echo(f"Error: {text}", err=True)


def _shown(value: float | None) -> str:
    return "missing" if value is None else f"{value}"


class WatchScreen:
    """The last reading of each meter, and the change since the one before."""

    def __init__(self, live: Live, status_path: Path, period_s: float, *, raw: bool) -> None:
        self._live = live
        self._status_path = status_path
        self._period_s = period_s
        self._raw = raw
        self._before: dict[str, Taken] = {}

    def show(self, taken: Sequence[Taken]) -> None:
        blocks: list[RenderableType] = []
        for one in taken:
            if one.sample is None:
                continue
            before = self._before.get(one.meter.name)
            blocks += [title(one), table(one, one.sample, raw=self._raw, before=before or one), ""]
            self._before[one.meter.name] = one
        errors = [Text(f"Error: {text}", "yellow") for text in failures(taken, self._status_path)]
        at = format_utc(max(one.utc_ms for one in taken))
        rule = f"{at}, every {self._period_s:g} s; Ctrl-C ends"
        out = self._live.console
        hidden = len(out.render_lines(Group(rule, *errors, *blocks[:-1]))) - out.height
        more = f" and shows {count(hidden, 'line')} more" if hidden > 0 else ""
        # The first lines are those that must not be cut off if the terminal is too low.
        self._live.update(Group(Text(rule + more, "dim"), *errors, *blocks[:-1]), refresh=True)

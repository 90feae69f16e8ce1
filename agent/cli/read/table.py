"""Readings as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from agent.cli.shared.reading import Taken
from agent.cli.shared.terminal import listing, show
from agent.core.texts import unit_of
from drivers.building import HasOrigin
from drivers.meter import Sample
from wire.batch import Column
from wire.document import flag_names

MISSING = "missing"


def show_readings(taken: Sequence[Taken], *, raw: bool) -> None:
    """One table for each meter that answered; `raw` adds the registers behind each value."""
    answered = [(one, one.sample) for one in taken if one.sample is not None]
    blocks = [block for one, sample in answered for block in ("", title(one), table(one, sample, raw=raw))]
    if blocks:
        show(*blocks[1:])


def table(taken: Taken, sample: Sample, *, raw: bool, before: Taken | None = None) -> RenderableType:
    """Measurand, value, unit, quality; with `raw` also function code and address, or code, and what was sent there.

    `before` is the reading to compare the values with.
    """
    columns = [("l", "measurand"), ("r", "value"), ("l", "unit"), ("l", "quality")]
    columns[2:2] = [("r", "change")] if before is not None else []
    sent = "sent" if isinstance(taken.meter, HasOrigin) else "registers"
    made = listing(*columns, *([("r", "from"), ("L", sent)] if raw else []))
    flags = sample.flags or (0,) * len(sample.values)
    old = before.sample.values if before is not None and before.sample is not None else sample.values
    origins = list(taken.origins()) if raw else []
    for number, column in enumerate(taken.meter.columns):
        steps = sample.values[number]
        change = [_change(column, old[number], steps)] if before is not None else []
        where = list(origins[number]) if raw else []
        quality = _quality(flags[number]) if steps is not None or flags[number] else Text("not sent now", "yellow")
        made.add_row(column.measurand, _value(column, steps), *change, unit_of(column.measurand), quality, *where)
    return made


def _change(column: Column, before: int | None, steps: int | None) -> Text:
    """The difference to `before`; empty if the value did not change."""
    if before is None or steps is None or before == steps:
        return Text("")
    return Text(f"{(steps - before) * column.resolution.step:+f}", "bold cyan")


def title(taken: Taken) -> Text:
    """Which meter, where, and how long it took."""
    meter, line = taken.meter, taken.meter.line
    model = "" if meter.name == meter.profile.model else f"{meter.profile.model}, "
    unit = "" if isinstance(meter, HasOrigin) and meter.profile.protocol != "mbus" else f"unit {meter.unit} "
    where = f"{model}{unit}on {line.port} ({line.settings}), read in {taken.took_ms} ms"
    return Text.assemble((meter.name, "bold"), f"  {where}")


def _value(column: Column, steps: int | None) -> Text:
    """With as many decimals as the resolution has."""
    if steps is None:
        return Text(MISSING, "yellow")
    return Text(f"{steps * column.resolution.step:f}", "bold")


def _quality(flags: int) -> Text:
    if not flags:
        return Text("good", "green")
    return Text(", ".join(flag_names(flags)).replace("_", " "), "yellow")

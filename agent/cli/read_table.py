"""Readings as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from agent.cli.reading import Taken
from agent.cli.terminal import listing, show
from agent.cli.texts import unit_of
from drivers.meter import Sample
from wire.batch import Column
from wire.document import flag_names

MISSING = "missing"


def show_readings(taken: Sequence[Taken], *, raw: bool) -> None:
    """One table for each meter that answered; `raw` adds the registers behind each value."""
    answered = [(one, one.sample) for one in taken if one.sample is not None]
    blocks = [block for one, sample in answered for block in ("", _title(one), table(one, sample, raw=raw))]
    if blocks:
        show(*blocks[1:])


def table(taken: Taken, sample: Sample, *, raw: bool) -> RenderableType:
    """Measurand, value, unit, quality; `raw`: function code and address, and the words in hexadecimal."""
    columns = [("l", "measurand"), ("r", "value"), ("l", "unit"), ("l", "quality")]
    made = listing(*columns, *([("r", "from"), ("L", "registers")] if raw else []))
    flags = sample.flags or (0,) * len(sample.values)
    for column, register, steps, flag in zip(taken.meter.columns, taken.registers, sample.values, flags, strict=True):
        where = [f"FC{register.function_code} {register.address}", _hex(taken.words(register))] if raw else []
        made.add_row(column.measurand, _value(column, steps), unit_of(column.measurand), _quality(flag), *where)
    return made


def _title(taken: Taken) -> Text:
    meter, line = taken.meter, taken.meter.line
    model = "" if meter.name == meter.profile.model else f"{meter.profile.model}, "
    where = f"{model}unit {meter.unit} on {line.port} ({line.settings}), read in {taken.took_ms} ms"
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


def _hex(words: Sequence[int]) -> str:
    return " ".join(f"{word:04X}" for word in words)

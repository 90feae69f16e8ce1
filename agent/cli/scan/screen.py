"""The progress of a scan and the meters that it found, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import click
from rich.console import RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from agent.cli.scan.run import FoundMeter, ScannedLine
from agent.cli.shared.terminal import console, listing, show
from agent.core.metering.scan_plan import ScanStep, Setting, expected_ms, naive_ms, narrowed
from agent.core.texts import span
from agent.core.time_units import SECOND_MS

SURE, RATHER_SURE = 0.9, 0.6


def outlook(line: ScannedLine) -> str:
    """How many questions the scan asks and how long they take; printed before it starts."""
    steps, probes = line.steps, sum(len(step.units) for step in line.steps)
    low, high = (span(round(each)) for each in naive_ms(steps))
    settings = list(dict.fromkeys(step.setting for step in steps))
    if not settings or settings[0] is None:
        longest = _about(sum(len(step.units) * step.wait_ms for step in steps))
        return f"{line.port}: {probes:,} questions: {_about(expected_ms(steps))} expected, {longest} at most"
    listening_ms = (line.listen_first_s + line.listen_last_s) * SECOND_MS
    expected = f"{_about(expected_ms(steps) + listening_ms)} expected"
    if not line.whole:
        expected += f", {_about(expected_ms(narrowed(steps, settings[0])))} once a meter answers at {settings[0]}"
    naive = f"waiting 0.5 to 1 s for each would take {low} to {high}"
    return f"{line.port}: {len(settings)} settings, {probes:,} questions: {expected} ({naive})"


def _about(time_ms: float) -> str:
    seconds = round(time_ms / SECOND_MS)
    return f"{seconds} s" if seconds < 100 else f"{seconds // 60} min {seconds % 60} s"  # noqa: PLR2004 - as `span`


def where(setting: Setting | None) -> str:
    """The settings of a line."""
    return "Modbus TCP" if setting is None else str(setting)


class ScanScreen:
    """A bar per line on standard error if it is a terminal; otherwise lines of text, unless `quiet`."""

    def __init__(self, *, quiet: bool) -> None:
        out = console(stderr=True)
        self._quiet = quiet
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[left]}"),
            console=out,
            transient=True,
            disable=not out.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """A line above the bars."""
        if not self._quiet:
            out = self._progress.console
            out.print(text, soft_wrap=not out.is_terminal)

    def planned(self, port: str, left_ms: float) -> None:
        self._bars[port] = self._progress.add_task(port, total=max(left_ms, 1), left="")

    def advanced(self, port: str, step: ScanStep, unit: int, left_ms: float) -> None:
        bar = self._bars[port]
        task = next(task for task in self._progress.tasks if task.id == bar)
        gone_ms = (task.elapsed or 0) * SECOND_MS
        name = port.rpartition("/")[2][-40:]
        self._progress.update(
            bar,
            completed=gone_ms,
            total=gone_ms + left_ms + 1,
            description=f"{name}  {where(step.setting)} unit {unit}",
            left=f"{_about(left_ms)} left",
        )

    def found(self, found: FoundMeter) -> None:
        best = " or ".join(_models(found)) or "an unknown model"
        who = "a meter that sends unasked" if found.sends else f"unit {found.unit}"
        self.say(f"found: {who} on {found.port} ({where(found.setting)}): {best}")

    def said(self, port: str, text: str) -> None:
        self.say(f"{port}: {text}")


def show_found(found: Sequence[FoundMeter]) -> None:
    """The meters of each port, and how each was recognised."""
    blocks: list[RenderableType] = []
    for port in dict.fromkeys(one.port for one in found):
        mine = [one for one in found if one.port == port]
        blocks += ["", Text(port, "bold"), _table(mine)]
        blocks += [Text(f"{_unit(one)}: {_decided(one)}", "dim") for one in mine]
    show(*blocks[1:])


def _table(found: Sequence[FoundMeter]) -> Table:
    made = listing(
        ("l", "settings"), ("r", "unit"), ("l", "model"), ("r", "sure"), ("l", "serial number"), ("r", "voltage")
    )
    for one in found:
        made.add_row(
            where(one.setting),
            "any" if one.any_unit else "sends" if one.sends else str(one.unit),
            Text("\n".join(_models(one)) or "unknown", "bold"),
            _sure(one),
            one.identified.serial_number,
            _voltage(one),
        )
    return made


def _models(found: FoundMeter) -> tuple[str, ...]:
    """The likeliest model, or all of the likeliest if they cannot be told apart."""
    return found.identified.tied or tuple(each.model for each in found.identified.candidates[:1])


def _unit(found: FoundMeter) -> str:
    return "any unit" if found.any_unit else "sends unasked" if found.sends else f"unit {found.unit}"


def _decided(found: FoundMeter) -> str:
    if found.identified.candidates:
        return found.identified.candidates[0].decided
    said = found.identified.nameplate
    return f"no profile fits{f'; it says {said}' if said else ''}; make one: wattpost new-profile"


def _sure(found: FoundMeter) -> Text:
    """The certainty of the model, or of the group of models that look alike."""
    candidates = found.identified.candidates
    if not candidates:
        return Text("-")
    confidence = candidates[0].confidence
    style = "green" if confidence >= SURE else "yellow" if confidence >= RATHER_SURE else "red"
    return Text(f"{confidence:.0%}", style)


def _voltage(found: FoundMeter) -> str:
    value = next((value for name, value in found.identified.values.items() if name.startswith("voltage")), None)
    return "" if value is None else f"{value:.1f} V"


def as_document(lines: Sequence[ScannedLine], *, complete: bool) -> dict[str, Any]:
    """For `--json`."""
    return {
        "complete": complete,
        "lines": [
            {
                "port": line.port,
                "error": None if line.error is None else {"reason": line.error.reason, "text": str(line.error)},
                "found": [_as_object(found) for found in line.found],
            }
            for line in lines
        ],
    }


def _as_object(found: FoundMeter) -> dict[str, Any]:
    setting, identified = found.setting, found.identified
    line = None if setting is None else {
        "baudrate": setting.baudrate, "databits": setting.databits, "parity": setting.parity,
        "stopbits": setting.stopbits,
    }  # fmt: skip
    return {
        "port": found.port,
        "line": line,
        "unit": found.unit,
        "any_unit": found.any_unit,
        "sends": found.sends,
        "serial_number": identified.serial_number or None,
        "nameplate": identified.nameplate or None,
        "tied": list(identified.tied),
        "candidates": [
            {"model": each.model, "vendor": each.vendor, "confidence": each.confidence, "decided": each.decided}
            for each in identified.candidates
        ],
        "values": dict(identified.values),
    }


def failures(lines: Sequence[ScannedLine]) -> None:
    """One line for each port that could not be scanned."""
    for line in lines:
        if line.error is not None:
            click.echo(f"Error: {line.error}", err=True)

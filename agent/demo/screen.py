"""The live screen of the demonstration: what is read, buffered, sent, confirmed, stored, and the power as a chart."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agent.demo.scenario import Scenario

CHART_WIDTH = 60
CHART_HEIGHT = 5
NEWS_LINES = 6
BLOCKS = " ▁▂▃▄▅▆▇█"
SHOWN = (
    ("power_active_total", "W", "power"),
    ("voltage_l1_n", "V", "voltage L1"),
    ("current_l1", "A", "current L1"),
    ("frequency", "Hz", "frequency"),
    ("energy_active_import_total", "Wh", "imported"),
)


def chart(values: Sequence[float], height: int = CHART_HEIGHT) -> list[str]:
    """`height` lines of block characters, the newest value at the right, from the smallest value to the largest."""
    low, high = min(values, default=0), max(values, default=0)
    span = (high - low) or 1
    eighths = [1 + round((value - low) / span * (height * 8 - 1)) for value in values]
    return [
        "".join(BLOCKS[max(0, min(8, part - row * 8))] for part in eighths).rjust(CHART_WIDTH)
        for row in reversed(range(height))
    ]


class Screen:
    """Renders a `Scenario`; `say` takes a line of news."""

    def __init__(self) -> None:
        self._news: deque[str] = deque(maxlen=NEWS_LINES)
        self._power: deque[float] = deque(maxlen=CHART_WIDTH)

    def say(self, text: str) -> None:
        self._news.append(text)

    def render(self, scenario: Scenario) -> RenderableType:
        status, served = scenario.status(), scenario.served()
        self._power.clear()
        self._power.extend(
            line["values"]["power_active_total"] for line in served if "power_active_total" in line["values"]
        )
        return Group(
            self._flow(scenario, status, len(served)),
            self._meter(status),
            Panel(Text("\n".join(chart(self._power)), style="cyan"), title=_range(self._power), title_align="left"),
            Panel(Text("\n".join(self._news)), title="what happened", title_align="left"),
            Text(_footer(scenario), style="dim"),
        )

    def _flow(self, scenario: Scenario, status: Mapping[str, Any], served: int) -> RenderableType:
        buffer, uplink = status.get("buffer", {}), status.get("uplink", {})
        table = Table(expand=True, show_edge=False)
        for title in ("meter", "read", "buffered on the box", "network", "sent", "stored in the cloud", "confirmed"):
            table.add_column(title, justify="center")
        waiting = buffer.get("pending_records", 0) + buffer.get("open_records", 0) + buffer.get("batch_records", 0)
        network = Text("up", "green") if scenario.link == "up" else Text(scenario.link, "bold red")
        agent = status.get("meters", {}).get("main", {}).get("readings", 0)
        table.add_row(
            f"{served} served",
            str(agent),
            f"{waiting} records",
            network,
            f"{uplink.get('published_batches', 0)} batches",
            f"{len(scenario.stored)} readings",
            f"{uplink.get('confirmed_records', 0)} records",
        )
        return Panel(table, title="[bold]wattpost[/bold] from the meter to the cloud and back", title_align="left")

    def _meter(self, status: Mapping[str, Any]) -> RenderableType:
        values = status.get("meters", {}).get("main", {}).get("values", {})
        table = Table.grid(expand=True)
        for _ in SHOWN:
            table.add_column(justify="center")
        table.add_row(*(f"[dim]{title}[/dim]" for _, _, title in SHOWN))
        table.add_row(*(f"[bold]{values.get(name, '-')}[/bold] {unit}" for name, unit, _ in SHOWN))
        return Panel(table, title="Eastron SDM630, as the agent reads it", title_align="left")


def _range(power: Sequence[float]) -> str:
    between = f", {min(power):.0f} to {max(power):.0f} W" if power else ""
    return f"active power in the last minute{between}"


def _footer(scenario: Scenario) -> str:
    rest = f" of {scenario.plan.for_s:.0f}" if scenario.plan.for_s else ""
    return f" {scenario.elapsed_s:.0f}{rest} s · logs and configuration in {scenario.folder} · Ctrl-C ends it"

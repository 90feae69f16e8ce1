"""The live screen of the demonstration: what is read, buffered, sent, confirmed, stored, and the power as a chart."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agent.core.system.status import Status
from demo.scenario import Counts, Scenario, short

CHART_S_MAX = 300
CHART_LINES_MAX = 10
NEWS_LINES_MAX = 14
CHART_SHARE = 0.4  # of the lines that are neither frame nor number; the news have the rest
FIXED_LINES = 14  # all that is neither chart nor news, frames included
FRAME_COLUMNS = 4
COUNTED = "records: readings and events; read, sent, confirmed since the agent began"
BLOCKS = " ▁▂▃▄▅▆▇█"
SHOWN = (
    ("power_active_total", "W", "power"),
    ("voltage_l1_n", "V", "voltage L1"),
    ("current_l1", "A", "current L1"),
    ("frequency", "Hz", "frequency"),
    ("energy_active_import_total", "Wh", "imported"),
)


def chart(values: Sequence[float], width: int, height: int) -> list[str]:
    """`height` lines of block characters, the newest value at the right, from the smallest value to the largest."""
    values = values[-width:]
    low, high = min(values, default=0), max(values, default=0)
    span = (high - low) or 1
    eighths = [1 + round((value - low) / span * (height * 8 - 1)) for value in values]
    return [
        "".join(BLOCKS[max(0, min(8, part - row * 8))] for part in eighths).rjust(width)
        for row in reversed(range(height))
    ]


class DemoScreen:
    """Renders a `Scenario` to fit a terminal of 80x24 or more; `say` takes a line of news."""

    def __init__(self) -> None:
        self._news: deque[str] = deque(maxlen=NEWS_LINES_MAX)

    def say(self, text: str) -> None:
        self._news.append(text)

    def render(self, scenario: Scenario, columns: int, lines: int) -> RenderableType:
        """What there is to see now; what a terminal has to spare goes to the chart and the news."""
        free = max(2, lines - FIXED_LINES)
        chart_lines = max(1, min(int(free * CHART_SHARE), CHART_LINES_MAX))
        news_lines = min(free - chart_lines, NEWS_LINES_MAX)
        width = columns - FRAME_COLUMNS
        status, power = scenario.status(), scenario.power()
        served, power = len(power), power[-min(width, CHART_S_MAX) :]
        news = "\n".join(list(self._news)[-news_lines:])
        return Group(
            self._flow(scenario, status, served),
            self._meter(status),
            _panel(_line("\n".join(chart(power, width, chart_lines)), "cyan"), _range(power)),
            _panel(_line(news + "\n" * (news_lines - 1 - news.count("\n"))), "what happened"),
            _line(_footer(scenario), "dim"),
        )

    def _flow(self, scenario: Scenario, status: Status | None, served: int) -> RenderableType:
        counts = Counts.of(scenario, status)
        table = Table(box=None, expand=True, padding=(0, 1), header_style="dim")
        for title in ("readings\nserved", "readings\nread", "records\non the box", "the\nnetwork", "batches\nsent"):
            table.add_column(title, justify="center")
        for title in ("readings\nstored", "records\nconfirmed"):
            table.add_column(title, justify="center")
        network = Text("up", "bold green") if scenario.link == "up" else Text(scenario.link, "bold red")
        numbers = [served, counts.read, counts.waiting, network, counts.sent, counts.stored, counts.confirmed]
        table.add_row(*(one if isinstance(one, Text) else Text(str(one), "bold") for one in numbers))
        return _panel(table, "[bold]wattpost[/bold] from the meter to the cloud and back", COUNTED)

    def _meter(self, status: Status | None) -> RenderableType:
        meters = status.meters if status is not None else {}
        values = meters["main"].values if "main" in meters else {}
        table = Table.grid(expand=True)
        for _ in SHOWN:
            table.add_column(justify="center")
        table.add_row(*(f"[dim]{title}[/dim]" for _, _, title in SHOWN))
        table.add_row(*(f"[bold]{values.get(name, '-')}[/bold] {unit}" for name, unit, _ in SHOWN))
        return _panel(table, "Eastron SDM630, as the agent reads it")


def _panel(content: RenderableType, title: str, note: str | None = None) -> Panel:
    return Panel(content, title=title, title_align="left", subtitle=note, subtitle_align="left")


def _line(text: str, style: str = "") -> Text:
    """Lines that are cut rather than broken, so that the screen keeps its height."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _range(power: Sequence[float]) -> str:
    between = f", {min(power):.0f} to {max(power):.0f} W" if power else ""
    return f"active power, a column a second{between}"


def _footer(scenario: Scenario) -> str:
    rest = f" of {scenario.plan.for_s:.0f}" if scenario.plan.for_s else ""
    return f" {scenario.elapsed_s:.0f}{rest} s · Ctrl-C ends it · logs are in {short(scenario.folder)}"

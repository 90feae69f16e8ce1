"""`wattpost demo`: the main job on this machine, from a simulated meter to a local cloud and back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.settings.quantities import parse_duration_ms

if TYPE_CHECKING:
    from demo.scenario import Scenario

LEAST_S = 10.0  # without the outage: the first batch is sent after 5 s
LOOK_S, LOOK_SHARE = 3.0, 5.0
NEEDED = ("boto3", "cryptography", "ministack")  # the extra `local`


class Seconds(click.ParamType[float]):
    """`60s`, `5min` or a bare number of seconds."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        try:
            return float(value)
        except ValueError:
            pass
        try:
            return parse_duration_ms(value) / 1000
        except ValueError:
            self.fail(f"{value!r} is no duration; write for example 60s or 5min", param, ctx)


@click.command("demo", short_help="See all of it run on this machine, without a meter.")
@click.option(
    "--for",
    "for_s",
    type=Seconds(),
    default=None,
    help=f"End after this long, and compare both ends; at least {LEAST_S:g}s, and {LEAST_S:g}s longer than --outage.",
)
@click.option("--plain", is_flag=True, help="Lines of text, as without a terminal, instead of the live screen.")
@click.option("--outage", "outage_s", type=Seconds(), default=0.0, help="Cut the box from the cloud in the middle.")
@click.option("--crash", is_flag=True, help="kill -9 the agent in the middle (of the outage, if there is one).")
@click.option("--seed", default=1, show_default=True, help="Same seed, same household.")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".demo"),
    show_default=True,
    help="Where logs, configuration, buffer and certificates go; emptied at the start.",
)
def command(*, for_s: float | None, plain: bool, outage_s: float, crash: bool, seed: int, folder: Path) -> None:
    """See the main job run: a meter, the agent and a cloud, all on this machine.

    A simulated Eastron SDM630 on a serial line is read once a second by the agent; a local AWS with the deployed
    template stores the readings and confirms them. The live screen shows how far each has come.

    With --for it ends by comparing what the meter served with what the store holds, value by value. The exit code is
    0 only if nothing was lost, stored twice or wrong, 1 if something was, 69 if a part could not be started.

    \b
    Examples:
      wattpost demo
      wattpost demo --for 60s --plain
      wattpost demo --for 60s --plain --outage 20s --crash
    """  # noqa: D301 - \b is click's mark for a paragraph that is not to be rewrapped
    if for_s is not None and for_s < outage_s + LEAST_S:
        longer = f", {LEAST_S:g}s longer than --outage" if outage_s else ""
        raise click.UsageError(f"--for {for_s:g}s is too short; give at least {outage_s + LEAST_S:g}s{longer}")
    if any(find_spec(name) is None for name in NEEDED):
        click.echo("Error: wattpost demo needs pip install 'wattpost[local]'", err=True)
        raise click.exceptions.Exit(os.EX_UNAVAILABLE)
    from demo.folder import FolderError, own_folder  # noqa: PLC0415 - keeps `--help` fast
    from demo.processes import ChildError  # noqa: PLC0415
    from demo.scenario import Plan, Scenario  # noqa: PLC0415

    plain = plain or not _has_screen()
    folder = folder.resolve()
    scenario = Scenario(Plan(for_s, outage_s, crash, seed), folder, click.echo if plain else lambda _text: None)
    try:
        with own_folder(folder):
            code = asyncio.run(_run(scenario, plain=plain))
    except FolderError as error:
        click.echo(f"Error: {error}", err=True)
        code = error.code
    except ChildError as error:
        click.echo(f"demo: {error}", err=True)
        code = os.EX_UNAVAILABLE
    raise click.exceptions.Exit(code)


def _has_screen() -> bool:
    """Whether standard output is a terminal that can show more than lines."""
    from rich.console import Console  # noqa: PLC0415 - as above

    console = Console()
    return console.is_terminal and not console.is_dumb_terminal


async def _run(scenario: Scenario, *, plain: bool) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # SIGHUP: the terminal is closed
        loop.add_signal_handler(number, stopped.set)
    work = asyncio.create_task(_play(scenario) if plain else _play_on_screen(scenario))
    stop = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
            await _say_stopped(scenario)
            return os.EX_OK
        return work.result()
    finally:
        stop.cancel()
        await scenario.stop()


async def _say_stopped(scenario: Scenario) -> None:
    """The last counts, which the live screen took with it, and where to look on."""
    from demo.processes import ChildError  # noqa: PLC0415 - as below
    from demo.scenario import Counts, short  # noqa: PLC0415 - there is a scenario, so it is loaded

    if scenario.connection:
        with contextlib.suppress(ChildError):  # the cloud is gone before us; the last look has to do
            await scenario.look()
    counts, served = Counts.of(scenario, scenario.status()), len(scenario.power())
    readings = f"readings: served {served}, read {counts.read}, stored in the cloud {counts.stored}"
    click.echo(f"stopped after {scenario.elapsed_s:.0f} s; {readings}")
    click.echo(f"records (readings and events): confirmed {counts.confirmed}")
    click.echo("the two ends were not compared, value by value; --for does that")
    click.echo(f"logs, configuration and buffer are in {short(scenario.folder)}")


async def _play(scenario: Scenario) -> int:
    await scenario.start()
    progress = asyncio.create_task(_report(scenario))
    try:
        await scenario.play()
    finally:
        progress.cancel()
    return await _finish(scenario)


async def _report(scenario: Scenario) -> None:
    """Say every ten seconds how far it is."""
    scenario.say("records, below, are readings and events; read and confirmed are counted from the agent's start")
    while True:
        await asyncio.sleep(10)
        scenario.say(progress(scenario))


def progress(scenario: Scenario) -> str:
    """How far it is, as a line of text."""
    from demo.scenario import Counts  # noqa: PLC0415 - as above

    counts = Counts.of(scenario, scenario.status())
    text = f"readings read {counts.read}, records on the box {counts.waiting}, records confirmed {counts.confirmed}"
    return f"{scenario.elapsed_s:4.0f} s  network {scenario.link}: {text}"


async def _finish(scenario: Scenario) -> int:
    result = await scenario.finish()
    for complaint in result.complaints:
        click.echo(complaint, err=True)
    if scenario.plan.crash:
        click.echo(f"readings taken by kill -9 within the durability window of 5 s: {result.window}")
    click.echo(str(result))
    return 0 if result.good else 1


async def _play_on_screen(scenario: Scenario) -> int:
    from rich.live import Live  # noqa: PLC0415 - only a terminal pays for it

    from demo.screen import DemoScreen  # noqa: PLC0415

    screen = DemoScreen()
    scenario.say = screen.say
    with Live(screen=True, auto_refresh=False) as live:
        painting = asyncio.create_task(_paint(scenario, screen, live))
        looking = asyncio.create_task(_look(scenario))
        try:
            await scenario.start()
            await scenario.play()
        finally:
            painting.cancel()
            looking.cancel()
            await asyncio.gather(painting, looking, return_exceptions=True)
    return await _finish(scenario)


async def _paint(scenario: Scenario, screen, live) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    while True:
        columns, lines = live.console.size
        live.update(screen.render(scenario, columns, lines), refresh=True)
        await asyncio.sleep(0.5)


async def _look(scenario: Scenario) -> None:
    pause_s = LOOK_S
    while True:
        await asyncio.sleep(pause_s)
        if scenario.connection:
            began_s = time.monotonic()
            await scenario.look()
            pause_s = max(LOOK_S, LOOK_SHARE * (time.monotonic() - began_s))  # all is read each time, more and more

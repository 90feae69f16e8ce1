"""Whether the daemon runs, from its status file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.adapters.system.clock import SystemClock, boot_id
from agent.adapters.system.status_file import is_writer_running, read_status
from agent.checks.demo_folder import another, is_of_demo, why_no_status
from agent.core.system.finding import Finding
from agent.core.system.health import RunningDaemon
from agent.core.system.status import Status
from agent.core.texts import span

START = "start it: sudo systemctl start wattpost"
WHY = "see why: journalctl -u wattpost -n 50"


@dataclass(frozen=True, slots=True)
class DaemonSeen:
    """`status` None: there is no file `path`. `age_ms` None: it was written before this machine was restarted."""

    path: Path
    status: Status | None = None
    age_ms: int | None = None
    running: RunningDaemon | None = None


def look_for_daemon(path: Path) -> DaemonSeen:
    """What the status file at `path` says; raises OSError or `StatusFileError` for one that cannot be read."""
    try:
        status = read_status(path)
    except FileNotFoundError:
        return DaemonSeen(path)
    age_ms = SystemClock("system").mono_ms() - status.mono_ms if status.boot == boot_id().hex() else None
    if age_ms is None or not is_writer_running(status):
        return DaemonSeen(path, status, age_ms)
    return DaemonSeen(path, status, age_ms, RunningDaemon(status, age_ms))


def not_running(seen: DaemonSeen) -> Iterator[Finding]:
    """A daemon that stops cleanly removes its status file."""
    folder = seen.path.parent
    if seen.status is None:
        yield _no_status(seen.path)
    elif seen.running is None:
        when = "before this machine was restarted" if seen.age_ms is None else f"{span(seen.age_ms)} ago"
        cause = f"process {seen.status.pid} ended without a clean stop; it wrote its last status {when}"
        step = f"{WHY}; {START}"
        if is_of_demo(folder):
            step = f"see why: {folder / 'agent.log'}; {another(folder)}"
        yield Finding("error", "agent", cause, step)


def _no_status(path: Path) -> Finding:
    if is_of_demo(path.parent):
        return Finding("error", "agent", *why_no_status(path.parent))
    step = f"{START}; if it runs, its log says why it cannot write there"
    return Finding("error", "agent", f"there is no status file {path}", step)

"""The daemon's status file, and whether the daemon that wrote it still runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.adapters.system.clock import SystemClock, boot_id
from agent.adapters.system.status_file import StatusFileError, is_writer_running, read_status
from agent.cli.batch.files import DataError, NoInput
from agent.core.system.health import Finding, judge
from agent.core.system.status import Status
from agent.core.texts import span

START = "start it: sudo systemctl start wattpost"
WHY = "see why: journalctl -u wattpost -n 50"


@dataclass(frozen=True, slots=True)
class View:
    """What there is to show. `status` None: there is no file. `age_ms` None: it was written in an earlier boot."""

    path: Path
    status: Status | None
    running: bool
    age_ms: int | None
    findings: Sequence[Finding]

    @property
    def verdict(self) -> Literal["good", "attention", "not running"]:
        if not self.running:
            return "not running"
        return "attention" if self.findings else "good"


def look(path: Path, config_mistakes: Sequence[str] = ()) -> View:
    """Read the status at `path`; raises `NoInput` where it cannot be read and `DataError` for a file of something else.

    `config_mistakes` are those of the configuration file as it is now.
    """
    config = [Finding("configuration", f"{text} (the daemon goes on with the one before)") for text in config_mistakes]
    try:
        status = read_status(path)
    except FileNotFoundError:
        text = f"there is no status file {path}; {START}; if it runs, its log says why it cannot write there"
        return View(path, None, running=False, age_ms=None, findings=[Finding("agent", text), *config])
    except OSError as error:
        step = "run it with sudo, or name the right file with --file"
        raise NoInput(f"cannot read the status {path}: {error.strerror}; {step}") from error
    except StatusFileError as error:
        step = "after an update: sudo systemctl restart wattpost; else name the right file with --file"
        raise DataError(f"{error}; {step}") from error
    age_ms = SystemClock("system").mono_ms() - status.mono_ms if status.boot == boot_id().hex() else None
    running = is_writer_running(status)
    findings = judge(status, age_ms) if running and age_ms is not None else [_gone(status, age_ms)]
    return View(path, status, running, age_ms, [*findings, *config])


def _gone(status: Status, age_ms: int | None) -> Finding:
    when = "before this machine was restarted" if age_ms is None else f"{span(age_ms)} ago"
    text = f"process {status.pid} is gone without having stopped cleanly; its last status was written {when}"
    return Finding("agent", f"{text}; {WHY}; {START}")

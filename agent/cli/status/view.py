"""Collect what `wattpost status` shows: the status file of the daemon, and what needs attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.adapters.system.status_file import StatusFileError
from agent.checks.daemon import look_for_daemon
from agent.checks.registry import check_daemon
from agent.cli.shared.exit_codes import DataError, NoInput
from agent.core.system.finding import Finding
from agent.core.system.status import Status


@dataclass(frozen=True, slots=True)
class View:
    """`status` None: there is no status file. `age_ms` None: it was written in an earlier boot."""

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
    """Read the status at `path`. Raises `NoInput` if it cannot be read, and `DataError` if it is not a status.

    `config_mistakes` are those of the current configuration file.
    """
    try:
        seen = look_for_daemon(path)
    except OSError as error:
        step = "run the command with sudo, or name the right file with --file"
        raise NoInput(f"cannot read the status {path}: {error.strerror}; {step}") from error
    except StatusFileError as error:
        step = "after an update run: sudo systemctl restart wattpost; otherwise name the right file with --file"
        raise DataError(f"{error}; {step}") from error
    config = [
        Finding(
            "warning",
            "configuration",
            f"{text} (the daemon still uses the earlier configuration)",
            check="configuration",
        )
        for text in config_mistakes
    ]
    return View(path, seen.status, seen.running is not None, seen.age_ms, [*check_daemon(seen), *config])

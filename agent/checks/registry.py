"""The one list of checks, for `check-config` and `status`.

A check is a function from facts to findings. To add one: write the function in the file of its subject (`key_file`,
`credentials`, `files`, `daemon`; `agent.core.system.health` for what the daemon's status shows), and list it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from agent.checks import credentials, files, key_file
from agent.checks.daemon import DaemonSeen, not_running
from agent.checks.named_files import NamedFiles
from agent.core.system import health
from agent.core.system.finding import Finding
from agent.core.system.health import RunningDaemon

Facts = TypeVar("Facts")


@dataclass(frozen=True, slots=True)
class Check(Generic[Facts]):
    """`name` is what `status --json` calls it."""

    name: str
    look: Callable[[Facts], Iterable[Finding]]

    def findings(self, facts: Facts) -> list[Finding]:
        """What needs attention; nothing where all is well."""
        return [replace(finding, check=self.name) for finding in self.look(facts)]


# What the configuration names, seen by the user who runs the command.
OF_FILES: tuple[Check[NamedFiles], ...] = (
    Check("pem-files", files.unusable_pem_files),
    Check("root-certificate", credentials.root_certificate),
    Check("box-certificate", credentials.box_certificate),
    Check("key-pair", credentials.key_pair),
    Check("key-file-access", key_file.key_file_access),
    Check("serial-ports", files.missing_ports),
    Check("folders", files.missing_folders),
)

OF_DAEMON: tuple[Check[DaemonSeen], ...] = (Check("daemon-running", not_running),)

# What the status of a running daemon shows, the gravest first.
LOGGED = Check("logged-troubles", health.logged_troubles)
OF_STATUS: tuple[Check[RunningDaemon], ...] = (
    Check("daemon-responds", health.daemon_hangs),
    Check("settings-in-force", health.settings_waiting_for_restart),
    Check("meters", health.meters),
    Check("uplink", health.not_connected),
    Check("receipts", health.receipts_late),
    Check("buffer-writable", health.buffer_not_writable),
    Check("held-batches", health.held_batches),
    Check("dropped-records", health.dropped_records),
    Check("buffer-size", health.buffer_nearly_full),
    LOGGED,
)


def check_files(named: NamedFiles) -> list[Finding]:
    """All that is wrong with the files that the configuration names."""
    return _run(OF_FILES, named)


def check_daemon(seen: DaemonSeen) -> list[Finding]:
    """Whether the daemon runs, and if so what needs attention, the gravest first."""
    if seen.running is None:
        return _run(OF_DAEMON, seen)
    found = _run(OF_STATUS, seen.running)
    said = {finding.subject for finding in found if finding.check != LOGGED.name}
    return [finding for finding in found if finding.check != LOGGED.name or finding.subject not in said]


def _run(checks: Sequence[Check[Facts]], facts: Facts) -> list[Finding]:
    return [finding for check in checks for finding in check.findings(facts)]

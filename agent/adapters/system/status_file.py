"""The daemon's status as a JSON file, which `status` and other commands read: the daemon listens nowhere."""

from __future__ import annotations

from pathlib import Path

from agent.adapters.system.clock import boot_id
from agent.adapters.system.process import is_running
from agent.core.system.status import Status, StatusError, encode_status, parse_status

READABLE_BY_ALL = 0o644  # an installer asks for the status as an ordinary user; there is no secret in it


class StatusFileError(Exception):
    """A file that is no status which this version can read; the message names file and cause."""


class StatusFile:
    """Replaced as a whole, so that a reader never sees half of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._draft = path.with_name(path.name + ".new")

    def write(self, status: Status) -> None:
        """Raises OSError when the folder is missing or not writable."""
        self._draft.write_bytes(encode_status(status))
        self._draft.chmod(READABLE_BY_ALL)
        self._draft.replace(self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def read_status(path: Path) -> Status:
    """The daemon's last status; raises OSError or `StatusFileError`."""
    try:
        return parse_status(path.read_bytes())
    except StatusError as error:
        raise StatusFileError(f"{path} is not a status that this version can read: {error}") from error


def running_status(path: Path) -> Status | None:
    """The status at `path`, if it can be read and the daemon that wrote it runs."""
    try:
        status = read_status(path)
    except (OSError, StatusFileError):
        return None
    return status if is_writer_running(status) else None


def is_writer_running(status: Status) -> bool:
    """Whether the daemon that wrote `status` still runs."""
    return status.boot == boot_id().hex() and is_running(status.pid, status.mono_ms)

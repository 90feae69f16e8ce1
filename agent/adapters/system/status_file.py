"""What the box is doing, as a JSON file that `status` and `top` read: the daemon listens nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

READABLE_BY_ALL = 0o644  # an installer asks for the status as an ordinary user; there is no secret in it


class StatusFile:
    """Replaced as a whole, so that a reader never sees half of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._draft = path.with_name(path.name + ".new")

    def write(self, status: dict[str, Any]) -> None:
        """Raises OSError when the folder is missing or not writable."""
        self._draft.write_bytes(msgspec.json.encode(status))
        self._draft.chmod(READABLE_BY_ALL)
        self._draft.replace(self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def read_status(path: Path) -> dict[str, Any]:
    """The daemon's last status; raises OSError, or `msgspec.DecodeError` for a file of something else."""
    status: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    return status

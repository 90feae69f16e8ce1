"""Where the private key's file is, and who has access to it as the file system says."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from agent.core.system.finding import Finding
from agent.core.system.key_access_rule import judge_key_file
from agent.settings.keys import KeyReferenceError, key_file


def credentials_directory() -> str | None:
    """Where systemd put the credentials of this process, if it started it."""
    return os.environ.get("CREDENTIALS_DIRECTORY")


def look_at_key_file(path: Path, daemon_uid: int | None = None) -> Finding | None:
    """What `agent.core.system.key_access_rule` says of the file at `path`; raises OSError.

    Credentials are not judged: systemd alone sets who has access to them. `daemon_uid` is None where a command asks.
    """
    directory = credentials_directory()
    if directory and path.is_relative_to(directory):
        return None
    found = path.stat()
    return judge_key_file(str(path), stat.S_IMODE(found.st_mode), found.st_uid, daemon_uid)


def look_at_own_key(reference: str) -> Finding | None:
    """The same for the daemon's own `uplink.key`; None also where there is no file, which shows when it is read."""
    try:
        return look_at_key_file(key_file(reference, credentials_directory()), os.geteuid())
    except (KeyReferenceError, OSError):
        return None

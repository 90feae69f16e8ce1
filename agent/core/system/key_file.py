"""The rule for access to the private key's file, and its words, for the daemon and for `agent.checks.key_file`. Pure.

Access by others is refused. Access by the group is a warning, and the daemon goes on delivering.
"""

from __future__ import annotations

from shlex import quote

from agent.core.system.finding import Finding, Severity

SUBJECT = "uplink.key"
GROUP = 0o070
OTHERS = 0o007
ROOT_UID = 0


def judge_key_file(path: str, mode: int, owner_uid: int) -> Finding | None:
    """What is wrong with a key file at `path` of this mode and owner; None where only its owner has access."""
    if mode & OTHERS:
        return _finding("error", "every user of this machine", path, mode, owner_uid)
    if mode & GROUP:
        return _finding("warning", "the file's group", path, mode, owner_uid)
    return None


def _finding(severity: Severity, who: str, path: str, mode: int, owner_uid: int) -> Finding:
    cause = f'"{path}" has mode {mode & 0o777:04o}, so {who} has access to the private key'
    step = f"run: chmod 600 {quote(path)}"
    if owner_uid == ROOT_UID:  # a daemon of another user could not read the file any more
        step = f"run: chown USER {quote(path)} && chmod 600 {quote(path)}, where USER runs the daemon"
    return Finding(severity, SUBJECT, cause, step)

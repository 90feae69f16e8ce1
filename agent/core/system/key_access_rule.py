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


def judge_key_file(path: str, mode: int, owner_uid: int, daemon_uid: int | None = None) -> Finding | None:
    """What is wrong with the key file at `path`; None where only its owner has access.

    `daemon_uid` is the user that the daemon runs as, where that is known.
    """
    if not mode & (GROUP | OTHERS):
        return None
    severity: Severity = "error" if mode & OTHERS else "warning"
    who = "every user of this machine" if mode & OTHERS else "the file's group"
    cause = f'"{path}" has mode {mode & 0o777:04o}, so {who} has access to the private key'
    is_daemons = owner_uid == daemon_uid if daemon_uid is not None else owner_uid != ROOT_UID
    return Finding(severity, SUBJECT, cause, _step(path, is_daemons=is_daemons))


def _step(path: str, *, is_daemons: bool) -> str:
    """A daemon that is not the file's owner could not read it any more after `chmod` alone."""
    file = quote(path)
    if is_daemons:
        return f"run: chmod 600 {file}"
    return f"give it to the daemon's user: chown USER {file} && chmod 600 {file}"

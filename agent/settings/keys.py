"""Where the private key is, from the way the configuration names it."""

from __future__ import annotations

from pathlib import Path

CREDENTIAL_PREFIX = "credential:"


class KeyReferenceError(Exception):
    """The key cannot be found from its reference; the message names cause and next step."""


def key_file(reference: str, credentials_directory: str | None) -> Path:
    """The file of `uplink.key`; `credentials_directory` is what systemd puts into `$CREDENTIALS_DIRECTORY`."""
    if not reference.startswith(CREDENTIAL_PREFIX):
        return Path(reference)
    name = reference.removeprefix(CREDENTIAL_PREFIX)
    if not credentials_directory:
        raise KeyReferenceError(
            f'uplink.key = "{reference}" needs the systemd unit (LoadCredential={name}:...), and this process was not '
            "started by it; start wattpost.service, or set uplink.key to a path"
        )
    return Path(credentials_directory) / name


def without_password(key: Path, reference: str = "") -> str:
    """The step for a key with a password. What systemd hands over is a copy, which cannot be mended."""
    where, file, then = "take it off", str(key), ""
    if reference.startswith(CREDENTIAL_PREFIX):
        where, file, then = "take it off the file KEY that LoadCredential= names", "KEY", ", then restart the agent"
    return f"{where}: openssl pkey -in {file} -out {file}.plain && mv {file}.plain {file}{then}"

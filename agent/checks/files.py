"""Files, ports and folders that the configuration names and that are not there or cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agent.checks.named_files import NamedFiles
from agent.core.system.finding import Finding

MADE_BY_SYSTEMD = {Path("/var/lib/wattpost"), Path("/run/wattpost")}  # StateDirectory, RuntimeDirectory


def unusable_pem_files(files: NamedFiles) -> Iterator[Finding]:
    """Certificates and key that are not there, not readable, or not PEM."""
    for file in (files.ca, files.cert, files.key):
        if file.problem is not None:
            yield file.problem


def missing_ports(files: NamedFiles) -> Iterator[Finding]:
    """Serial ports that are not there; an adapter may be plugged in later."""
    for index, port in enumerate(files.named.ports):
        if port is not None and port.startswith("/") and not Path(port).exists():
            step = "plug the adapter in, or see: ls /dev/serial/by-id"
            yield Finding("warning", f"bus[{index}].port", f'"{port}" is not there', step)


def missing_folders(files: NamedFiles) -> Iterator[Finding]:
    """Folders that the daemon writes to, except those that systemd makes."""
    for key, path in files.named.written.items():
        if path.parent not in MADE_BY_SYSTEMD and not path.parent.is_dir():
            yield Finding("warning", key, f'there is no folder "{path.parent}"', f"create it: mkdir -p {path.parent}")

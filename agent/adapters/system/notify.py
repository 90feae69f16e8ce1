"""Messages to systemd, see sd_notify(3). Does nothing where no service manager listens."""

from __future__ import annotations

import os
import socket
import time
from typing import Self


class Notifier:
    """One datagram per message to $NOTIFY_SOCKET."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        interval_us = os.environ.get("WATCHDOG_USEC", "")
        self.watchdog_ms = int(interval_us) // 1_000 if interval_us.isdigit() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()

    def send(self, *lines: str) -> None:
        """Send e.g. `READY=1`. A manager that is gone is no reason to stop metering."""
        if self._socket is not None:
            try:
                self._socket.sendto("\n".join(lines).encode(), self._address)
            except OSError:
                return

    def reloading(self) -> None:
        """For `Type=notify-reload`: READY=1 has to follow. systemd compares against CLOCK_MONOTONIC."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")

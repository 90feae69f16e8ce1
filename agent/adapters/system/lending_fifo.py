"""How a line is lent: a FIFO beside the status file takes requests, and the status file says what became of them.

No network: who may write to the FIFO (the daemon's user, and its group `wattpost`) may ask. Both ends are here.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from agent.adapters.system.status_file import StatusFileError, read_status, running_status
from agent.core.metering.addresses import TCP, TCP_PORT
from agent.core.metering.lease import LEASE_MAX_MS, REQUEST_BYTES_MAX, Lend, Return, parse_request
from agent.core.system.status import LoanStatus, Status

FIFO_NAME = "lend.fifo"
GROUP_MAY_ASK = 0o620
READ_BYTES = 4096
LOOK_S = 0.03
ASK_AGAIN_S = 3.0


# The daemon's end


class RequestPipe:
    """Calls `on_request` with each request that comes; what is no request is dropped."""

    def __init__(self, path: Path, on_request: Callable[[Lend | Return], None]) -> None:
        self._path = path
        self._on_request = on_request
        self._descriptor: int | None = None
        self._rest = b""

    def open(self) -> None:
        """Make the FIFO, where there is none, and listen on the running event loop; raises OSError."""
        with suppress(FileExistsError):
            os.mkfifo(self._path)
        # Open for writing too, so that it does not end when the last client leaves.
        descriptor = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EEXIST, "is there and is no FIFO", str(self._path))
        with suppress(PermissionError):  # somebody else made it, and says who may ask
            os.fchmod(descriptor, GROUP_MAY_ASK)
        self._descriptor = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._readable)

    def _readable(self) -> None:
        assert self._descriptor is not None  # noqa: S101 - the reader goes with it
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-REQUEST_BYTES_MAX:]
        for line in lines:
            request = parse_request(line[:REQUEST_BYTES_MAX].decode("ascii", "replace"))
            if request is not None:
                self._on_request(request)

    def close(self) -> None:
        """Stop listening, and remove the FIFO."""
        if self._descriptor is None:
            return
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = None
        with suppress(OSError):
            self._path.unlink()


# The borrower's end


class LendError(Exception):
    """The daemon has the line and does not lend it. `cause` and `next_step` are for one line of text."""

    def __init__(self, line: str, cause: str, next_step: str) -> None:
        super().__init__(f"borrow line {line} from the daemon: {cause}; {next_step}")
        self.line = line
        self.cause = cause
        self.next_step = next_step


@dataclass(frozen=True, slots=True)
class Lender:
    """A running daemon that has a line, as its status says. `interval_s` is how often it reads each of its meters."""

    status_path: Path
    line: str
    pid: int
    interval_s: float = 0.0

    def borrow(self, timeout_s: float, seconds: int = LEASE_MAX_MS // 1000) -> None:
        """Ask for the line and wait until it is ours; raises `LendError`."""
        try:
            self._await(timeout_s, seconds)
        except BaseException:
            self.give_back()
            raise

    def _await(self, timeout_s: float, seconds: int) -> None:
        deadline_s = time.monotonic() + timeout_s
        ask_s = 0.0
        while not self._is_mine():
            now_s = time.monotonic()
            if now_s > deadline_s:
                raise LendError(self.line, *self._refusal(timeout_s))
            if now_s > ask_s:
                self._write(str(Lend(self.line, os.getpid(), seconds)))
                ask_s = now_s + ASK_AGAIN_S
            time.sleep(LOOK_S)

    def give_back(self) -> None:
        """Return the line; where the daemon is gone there is nothing to return."""
        with suppress(LendError):
            self._write(str(Return(self.line, os.getpid())))

    def _write(self, request: str) -> None:
        path = self.status_path.with_name(FIFO_NAME)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(descriptor, request.encode())
            finally:
                os.close(descriptor)
        except PermissionError as error:
            step = "run this with sudo, or join the group wattpost (`sudo usermod -aG wattpost USER`) and log in again"
            raise LendError(self.line, f"this user may not write to {path}", step) from error
        except OSError as error:
            step = "stop the daemon meanwhile: sudo systemctl stop wattpost"
            raise LendError(self.line, f"cannot ask through {path}: {error.strerror}", step) from error

    def _holder(self) -> LoanStatus | None:
        """Who has borrowed the line; None also while the status cannot be read."""
        try:
            line = read_status(self.status_path).lines.get(self.line)
        except (OSError, StatusFileError):
            return None
        return None if line is None else line.lent

    def _is_mine(self) -> bool:
        holder = self._holder()
        return holder is not None and holder.pid == os.getpid()

    def _refusal(self, timeout_s: float) -> tuple[str, str]:
        holder = self._holder()
        if holder is not None:
            return f"it is lent to process {holder.pid}", "wait until that one has ended, or end it"
        step = "see what it does: wattpost status; or stop it meanwhile: sudo systemctl stop wattpost"
        return f"process {self.pid} did not lend it within {timeout_s:.0f} s", step


def find_lender(status_path: Path, port: str) -> Lender | None:
    """The running daemon that reads `port` (a device or tcp://host:port), None where there is none."""
    status = running_status(status_path)
    if status is None:
        return None
    wanted = same_port(port)
    for name, line in status.lines.items():
        if same_port(line.port) == wanted:
            return Lender(status_path, name, status.pid, _interval_s(status, name))
    return None


def _interval_s(status: Status, line: str) -> float:
    """The longest of the line's meters."""
    meters = status.settings.meters.values()
    return max((meter.interval_ms / 1000 for meter in meters if meter.bus == line), default=0.0)


def same_port(port: str) -> str:
    """One text for all names of a port: links are followed, hosts have a port number."""
    if not port.startswith(TCP):
        return os.path.realpath(port)
    with suppress(ValueError):
        parts = urlsplit(port)
        return f"{TCP}{parts.hostname}:{parts.port or TCP_PORT}"
    return port

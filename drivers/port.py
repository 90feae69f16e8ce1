"""The two kinds of ports that a line can own: serial device and TCP connection. Bytes in, bytes out, clear errors."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import termios
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import serial  # type: ignore[import-untyped]

from drivers.line_modes import Rs485, set_low_latency, set_rs485
from drivers.lookup import Lookup, SocketAddress
from drivers.meter import MeterError, Reason
from drivers.port_holder import holder_of
from drivers.profile.model import Parity

log = logging.getLogger(__name__)

READ_BYTES = 1024
TCP_PORT = 502
BYTE_BITS = 8
# A question goes out at once; a peer that vanished without a word is noticed within about 10 s, also while nothing is
# asked of it.
TCP_OPTIONS = tuple(
    (getattr(socket, name), value)
    for name, value in (
        ("TCP_NODELAY", 1),
        ("TCP_KEEPIDLE", 5),
        ("TCP_KEEPINTVL", 2),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 10_000),
    )
    if hasattr(socket, name)  # macOS has not all of them
)
GONE = {errno.ENOENT, errno.ENODEV, errno.ENXIO}
HELD = {errno.EBUSY, errno.EAGAIN}
DENIED = {errno.EACCES, errno.EPERM}


class Sink(Protocol):
    """What a port tells its line."""

    def received(self, data: bytes) -> None: ...
    def lost(self, cause: str) -> None: ...


class Port(Protocol):
    """An open or closed way to meters. `open` raises `MeterError`; `write` and `close` never block."""

    @property
    def is_open(self) -> bool: ...
    async def open(self, sink: Sink, timeout_s: float) -> None: ...
    def write(self, data: bytes) -> None: ...
    def rest(self, seconds: float) -> None: ...
    def drain(self) -> None: ...
    def close(self) -> None: ...


def subject_of(name: str, port: str) -> str:
    """What errors call a line; one without a name of its own, as in `scan`, has the end of its port's for one."""
    return f"port {port}" if name == port.rpartition("/")[2] else f"line {name} ({port})"


def open_error(name: str, port: str, reason: Reason, cause: str, next_step: str) -> MeterError:
    """What every failure to open says."""
    return MeterError(reason, operation="open", subject=subject_of(name, port), cause=cause, next_step=next_step)


class _Wire:
    """An open descriptor that does not block: what arrives goes to the sink, and so does its end once it is closed.

    Not a transport of asyncio's, which knows no serial devices and allocates 256 KB for each answer of some 200 bytes.
    """

    __slots__ = ("_close", "_descriptor", "_gone", "_sink")

    def __init__(self, descriptor: int, sink: Sink, gone: str, close: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._sink = sink
        self._gone = gone
        self._close = close
        self.listen()

    def listen(self) -> None:
        asyncio.get_running_loop().add_reader(self._descriptor, self.readable)

    def deafen(self) -> None:
        """Until it listens again; before its descriptor is closed, too."""
        asyncio.get_running_loop().remove_reader(self._descriptor)

    def readable(self) -> None:
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(f"reading failed: {error.strerror}")
            return
        if data:
            self._sink.received(data)
        else:
            self._end(self._gone)

    def write(self, data: bytes) -> None:
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            self._end(f"writing failed: {error.strerror}")
            return
        if written < len(data):
            self._end("it takes no more bytes")

    def _end(self, cause: str) -> None:
        self._close()
        self._sink.lost(cause)


@dataclass(slots=True)
class SerialPort:
    """A serial device, opened for us alone (flock, which pyserial, minicom and others respect)."""

    name: str
    path: str
    baudrate: int
    parity: Parity
    stopbits: int
    bytesize: int = 8
    rs485: Rs485 = "auto"
    _told: str = ""
    _device: serial.Serial | None = None
    _wire: _Wire | None = None
    _rest: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        return self._device is not None

    async def open(self, sink: Sink, timeout_s: float) -> None:  # noqa: ARG002 - opening a serial port does not wait
        try:
            device = serial.Serial(
                self.path,
                self.baudrate,
                parity=self.parity,
                stopbits=self.stopbits,
                bytesize=self.bytesize,
                timeout=0,
                write_timeout=0,
                inter_byte_timeout=0,  # VMIN 1: reading nothing means that the device is gone, not that it is quiet
                exclusive=True,
            )
        except (OSError, ValueError, termios.error) as error:
            raise self._explain(error) from error
        self._device = device
        with suppress(termios.error):
            self._check_parity(device.fileno())
            device.reset_input_buffer()
        self._set_modes(device.fileno())
        self._wire = _Wire(device.fileno(), sink, "the device went away", self.close)

    def _set_modes(self, descriptor: int) -> None:
        """What not every device can; said once, since the line may do without."""
        set_low_latency(descriptor, self.path)
        told = set_rs485(descriptor, self.rs485)
        if told and told != self._told:
            log.info("line %s (%s): rs485 = %s has no effect: %s", self.name, self.path, self.rs485, told)
        self._told = told

    def _check_parity(self, descriptor: int) -> None:
        """Lines with 7 bits carry text without a check sum: a character with wrong parity is to be read as NUL."""
        if self.bytesize < BYTE_BITS:
            attributes = termios.tcgetattr(descriptor)
            attributes[0] = attributes[0] & ~termios.IGNPAR | termios.INPCK
            termios.tcsetattr(descriptor, termios.TCSANOW, attributes)

    def set_baudrate(self, baudrate: int) -> None:
        """Of the open port, for meters that change it while they talk; opening it sets the usual one again."""
        if self._device is not None:
            with suppress(OSError, termios.error):  # an adapter that is gone says so when it is read
                self._device.baudrate = baudrate
                self._check_parity(self._device.fileno())

    def _explain(self, error: Exception) -> MeterError:
        code = error.errno if isinstance(error, OSError) else error.args[0] if error.args else None
        if code in GONE:
            return open_error(
                self.name,
                self.path,
                "line_missing",
                "no such device",
                "plug the adapter in and compare `ls /dev/serial/by-id/` with the configuration's port",
            )
        if code in HELD:
            holder = holder_of(self.path)
            cause = f"held by {holder}" if holder else "held by another program"
            step = "stop that program" if holder else f"find it with `sudo fuser -v {self.path}` and stop it"
            return open_error(self.name, self.path, "line_busy", cause, step)
        if code in DENIED:
            step = "add the user to the group that owns it (`sudo usermod -aG dialout USER`) and log in again"
            return open_error(self.name, self.path, "line_busy", "permission denied", step)
        if code == errno.EINVAL:
            cause = f"the device cannot do {self.baudrate} {self.bytesize}{self.parity}{self.stopbits}"
            step = "set another speed or parity; a simulated line has no parity: write N"
            return open_error(self.name, self.path, "line_missing", cause, step)
        if isinstance(error.__context__, termios.error):
            step = "correct the configuration's port"
            return open_error(self.name, self.path, "line_missing", "not a serial port", step)
        return open_error(self.name, self.path, "line_missing", str(error), "check the port and its settings")

    def write(self, data: bytes) -> None:
        if self._wire is not None:
            self._wire.write(data)

    def rest(self, seconds: float) -> None:
        """Leave arriving bytes with the kernel for a while, so that an answer costs few wake-ups."""
        if self._wire is None:
            return
        self._wire.deafen()
        self._rest = asyncio.get_running_loop().call_later(seconds, self._resume)

    def _resume(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
            if self._wire is not None:
                self._wire.listen()
        if self._wire is not None:
            self._wire.readable()

    def drain(self) -> None:
        """Hand over at once what the kernel has, so that it does not pass for what comes later."""
        self._resume()

    def close(self) -> None:
        """Close without waiting for bytes that the device no longer takes."""
        device, wire, self._device, self._wire = self._device, self._wire, None, None
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if wire is not None:
            wire.deafen()
        if device is None:
            return
        with suppress(OSError, termios.error):
            device.reset_output_buffer()
        with suppress(OSError):
            device.close()


class TcpPort:
    """A TCP connection, opened anew after each loss."""

    def __init__(self, name: str, url: str, speaks: str = "Modbus TCP") -> None:
        self.name = name
        self.url = url
        self._speaks = speaks
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self.tcp_port = parts.port or TCP_PORT
        self._lookup = Lookup(self.host, self.tcp_port)
        self._begin_at = 0
        self._connection: socket.socket | None = None
        self._wire: _Wire | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    async def open(self, sink: Sink, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._connected()
        except TimeoutError as error:
            self._begin_at += 1
            step = "check that the gateway is powered and reachable (`ping`)"
            cause = f"no answer within {timeout_s * 1000:.0f} ms"
            if self._lookup.is_pending:
                step = "write the host's address, or check the name server"
                cause = f"its name was not resolved within {timeout_s * 1000:.0f} ms"
            raise open_error(self.name, self.url, "line_missing", cause, step) from error
        except ConnectionRefusedError as error:
            step = f"check the port number, and that {self._speaks} is switched on at the gateway"
            raise open_error(self.name, self.url, "line_missing", "connection refused", step) from error
        except socket.gaierror as error:
            step = "write the host's address, or correct its name"
            raise open_error(self.name, self.url, "line_missing", "unknown host name", step) from error
        except OSError as error:
            step = "check network and address"
            raise open_error(self.name, self.url, "line_missing", error.strerror or str(error), step) from error
        self._connection = connection
        self._wire = _Wire(connection.fileno(), sink, "closed by the other end", self.close)

    async def _connected(self) -> socket.socket:
        """To the first address that takes it; one that took all the time is not the first to be tried again."""
        addresses = await self._lookup.addresses()
        at = self._begin_at % len(addresses)
        *others, last = addresses[at:] + addresses[:at]
        for address in others:
            with suppress(OSError):
                return await _connect(address)
        return await _connect(last)

    def write(self, data: bytes) -> None:
        if self._wire is not None:
            self._wire.write(data)

    def rest(self, seconds: float) -> None:
        """A network's bytes come in one piece: nothing to save."""

    def drain(self) -> None:
        """Transaction numbers tell late answers."""

    def close(self) -> None:
        connection, wire, self._connection, self._wire = self._connection, self._wire, None, None
        if wire is not None:
            wire.deafen()
        if connection is not None:
            connection.close()


async def _connect(address: SocketAddress) -> socket.socket:
    connection = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in TCP_OPTIONS:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        await asyncio.get_running_loop().sock_connect(connection, address)
    except BaseException:  # raised on: only lets go of what was opened
        connection.close()
        raise
    return connection

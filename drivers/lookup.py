"""Host names to addresses, on a thread of their own: a program that ends does not wait for a name server.

asyncio's own look-up runs in its pool of threads, whose end `asyncio.run` and the interpreter wait for.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from typing import cast

# As `connect` takes them: of IPv4 `(host, port)`, of IPv6 `(host, port, flow, scope)`.
SocketAddress = tuple[str, int] | tuple[str, int, int, int]
Resolved = tuple[SocketAddress, ...] | OSError


class Lookup:
    """The addresses of one host; a look-up that outlasts its caller's patience serves the next caller."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._pending: asyncio.Future[Resolved] | None = None

    @property
    def is_pending(self) -> bool:
        return self._pending is not None

    async def addresses(self) -> tuple[SocketAddress, ...]:
        """At least one, best first; raises `OSError`, of which `socket.gaierror` is one."""
        with suppress(socket.gaierror, UnicodeError):
            return self._addresses(socket.AI_NUMERICHOST)
        if self._pending is None:
            self._pending = asyncio.get_running_loop().create_future()
            threading.Thread(target=self._look_up, args=(self._pending,), name="lookup", daemon=True).start()
        found = await asyncio.shield(self._pending)
        self._pending = None
        if isinstance(found, OSError):
            raise found
        return found

    def _look_up(self, pending: asyncio.Future[Resolved]) -> None:
        """On the thread."""
        found: Resolved
        try:
            found = self._addresses()
        except UnicodeError:
            found = socket.gaierror(socket.EAI_NONAME, "not a host name")
        except OSError as error:
            found = error
        with suppress(RuntimeError):  # the loop has ended
            pending.get_loop().call_soon_threadsafe(pending.set_result, found)

    def _addresses(self, flags: int = 0) -> tuple[SocketAddress, ...]:
        entries = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=flags)
        return tuple(dict.fromkeys(cast("SocketAddress", entry[4]) for entry in entries))

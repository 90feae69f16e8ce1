"""A TCP proxy that can fail on command: `python -m cloud.local.proxy --listen PORT --to HOST:PORT`.

Commands on standard input, one per line, each answered by one line on standard output: `pass` forwards; `silent` keeps
connections open and discards the bytes of both directions; `reset` resets all connections and every new one; `stats`
prints {"up_bytes", "down_bytes", "connections"} (client to server is up; discarded bytes do not count); `quit`, or end
of file, ends. After `silent` or `reset`, `pass` serves new connections; a connection that lost bytes while silent is
reset, because its stream has a gap.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from cloud.local.launcher import LOOPBACK

CHUNK_BYTES = 65536
_LINGER_ZERO = struct.pack("ii", 1, 0)  # close() then sends RST


@dataclass(eq=False, slots=True)
class _Link:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    torn: bool = False  # bytes were discarded

    def abort(self) -> None:
        for writer in (self.client, self.server):
            if writer is None:
                continue
            connection = writer.get_extra_info("socket")
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            writer.transport.abort()


@dataclass(slots=True)
class Proxy:
    host: str
    port: int
    mode: str = "pass"
    up_bytes: int = 0
    down_bytes: int = 0
    connections: int = 0
    links: set[_Link] = field(default_factory=set)
    speaking: asyncio.Event = field(default_factory=asyncio.Event)  # not silent

    def __post_init__(self) -> None:
        self.speaking.set()

    def set_mode(self, mode: str) -> None:
        """Takes effect at once, on every connection."""
        self.mode = mode
        if mode == "silent":
            self.speaking.clear()
        else:
            self.speaking.set()
        for link in list(self.links):
            if mode == "reset" or (mode == "pass" and link.torn):
                link.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until either side ends."""
        link = _Link(writer)
        if self.mode == "reset":
            link.abort()
            return
        self.connections += 1
        self.links.add(link)
        try:
            if self.mode == "silent":
                await self._discard(link, reader)
            else:
                await self._forward(link, reader)
        except OSError:
            pass  # whichever side failed, both are closed below
        finally:
            self.links.discard(link)
            link.abort() if link.torn else self._close(link)

    async def _discard(self, link: _Link, reader: asyncio.StreamReader) -> None:
        """A connection made while silent is accepted and never answered."""
        link.torn = True
        while await reader.read(CHUNK_BYTES):
            pass
        await self.speaking.wait()

    async def _forward(self, link: _Link, reader: asyncio.StreamReader) -> None:
        server_reader, link.server = await asyncio.open_connection(self.host, self.port)
        for stream in (link.client, link.server):
            stream.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = [
            asyncio.ensure_future(self._pump(link, reader, link.server, self._count_up)),
            asyncio.ensure_future(self._pump(link, server_reader, link.client, self._count_down)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]
    ) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if self.mode == "silent":
                link.torn = True
                continue
            writer.write(data)
            await writer.drain()
            count(len(data))
        await self.speaking.wait()  # while silent, the end of a stream is not passed on either

    def _count_up(self, size: int) -> None:
        self.up_bytes += size

    def _count_down(self, size: int) -> None:
        self.down_bytes += size

    def _close(self, link: _Link) -> None:
        for writer in (link.client, link.server):
            if writer is not None:
                writer.close()

    def command(self, line: str) -> str | None:
        """The answer to one command; None to end."""
        match line.strip():
            case "pass" | "silent" | "reset" as mode:
                self.set_mode(mode)
                return f"ok {mode}"
            case "stats":
                return json.dumps(
                    {"up_bytes": self.up_bytes, "down_bytes": self.down_bytes, "connections": self.connections}
                )
            case "quit":
                return None
            case other:
                return f"error: {other!r} is not one of pass, silent, reset, stats, quit"


async def run(listen: int, host: str, port: int) -> None:
    """Serve until `quit` or the end of standard input; the first line printed is `ready PORT`."""
    proxy = Proxy(host, port)
    server = await asyncio.start_server(proxy.serve, LOOPBACK, listen)
    _say(f"ready {server.sockets[0].getsockname()[1]}")
    commands = asyncio.StreamReader()
    protocol = partial(asyncio.StreamReaderProtocol, commands)
    await asyncio.get_running_loop().connect_read_pipe(protocol, sys.stdin)
    while line := await commands.readline():
        answer = proxy.command(line.decode())
        if answer is None:
            break
        _say(answer)
    server.close()
    proxy.set_mode("reset")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Entry point of `python -m cloud.local.proxy`."""
    parser = argparse.ArgumentParser(prog="python -m cloud.local.proxy", description=__doc__)
    parser.add_argument("--listen", type=int, default=0, help="port on 127.0.0.1; 0 (default) takes a free one")
    parser.add_argument("--to", required=True, metavar="HOST:PORT", help="where to forward")
    arguments = parser.parse_args()
    host, _, port = arguments.to.rpartition(":")
    try:
        asyncio.run(run(arguments.listen, host, int(port)))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

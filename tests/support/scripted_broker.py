"""An MQTT 5 broker over TLS that answers as a test tells it to: what real ones do rarely."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from broker import Authority

CONNECT, PUBLISH, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 8, 12, 14


@dataclass
class Behaviour:
    """Reason codes; None for a packet that never comes."""

    connack: int | None = 0
    suback: int = 1
    puback: int | None = 0
    disconnect: int | None = None  # sent instead of the first PUBACK
    hang_up_on_publish: bool = False
    hang_up_on_subscribe: bool = False
    connects: int = 0
    client_ids: list[str] = field(default_factory=list)
    published: list[tuple[str, bytes]] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)


class ScriptedBroker:
    """Serves on a thread; `behaviour` may be changed at any time."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        cert, key = authority.issue("broker")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(cert, key)
        self._context.load_verify_locations(authority.ca)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self.behaviour = Behaviour()
        self.port = 0
        self._loop = asyncio.new_event_loop()

    @contextmanager
    def serving(self) -> Iterator[ScriptedBroker]:
        started, ended = threading.Event(), asyncio.Event()

        async def serve() -> None:
            server = await asyncio.start_server(self._client, "127.0.0.1", 0, ssl=self._context)
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            await ended.wait()
            server.close()
            for writer in self.behaviour._writers:
                writer.transport.abort()

        thread = threading.Thread(target=self._loop.run_until_complete, args=(serve(),))
        thread.start()
        assert started.wait(10)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(ended.set)
            thread.join(10)
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def send(self, topic: str, payload: bytes) -> None:
        """Publish to whoever is connected."""
        name = topic.encode()
        body = len(name).to_bytes(2, "big") + name + b"\0" + payload
        self._loop.call_soon_threadsafe(self._to_all, _packet(0x30, body))

    def disconnect(self, code: int) -> None:
        self._loop.call_soon_threadsafe(self._to_all, _packet(0xE0, bytes((code, 0))))

    def cut(self) -> None:
        """Reset every connection."""
        self._loop.call_soon_threadsafe(lambda: [w.transport.abort() for w in self.behaviour._writers])

    def _to_all(self, packet: bytes) -> None:
        for writer in self.behaviour._writers:
            writer.write(packet)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            while True:
                kind, body = await _read(reader)
                self._answer(kind, body, writer)
        if writer in self.behaviour._writers:
            self.behaviour._writers.remove(writer)
        writer.transport.abort()

    def _answer(self, kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        behaviour = self.behaviour
        match kind >> 4:
            case 1:  # CONNECT
                behaviour.connects += 1
                at = 10 + 1 + body[10]  # after the properties, which are short
                length = int.from_bytes(body[at : at + 2], "big")
                behaviour.client_ids.append(body[at + 2 : at + 2 + length].decode())
                if behaviour.connack is not None:
                    writer.write(_packet(0x20, bytes((0, behaviour.connack, 0))))
                    if behaviour.connack == 0:
                        behaviour._writers.append(writer)
            case 8 if behaviour.hang_up_on_subscribe:
                writer.transport.abort()
            case 8:  # SUBSCRIBE
                writer.write(_packet(0x90, body[:2] + bytes((0, behaviour.suback))))
            case 3:  # PUBLISH, QoS 1
                self._published(body, writer)
            case 12:  # PINGREQ
                writer.write(_packet(0xD0, b""))
            case _:
                pass

    def _published(self, body: bytes, writer: asyncio.StreamWriter) -> None:
        behaviour, length = self.behaviour, int.from_bytes(body[:2], "big")
        number = body[2 + length : 4 + length]
        behaviour.published.append((body[2 : 2 + length].decode(), body[5 + length :]))
        behaviour.arrived.set()
        if behaviour.hang_up_on_publish:
            writer.transport.abort()
        elif behaviour.disconnect is not None:
            writer.write(_packet(0xE0, bytes((behaviour.disconnect, 0))))
        elif behaviour.puback is not None:
            writer.write(_packet(0x40, number + bytes((behaviour.puback, 0))))


def _packet(kind: int, body: bytes) -> bytes:
    assert len(body) < 128, "one byte of length is enough for what is sent here"
    return bytes((kind, len(body))) + body


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    (kind,) = await reader.readexactly(1)
    length, shift = 0, 0
    while True:
        (byte,) = await reader.readexactly(1)
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return kind, await reader.readexactly(length)
        shift += 7

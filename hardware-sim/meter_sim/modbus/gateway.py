"""Modbus TCP: a gateway with the line behind it, whose port can go away for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from meter_sim.faults.spoil import TcpWire
from meter_sim.modbus.frames import ADU_MAX, Asked, refusal_body, take_tcp, tcp_frame
from meter_sim.modbus.line import Line
from meter_sim.ports import Pace, until

GATEWAY_TARGET_SILENT = 11


class TcpGateway:
    """Any number of masters at a time; each has the line to itself."""

    def __init__(self, line: Line, host: str, port: int, pace: Pace) -> None:
        self._line = line
        self._host = host
        self._port = port
        self._pace = pace
        self._wire = TcpWire()
        self._server: asyncio.Server | None = None
        self._masters: set[asyncio.Task[None]] = set()
        self._absent: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"tcp://{self._host}:{self._port}"

    async def plug(self) -> None:
        self._server = await asyncio.start_server(self._serve, self._host, self._port)
        self._host, self._port = self._server.sockets[0].getsockname()[:2]

    async def unplug(self, seconds: float) -> None:
        """Closes the port and every connection."""
        if self._absent is not None:
            self._absent.cancel()
        await self._pull()
        self._absent = asyncio.create_task(self._return(seconds))

    async def _return(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.plug()

    async def _pull(self) -> None:
        if self._server is not None:
            self._server.close()
        me = asyncio.current_task()
        others = [task for task in self._masters if task is not me]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def close(self) -> None:
        if self._absent is not None:
            self._absent.cancel()
        await self._pull()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._masters.add(task)
            task.add_done_callback(self._masters.discard)
        try:
            await self._serve_master(reader, writer)
        except (ConnectionError, ValueError, asyncio.CancelledError):
            pass  # a master that left or does not speak Modbus, or the end of the simulator
        finally:
            writer.transport.abort()

    async def _serve_master(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        buffer = held = b""
        while data := await reader.read(ADU_MAX):
            buffer += data
            asked, rest = take_tcp(buffer)
            while asked is not None:
                request, buffer = buffer[: len(buffer) - len(rest)], rest
                delay_s = self._line.delay_s(asked.unit, self._pace.answer_delay_s)
                await until(asyncio.get_running_loop().time() + delay_s)
                writer.write(held)
                outcome = await self._answer(asked, request, writer)
                if outcome is None:
                    return
                held = outcome
                asked, rest = take_tcp(buffer)
            await writer.drain()

    async def _answer(self, asked: Asked, request: bytes, writer: asyncio.StreamWriter) -> bytes | None:
        """Returns what is to go out before the next answer; None when the connection is to end."""
        outcome = self._line.serve(self._wire, asked, request)
        if outcome is None:
            writer.write(tcp_frame(asked, refusal_body(asked, GATEWAY_TARGET_SILENT)))
            return b""
        for piece in outcome.sent.pieces[:-1]:
            await until(asyncio.get_running_loop().time() + piece.pause_s)
            writer.write(piece.data)
        last = outcome.sent.pieces[-1:]
        for piece in last:
            await until(asyncio.get_running_loop().time() + piece.pause_s)
        self._line.log(asked, outcome)  # first the log: who has the answer finds it there
        for piece in last:
            writer.write(piece.data)
        if outcome.unplug_s:
            await self.unplug(outcome.unplug_s)
        if outcome.unplug_s or outcome.sent.hang_up:
            await writer.drain()
            return None
        return outcome.sent.held


@asynccontextmanager
async def serve_tcp(line: Line, host: str, port: int, pace: Pace) -> AsyncIterator[TcpGateway]:
    """Serve on a TCP port (0: any free one)."""
    gateway = TcpGateway(line, host, port, pace)
    await gateway.plug()
    try:
        yield gateway
    finally:
        await gateway.close()

"""A serial port without a device, for `ModbusLine` in virtual time: what is written is answered as a script says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from drivers.modbus.line import ModbusLine
from drivers.modbus.meter import ModbusMeter
from drivers.port import Sink, open_error
from drivers.profile.parse import Profile
from meter_sim.modbus.frames import Asked, take_rtu

Sends = Iterable[tuple[float, bytes]]  # how many seconds after the request which bytes come
Script = Callable[[Asked], Sends]


class ScriptedPort:
    """`plugged` False is an adapter that is not there; a `write` then, or unplugging, loses the port."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Asked] = []
        self.plugged = True
        self.opened = 0
        self._sink: Sink | None = None

    @property
    def is_open(self) -> bool:
        return self._sink is not None

    async def open(self, sink: Sink, timeout_s: float) -> None:
        if not self.plugged:
            raise open_error("rs485", "scripted", "line_missing", "no such device", "plug it in")
        self.opened += 1
        self._sink = sink

    def write(self, data: bytes) -> None:
        asked, rest = take_rtu(data)
        assert asked is not None
        assert rest == b""
        self.requests.append(asked)
        for delay_s, answer in self.script(asked):
            self.say(delay_s, answer)

    def say(self, delay_s: float, data: bytes) -> None:
        """Let bytes arrive, also unasked."""
        asyncio.get_running_loop().call_later(delay_s, self._arrive, data)

    def _arrive(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink.received(data)

    def unplug(self) -> None:
        self.plugged = False
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.lost("the device went away")

    def rest(self, seconds: float) -> None:
        """Bytes come as one here."""

    def drain(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self._sink = None


@asynccontextmanager
async def scripted_meter(
    script: Script, profile: Profile, unit: int = 1, baudrate: int = 9600
) -> AsyncIterator[tuple[ModbusMeter, ScriptedPort]]:
    port = ScriptedPort(script)
    line = ModbusLine("rs485", "scripted", baudrate, way=port)
    try:
        yield ModbusMeter(line, unit, profile, "main"), port
    finally:
        await line.close()

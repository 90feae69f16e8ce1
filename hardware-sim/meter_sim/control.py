"""Faults switched while the simulator runs: a line in, a line out. For demonstrations and tests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Protocol

from meter_sim.faults.schedule import DEFAULT_TIME_S, METER, Fault, parse_faults_of, parse_time_s
from meter_sim.modbus.line import Line
from meter_sim.telegrams.telegram_meter import TelegramLine

HELP = (
    "fault ENTRY[, ENTRY ...] | fault off | faults | unplug [TIME] | stuck UNIT [TIME] | zeros UNIT [TIME] | "
    "reset UNIT | rollover UNIT | swap UNIT | help"
)
BYTES_MAX = 4096


class Unpluggable(Protocol):
    async def unplug(self, seconds: float) -> None: ...


class Control:
    """`command` does what a line says and returns what to reply, `ok ...` or `error ...`."""

    def __init__(self, line: Line | TelegramLine, ports: Sequence[Unpluggable]) -> None:
        self._line = line
        self._ports = ports

    async def command(self, text: str) -> str:
        words = text.split()
        try:
            return "ok " + await self._do(words[0], words[1:]) if words else "error: an empty line; try help"
        except ValueError as error:
            return f"error: {error}"

    async def _do(self, verb: str, rest: Sequence[str]) -> str:
        if verb == "help":
            return HELP
        if verb == "unplug":
            seconds = parse_time_s(rest[0]) if rest else DEFAULT_TIME_S["unplug"]
            for port in self._ports:
                await port.unplug(seconds)
            return f"unplugged for {seconds:g}s"
        if verb in METER:
            return self._suffer(verb, rest)
        dice = self._line.dice
        if verb == "fault" and rest == ["off"]:
            dice.clear()
        elif verb == "fault" and rest:
            dice.set(parse_faults_of(" ".join(rest), self._line.meters))
        elif verb != "faults":
            raise ValueError(f"no command {verb!r}; there are: {HELP}")
        return "faults " + (", ".join(str(fault) for fault in dice.faults) or "none")

    def _suffer(self, verb: str, rest: Sequence[str]) -> str:
        if not rest or not rest[0].isdecimal() or int(rest[0]) not in self._line.meters:
            units = ", ".join(map(str, self._line.meters))
            raise ValueError(f"{verb} which meter? expected one of the units {units}")
        time_s = parse_time_s(rest[1]) if len(rest) > 1 else DEFAULT_TIME_S.get(verb, 0.0)
        unit = int(rest[0])
        self._line.meters[unit].suffer(Fault(verb, 1, time_s, unit), self._line.elapsed_s())
        return " ".join([verb, *rest])


class Lines:
    """Commands from a file descriptor, one line each; the end of it ends nothing."""

    def __init__(self, descriptor: int, control: Control, reply: Callable[[str], None]) -> None:
        self._descriptor = descriptor
        self._control = control
        self._reply = reply
        self._buffer = b""
        self._waiting: asyncio.Queue[str] = asyncio.Queue()

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            loop.add_reader(self._descriptor, self._readable)
        except PermissionError:  # a file, which is never waited for
            while self._readable():
                pass
        try:
            while True:
                self._reply(await self._control.command(await self._waiting.get()))
        finally:
            loop.remove_reader(self._descriptor)

    def _readable(self) -> bool:
        """Whether there was something."""
        data = os.read(self._descriptor, BYTES_MAX)
        if not data:
            asyncio.get_running_loop().remove_reader(self._descriptor)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._waiting.put_nowait(line.decode(errors="replace"))
        return bool(data)

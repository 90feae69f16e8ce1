"""Child processes of the demonstration: started with a log of their own, ended by their ids, none left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

READY_S = 60.0
END_S = 10.0


class ChildError(Exception):
    """A process that did not become ready or ended too early; the message says where its log is."""


class Child:
    """One process; standard error goes to `log`, standard output is read for its `ready` line and for answers."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self._process: asyncio.subprocess.Process | None = None

    @classmethod
    def python(cls, name: str, module: str, arguments: Sequence[str], log: Path) -> Child:
        return cls(name, [sys.executable, "-m", module, *arguments], log)

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *_tied(self.command),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # Ctrl-C in the terminal reaches the demo alone, which then ends its children
            )

    async def ready(self) -> str:
        """Wait for the line `ready ...`; returns what follows the word."""
        try:
            async with asyncio.timeout(READY_S):
                while line := await self.line():
                    if line.startswith("ready"):
                        return line.removeprefix("ready").strip()
        except TimeoutError as error:
            raise ChildError(f"{self.name} was not ready within {READY_S:.0f} s; see {self.log}") from error
        raise ChildError(f"{self.name} ended before it was ready; see {self.log}")

    async def line(self) -> str:
        """The next line of its output; empty at the end."""
        assert self._process is not None and self._process.stdout is not None  # noqa: S101, PT018 - started before
        return (await self._process.stdout.readline()).decode().strip()

    async def ask(self, command: str) -> str:
        """Write a line to it and read the answer."""
        assert self._process is not None and self._process.stdin is not None  # noqa: S101, PT018 - started before
        self._process.stdin.write(f"{command}\n".encode())
        await self._process.stdin.drain()
        return await self.line()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode if self._process else None

    async def kill(self) -> None:
        """kill -9, as a power cut would."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """Ask it to end; insist after a while."""
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            async with asyncio.timeout(END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _tied(command: Sequence[str]) -> list[str]:
    """So that it ends when this process is killed and cannot end it."""
    return [sys.executable, "-m", "demo.tied", str(os.getpid()), *command]


async def output_of(command: Sequence[str], log: Path) -> bytes:
    """What a short command prints; raises `ChildError` when it fails."""
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(*_tied(command), stdout=asyncio.subprocess.PIPE, stderr=errors)
        try:
            output, _ = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
    if process.returncode:
        raise ChildError(f"`{' '.join(command)}` failed; see {log}")
    return output

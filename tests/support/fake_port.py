"""A port without a device: what a test says arrives, and what a line sends is answered by a script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from drivers.meter import MeterError
from drivers.port import Sink
from drivers.telegrams.stream_line import StreamLine

Answers = Sequence[tuple[float, bytes]]  # after how many seconds, what


class FakePort:
    """`script` says what each request is answered with."""

    def __init__(self, script: Callable[[bytes], Answers] | None = None) -> None:
        self.script = script or (lambda _request: ())
        self.sent: list[bytes] = []
        self.baudrates: list[int] = []
        self.refuses: MeterError | None = None
        self.opened = 0
        self._sink: Sink | None = None

    @property
    def is_open(self) -> bool:
        return self._sink is not None

    async def open(self, sink: Sink, timeout_s: float) -> None:
        if self.refuses is not None:
            raise self.refuses
        self._sink = sink
        self.opened += 1

    def write(self, data: bytes) -> None:
        self.sent.append(data)
        loop = asyncio.get_running_loop()
        for after_s, answer in self.script(data):
            loop.call_later(after_s, self.arrive, answer)

    def arrive(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink.received(data)

    def lose(self, cause: str) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.lost(cause)

    def rest(self, seconds: float) -> None: ...
    def drain(self) -> None: ...

    def close(self) -> None:
        self._sink = None

    def set_baudrate(self, baudrate: int) -> None:
        self.baudrates.append(baudrate)


def on_fake_port(line: StreamLine, port: FakePort) -> FakePort:
    """`line` with `port` instead of its own."""
    line._port = port
    line.set_baudrate = port.set_baudrate  # type: ignore[method-assign]
    return port

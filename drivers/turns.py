"""Who may use a line: one at a time, first come, first served, and nobody waits beyond a deadline."""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf

from drivers.meter import MeterError


class Turns:
    """Of one line. `subject` and `next_step` are what the error says to whoever got no turn in time."""

    def __init__(self, subject: str, next_step: str) -> None:
        self._subject = subject
        self._next_step = next_step
        self._taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def claim(self, deadline: float = inf) -> Turn:
        """For `async with`; raises `MeterError` (line_busy) if it is not one's turn by `deadline` (loop time)."""
        return Turn(self, deadline)

    async def take(self, deadline: float) -> None:
        """Wait for a turn. Given back to one who waits it stays taken, so that nobody overtakes."""
        if not self._taken:
            self._taken = True
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        timer = None if deadline == inf else loop.call_at(deadline, _give_up, turn)
        try:
            await turn
        except TimeoutError as error:
            cause = "other meters needed the line for the whole time"
            raise MeterError(
                "line_busy", operation="use", subject=self._subject, cause=cause, next_step=self._next_step
            ) from error
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:
                self.give_back()  # it was just being handed over
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def give_back(self) -> None:
        """The next who still waits has it now."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken = False


class Turn:
    """A claim; cheaper than a generator, as there is one for each reading."""

    __slots__ = ("_deadline", "_turns")

    def __init__(self, turns: Turns, deadline: float) -> None:
        self._turns = turns
        self._deadline = deadline

    async def __aenter__(self) -> None:
        await self._turns.take(self._deadline)

    async def __aexit__(self, *error: object) -> None:
        self._turns.give_back()


def _give_up(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_exception(TimeoutError())

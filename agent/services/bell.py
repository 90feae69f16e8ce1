"""A bell for one listener: cheaper than `asyncio.Event`, since the listener goes on at once."""

from __future__ import annotations

import asyncio

from drivers.prompt import Prompt


class Bell:
    """Rung while nobody listens, it is heard later; heard, it is silent again."""

    def __init__(self) -> None:
        self._rung = False
        self._listener: Prompt[None] | None = None

    def ring(self) -> None:
        self._rung = True
        if self._listener is not None:
            self._listener.set_result(None)

    async def heard(self) -> None:
        if not self._rung:
            self._listener = Prompt(asyncio.get_running_loop())
            try:
                await self._listener
            finally:
                self._listener = None
        self._rung = False

"""A bell for one listener: an `asyncio.Event` that is silent again once it was heard."""

from __future__ import annotations

import asyncio


class Bell:
    """Rung while nobody listens, it is heard later; heard, it is silent again."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def heard(self) -> None:
        await self._rung.wait()
        self._rung.clear()

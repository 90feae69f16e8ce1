"""What happened that the delivery must know of: news of the uplink, of sealed batches, and of the configuration."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from agent.adapters.mqtt.uplink import Disconnected, UplinkEvent
from agent.core.delivery.actions import Sealed
from agent.settings import UplinkSettings

EVENTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """The configuration was read again."""

    settings: UplinkSettings


DeliveryEvent = UplinkEvent | Sealed | Reconfigured


@dataclass(slots=True)
class DeliveryInbox:
    """Bounded. If events do not fit, the delivery starts again by reading the buffer, so none is needed."""

    _events: asyncio.Queue[DeliveryEvent] = field(default_factory=lambda: asyncio.Queue(EVENTS_MAX))
    _sealed_lost: bool = False

    def sealed(self, batch: Sealed) -> None:
        """A new batch is in the buffer."""
        if self._events.full():
            self._sealed_lost = True
        else:
            self._events.put_nowait(batch)

    def emit(self, event: DeliveryEvent) -> None:
        """News of the uplink or of the configuration."""
        try:
            self._events.put_nowait(event)
        except asyncio.QueueFull:
            # Without one of its events the delivery would wait for ever: drop all of them, and connect again.
            dropped = [self._events.get_nowait() for _ in range(self._events.qsize())]
            for one in (*dropped, event):
                if isinstance(one, Reconfigured):
                    self._events.put_nowait(one)
            self._events.put_nowait(Disconnected(f"{EVENTS_MAX} events waited to be handled"))

    def take_sealed_lost(self) -> bool:
        """Whether batches were sealed that no event tells of; said once."""
        lost, self._sealed_lost = self._sealed_lost, False
        return lost

    def is_empty(self) -> bool:
        return self._events.empty()

    async def next(self, timeout_ms: int) -> DeliveryEvent | None:
        """The next event, or None when none came in time."""
        if not self._events.empty():
            return self._events.get_nowait()
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                return await self._events.get()
        except TimeoutError:
            return None

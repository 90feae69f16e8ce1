"""A courier with a real recorder and buffer in virtual time, and an uplink that does what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from recording_rig import Rig

from agent.adapters.mqtt.uplink import Connected, CredentialError, Disconnected, Published, Received, UplinkEvent
from agent.core.delivery.actions import PublishOutcome
from agent.core.delivery.machine import DeliveryMachine
from agent.services.delivery import connection as connecting
from agent.services.delivery.inbox import DeliveryInbox
from agent.settings import UplinkSettings
from agent.tasks.delivering import Courier
from wire.batch import Batch
from wire.codec import decode, digest
from wire.receipt import Receipt

SETTINGS = UplinkSettings(
    endpoint="broker",
    port=8883,
    ca=Path("ca"),
    cert=Path("cert"),
    key="key",
    topic="wattpost/apt-1/batches",
    receipts="wattpost/apt-1/receipts",
    confirm="receipt",
    fleet_size=1,
    keep_alive_s=60,
    confirm_interval_ms=3_600_000,
)


class Network:
    """What the uplinks of a test meet: `answer` decides the fate of a publish, `connect` that of an attempt."""

    def __init__(self) -> None:
        self.connect: Callable[[], UplinkEvent] = lambda: Connected(None)
        self.answer: Callable[[int, bytes], tuple[PublishOutcome, str] | None] = lambda _id, _body: (
            PublishOutcome.ACCEPTED,
            "",
        )
        self.attempt_s = 0.01
        self.credentials: CredentialError | None = None
        self.published: list[tuple[int, bytes]] = []
        self.attempts_ms: list[int] = []
        self.uplink: FakeUplink | None = None

    def batches(self) -> list[Batch]:
        return [decode(body) for _, body in self.published]

    def say(self, event: UplinkEvent) -> None:
        assert self.uplink is not None
        self.uplink.emit(event)


class FakeUplink:
    def __init__(self, network: Network, settings: UplinkSettings, emit: Callable[[UplinkEvent], None]) -> None:
        if network.credentials is not None:
            raise network.credentials
        self.network, self.settings, self.emit = network, settings, emit
        self.running = False
        network.uplink = self

    def serves(self, settings: UplinkSettings) -> bool:
        return settings == self.settings and self.network.credentials is None

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self.running = True
        self.network.attempts_ms.append(round(loop.time() * 1000))
        loop.call_later(self.network.attempt_s, self._attempted)

    def _attempted(self) -> None:
        if self.running:
            self.emit(self.network.connect())

    async def stop(self) -> None:
        self.running = False

    def publish(self, batch_id: int, body: bytes) -> None:
        self.network.published.append((batch_id, body))
        fate = self.network.answer(batch_id, body) if self.running else (PublishOutcome.LOST, "not connected")
        if fate is not None:
            delay_s = 20 if fate[0] is PublishOutcome.TIMEOUT else 0.01
            asyncio.get_running_loop().call_later(delay_s, self.emit, Published(batch_id, *fate))


class CourierRig:
    """Use `running()`."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, settings: UplinkSettings = SETTINGS) -> None:
        self.network = Network()
        monkeypatch.setattr(
            connecting, "MqttUplink", lambda settings, _box, emit: FakeUplink(self.network, settings, emit)
        )
        self.rig = Rig(path)
        self.rig.add_meter()
        self.inbox = DeliveryInbox()
        self.courier = Courier(
            settings,
            "apt-1",
            DeliveryMachine(),
            self.rig.store,
            self.rig.room,
            self.rig.journal,
            self.rig.recorder.begin_epoch,
            self.inbox,
            self.rig.clock,
            self.rig.progress,
            self.rig.watchdog,
        )
        self.rig.on_sealed = self.inbox.sealed

    @property
    def waiting(self) -> int:
        return self.rig.buffer.outbox.counts()["batches"]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[CourierRig]:
        async with self.rig.running():
            task = asyncio.create_task(self.courier.run())
            try:
                yield self
            finally:
                task.cancel()
                ended = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(ended[0], asyncio.CancelledError), ended[0]
        assert self.rig.overdue == []

    async def pass_s(self, seconds: float) -> None:
        await self.rig.pass_s(seconds)

    def receipt(self, **changes: object) -> Receipt:
        """For everything published so far that follows without a gap."""
        through, last = 0, ""
        for body in sorted((body for _, body in self.network.published), key=lambda body: decode(body).key.first):
            key = decode(body).key
            if key.epoch == self.rig.buffer.epoch and key.first == through + 1:
                through, last = key.last, digest(body)
        fields = {"epoch": self.rig.buffer.epoch, "through": through, "digest": last or None} | changes
        return Receipt(**fields)  # type: ignore[arg-type]

    async def confirm(self, **changes: object) -> None:
        self.network.say(Received(self.receipt(**changes).to_json()))
        await asyncio.sleep(0.1)

    async def lose_connection(self, cause: str = "gone") -> None:
        self.network.say(Disconnected(cause))
        await asyncio.sleep(0.001)

"""Keeps the connection to the broker: when to try, when to try again, and what is said of it."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.adapters.mqtt.uplink import Connected, CredentialError, Disconnected, MqttUplink, UplinkEvent
from agent.adapters.system.clock import Clock
from agent.adapters.system.key_access import look_at_own_key
from agent.adapters.system.logs import Changes
from agent.core.delivery.reconnect import ReconnectDelays as ReconnectDelays
from agent.services.progress import Progress
from agent.settings import UplinkSettings

CREDENTIAL_RETRY_MS = 30_000
RENEW_MS = 10 * 60_000  # how soon a subscription that was not granted is tried again
STABLE_MS = 30_000  # two boxes of one name throw each other out: a connection shorter than this is a failed attempt
KEY_LOOK_MS = 60_000
SLOW_MS = 4_000  # after this long somebody who watches wants to know what is going on


@dataclass(slots=True)
class Connection:
    """One client at a time. `emit` gets the events of the uplink, which come back through the methods here."""

    settings: UplinkSettings
    box_id: str
    emit: Callable[[UplinkEvent], None]
    clock: Clock
    progress: Progress
    changes: Changes
    random: random.Random
    uplink: MqttUplink | None = None
    _delays: ReconnectDelays = field(init=False)
    _connect_at_ms: int | None = 0
    _renew_at_ms: int | None = None
    _slow_at_ms: int | None = None
    _said_slow: bool = False
    _look_at_key_ms: int = 0

    def __post_init__(self) -> None:
        self._delays = self._new_delays()

    def _new_delays(self) -> ReconnectDelays:
        return ReconnectDelays(self.settings.fleet_size, self.random.random())

    def due_ms(self) -> list[int]:
        """When `step` has something to do."""
        times = (self._connect_at_ms, self._renew_at_ms, self._slow_at_ms)
        return [at_ms for at_ms in times if at_ms is not None]

    async def step(self) -> bool:
        """Do what is due; True when a connection was given up for it."""
        renewed = await self._renew_if_due()
        self._connect_if_due()
        self._look_at_key_if_due()
        self._say_if_slow()
        return renewed

    async def _renew_if_due(self) -> bool:
        """A connection without receipts is given up after a while: what the policy refused, it may allow by now."""
        now_ms = self.clock.mono_ms()
        if self._renew_at_ms is None or now_ms < self._renew_at_ms:
            return False
        self._renew_at_ms = None
        if self.uplink is None or not self.progress.connected:
            return False
        await self.uplink.stop()
        self._connect_at_ms = now_ms
        return True

    def _connect_if_due(self) -> None:
        now_ms = self.clock.mono_ms()
        if self._connect_at_ms is None or now_ms < self._connect_at_ms:
            return
        if self.uplink is None:
            try:
                self.uplink = MqttUplink(self.settings, self.box_id, self.emit)
            except CredentialError as error:
                self._state(f"no connection: {error}; readings are kept", logging.ERROR)
                self._connect_at_ms = now_ms + CREDENTIAL_RETRY_MS
                return
        self._connect_at_ms = None
        self._slow_at_ms = None if self._said_slow else now_ms + SLOW_MS
        self.uplink.start()

    def _look_at_key_if_due(self) -> None:
        """Warn once of a key file in use that more than its owner has access to; one that was refused is not in use."""
        now_ms = self.clock.mono_ms()
        if now_ms < self._look_at_key_ms:
            return
        self._look_at_key_ms = now_ms + KEY_LOOK_MS
        found = look_at_own_key(self.settings.key) if self.uplink is not None else None
        if found is None:
            self.changes.say("key file", "nothing to say", logging.DEBUG)
        else:
            self.changes.say("key file", f"{found.text}; delivery goes on", logging.WARNING)

    def _say_if_slow(self) -> None:
        """Once until there is a connection: awscrt takes up to 30 s to say that a handshake failed."""
        if self._slow_at_ms is None or self.clock.mono_ms() < self._slow_at_ms:
            return
        self._slow_at_ms, self._said_slow = None, True
        cause = "no answer yet, the TLS handshake is under way"
        step = "that [uplink] ca or a certificate is not accepted shows only after up to 30 s"
        self._state(f"connecting to {self.where}: {cause}; {step}; readings are kept", logging.INFO)

    @property
    def where(self) -> str:
        return f"{self.settings.endpoint}:{self.settings.port}"

    def connected(self, event: Connected) -> bool:
        """The uplink says so; False when that connection was given up before the news was read."""
        if self._connect_at_ms is not None:
            return False
        now_ms = self.clock.mono_ms()
        self.progress.connected, self.progress.connected_since_ms = True, now_ms
        self._slow_at_ms, self._said_slow = None, False
        self._state(f"connected to {self.where} as {self.box_id}", logging.INFO)
        if event.receipts is not None:
            step = f"allow iot:Subscribe and iot:Receive on {self.settings.receipts} in the policy"
            self.changes.say("receipts", f"not granted: {event.receipts}; {step}", logging.ERROR)
            self._renew_at_ms = now_ms + RENEW_MS
        else:
            self.changes.say("receipts", "subscribed to", logging.DEBUG)
            self._renew_at_ms = None
        return True

    async def disconnected(self, event: Disconnected) -> None:
        """The uplink says so, or whoever has found that it is of no use any more."""
        now_ms, since_ms = self.clock.mono_ms(), self.progress.connected_since_ms
        self.progress.connected, self.progress.connected_since_ms = False, None
        self._renew_at_ms = self._slow_at_ms = None
        if since_ms is not None and now_ms - since_ms >= STABLE_MS:
            self._delays.connected()
        if self.uplink is not None:
            await self.uplink.stop()
        delay_ms = self._delays.delay_ms(now_ms, self.random.random(), rejected=event.rejected)
        self._connect_at_ms = now_ms + delay_ms
        self._state(f"not connected to {self.where}: {event.cause}; readings are kept, trying again", logging.WARNING)

    async def reconfigure(self, settings: UplinkSettings) -> bool:
        """Take new settings; True unless the connection that there is would be made the same way again, and stays."""
        self.settings = settings
        self._look_at_key_ms = 0
        self._delays = self._new_delays()
        if self.progress.connected and self.uplink is not None and self.uplink.serves(settings):
            return False
        self.changes.forget("uplink")  # what is still so is worth saying to somebody who has just changed it
        if self.progress.connected:
            self._state("connecting anew, with the changed settings; readings are kept", logging.INFO)
        await self.drop()
        now_ms = self.clock.mono_ms()
        self._connect_at_ms = now_ms + self._delays.delay_ms(now_ms, self.random.random())
        return True

    async def drop(self) -> None:
        """Close it, for good or for other settings."""
        if self.uplink is not None:
            await self.uplink.stop()
            self.uplink = None
        self.progress.connected, self.progress.connected_since_ms = False, None
        self._renew_at_ms = self._slow_at_ms = None
        self._said_slow = False

    def _state(self, state: str, level: int) -> None:
        self.progress.uplink_state = state
        self.changes.say("uplink", state, level)

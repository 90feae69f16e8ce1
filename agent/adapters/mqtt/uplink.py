"""MQTT 5 over mutual TLS with the AWS IoT SDK: one connection, no queue of its own, every outcome an event.

awscrt calls back on its own threads; each callback only hands a value to the event loop. Reconnecting is ours
(`agent.core.delivery.reconnect`): after every failure the client is stopped and started again when it is time.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from awscrt import exceptions, io, mqtt5
from awsiot import mqtt5_client_builder

from agent.adapters.system.key_access import credentials_directory, look_at_key_file
from agent.core.delivery.actions import PublishOutcome
from agent.settings import KeyReferenceError, UplinkSettings, key_file
from agent.settings.keys import without_password
from wire.mqtt_reasons import FAILURE, NOT_AUTHORIZED, OVERLOADED

ACK_TIMEOUT_S = 20
CONNACK_TIMEOUT_MS = 20_000
PING_TIMEOUT_MS = 10_000
TIMEOUT_NAMES = frozenset({"AWS_ERROR_MQTT_TIMEOUT", "AWS_ERROR_MQTT5_OPERATION_TIMEOUT"})
REFUSED_NAMES = frozenset({"AWS_ERROR_MQTT5_PACKET_VALIDATION", "AWS_ERROR_MQTT5_PUBLISH_OPTIONS_VALIDATION"})
# By a part of awscrt's error name, the more special first.
NEXT_STEPS = (
    ("DNS", "check the network, the name server and [uplink] endpoint"),
    ("CONNECTION_REFUSED", "check [uplink] endpoint and port"),
    (
        "TLS_ERROR_NEGOTIATION",
        "check that [uplink] ca signed the broker's certificate, and that ours is registered and active",
    ),
    ("TLS_ERROR_READ", "check that the broker knows our certificate: registered, active, not expired"),
    ("NEGOTIATION_TIMEOUT", "the far end does not speak TLS as expected: check [uplink] endpoint, port and ca"),
    ("SOCKET_TIMEOUT", "check the network and [uplink] endpoint"),
    ("NO_ROUTE", "check the network"),
)
TLS_ERRORS = (exceptions.AwsCrtError, RuntimeError)  # awscrt raises either for what OpenSSL or s2n refuses
# Written once per process: one event loop thread instead of one per CPU.
_LOOP_GROUP: list[io.ClientBootstrap] = []


@dataclass(frozen=True, slots=True)
class Connected:
    """The connection stands; `receipts` is what the broker said to the subscription, None when granted."""

    receipts: str | None


@dataclass(frozen=True, slots=True)
class Disconnected:
    """No connection: `cause` in plain words; `rejected` when the broker answered that it has too much to do."""

    cause: str
    rejected: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    batch_id: int
    outcome: PublishOutcome
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Received:
    """A message on the receipts topic."""

    payload: bytes


UplinkEvent = Connected | Disconnected | Published | Received


class CredentialError(Exception):
    """Certificate, key or CA that cannot be used; the message names the file, the cause and the next step."""


def read_credentials(settings: UplinkSettings) -> tuple[bytes, bytes, bytes]:
    """`(ca, cert, key)` as PEM bytes; raises `CredentialError`, also for a key file that others have access to."""
    try:
        key = key_file(settings.key, credentials_directory())
        access = look_at_key_file(key, os.geteuid())
        if access is not None and access.severity == "error":
            raise CredentialError(access.text)
        return _read("root CA", settings.ca), _read("certificate", settings.cert), _read_key(key, settings.key)
    except KeyReferenceError as error:
        raise CredentialError(str(error)) from error
    except OSError as error:
        raise CredentialError(f"cannot read {error.filename}: {error.strerror}; {_READ_HINT}") from error


_READ_HINT = "give the agent's user read access, or correct the path in [uplink]"


def _read(what: str, path: Path) -> bytes:
    data = path.read_bytes()
    if b"-----BEGIN" not in data:
        raise CredentialError(f"the {what} {path} is not in PEM form; put the file that AWS IoT gave into its place")
    return data


def _read_key(path: Path, reference: str) -> bytes:
    data = _read("private key", path)
    if b"ENCRYPTED" in data:
        cause = f"the private key {path} is protected by a password, which nobody is there to type"
        raise CredentialError(f"{cause}; {without_password(path, reference)}")
    return data


class MqttUplink:
    """One client for one set of settings. Events arrive at `emit` on the event loop that made this object."""

    def __init__(self, settings: UplinkSettings, client_id: str, emit: Callable[[UplinkEvent], None]) -> None:
        """Raises `CredentialError`."""
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._emit = emit
        self._stopped = asyncio.Event()
        self._stopped.set()
        self._muted = False
        self._connection: object | None = None  # of awscrt's threads only: which one stands
        credentials = read_credentials(settings)
        self._credentials = _digest(credentials)
        self._client = _client(settings, self._options(client_id), *credentials)

    def _options(self, client_id: str) -> mqtt5.ClientOptions:
        settings = self._settings
        return mqtt5.ClientOptions(
            host_name=settings.endpoint,
            port=settings.port,
            bootstrap=_bootstrap(),
            socket_options=io.SocketOptions(),
            connect_options=mqtt5.ConnectPacket(
                client_id=client_id, keep_alive_interval_sec=settings.keep_alive_s, session_expiry_interval_sec=0
            ),
            session_behavior=mqtt5.ClientSessionBehaviorType.CLEAN,
            # The buffer is the queue; awscrt's own is memory without bound.
            offline_queue_behavior=mqtt5.ClientOperationQueueBehaviorType.FAIL_ALL_ON_DISCONNECT,
            # Never reached: this client is stopped after each failure. Long, so that it cannot race the stop.
            min_reconnect_delay_ms=120_000,
            max_reconnect_delay_ms=120_000,
            retry_jitter_mode=mqtt5.ExponentialBackoffJitterMode.NONE,
            ping_timeout_ms=PING_TIMEOUT_MS,
            connack_timeout_ms=CONNACK_TIMEOUT_MS,
            ack_timeout_sec=ACK_TIMEOUT_S,
            on_publish_callback_fn=self._on_publish,
            on_lifecycle_event_stopped_fn=self._on_stopped,
            on_lifecycle_event_connection_success_fn=self._on_connected,
            on_lifecycle_event_connection_failure_fn=self._on_failure,
            on_lifecycle_event_disconnection_fn=self._on_disconnection,
        )

    # Called on the event loop

    def serves(self, settings: UplinkSettings) -> bool:
        """Whether a connection made now, with `settings` and the files as they are, would be the same as this one."""
        if _of_connection(settings) != _of_connection(self._settings):
            return False
        try:
            return _digest(read_credentials(settings)) == self._credentials
        except CredentialError:
            return False

    def start(self) -> None:
        self._stopped.clear()
        self._muted = False
        self._client.start()

    async def stop(self) -> None:
        """Close the connection; returns when awscrt has let go of it, at the latest after some seconds."""
        if self._stopped.is_set():
            return
        self._muted = True  # what the connection still says while it goes down is no news
        self._client.stop(mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.NORMAL_DISCONNECTION))
        await self._stopped.wait()

    def publish(self, batch_id: int, body: bytes) -> None:
        """Send with QoS 1; a `Published` event follows in any case."""
        packet = mqtt5.PublishPacket(topic=self._settings.topic, payload=body, qos=mqtt5.QoS.AT_LEAST_ONCE)

        def done(future: Any) -> None:
            self._post(Published(batch_id, *_outcome(future)))

        self._client.publish(packet).add_done_callback(done)

    # Called on awscrt's threads, except `_deliver`

    def _post(self, event: UplinkEvent) -> None:
        # RuntimeError: the loop is closed, the process is ending, nobody is left to tell.
        try:
            self._loop.call_soon_threadsafe(self._deliver, event)
        except RuntimeError:
            return

    def _deliver(self, event: UplinkEvent) -> None:
        if not (self._muted and isinstance(event, Connected | Disconnected)):
            self._emit(event)

    def _on_publish(self, data: mqtt5.PublishReceivedData) -> None:
        payload = data.publish_packet.payload
        self._post(Received(payload.encode() if isinstance(payload, str) else bytes(payload or b"")))

    def _on_connected(self, _data: mqtt5.LifecycleConnectSuccessData) -> None:
        mine = self._connection = object()
        if self._settings.confirm == "puback":  # no receipts are to come, and asking for them may be denied
            self._post(Connected(None))
            return
        subscription = mqtt5.Subscription(self._settings.receipts, mqtt5.QoS.AT_LEAST_ONCE)

        def granted(future: Any) -> None:
            # A disconnection fails the subscription too, and is told first: after it this would be news of nothing.
            if self._connection is mine:
                self._post(Connected(_subscription_problem(future)))

        self._client.subscribe(mqtt5.SubscribePacket([subscription])).add_done_callback(granted)

    def _on_failure(self, data: mqtt5.LifecycleConnectFailureData) -> None:
        connack = data.connack_packet
        if connack is not None and connack.reason_code is not None:
            code = int(connack.reason_code)
            self._post(Disconnected(_refusal(code), rejected=code in OVERLOADED))
        else:
            self._post(Disconnected(_words(data.exception)))

    def _on_disconnection(self, data: mqtt5.LifecycleDisconnectData) -> None:
        self._connection = None
        packet = data.disconnect_packet
        if packet is not None and packet.reason_code:
            code = int(packet.reason_code)
            self._post(Disconnected(f"the broker closed the connection, reason 0x{code:02x}", code in OVERLOADED))
        else:
            self._post(Disconnected(_words(data.exception)))

    def _on_stopped(self, _data: mqtt5.LifecycleStoppedData) -> None:
        try:
            self._loop.call_soon_threadsafe(self._stopped.set)
        except RuntimeError:
            return


def _of_connection(settings: UplinkSettings) -> UplinkSettings:
    """Without what has no part in a connection."""
    return replace(settings, fleet_size=0, confirm_interval_ms=0)


def _digest(credentials: Iterable[bytes]) -> bytes:
    return hashlib.sha256(b"\0".join(credentials)).digest()


def _bootstrap() -> io.ClientBootstrap:
    if not _LOOP_GROUP:
        group = io.EventLoopGroup(1)
        _LOOP_GROUP.append(io.ClientBootstrap(group, io.DefaultHostResolver(group, 4)))
    return _LOOP_GROUP[0]


def _client(settings: UplinkSettings, options: mqtt5.ClientOptions, ca: bytes, cert: bytes, key: bytes) -> mqtt5.Client:
    """With the SDK's settings for AWS IoT: ALPN on port 443, no more publishes per second than one connection may."""
    try:
        return mqtt5_client_builder.mtls_from_bytes(
            cert,
            key,
            endpoint=settings.endpoint,
            ca_bytes=ca,
            client_options=options,
            enable_metrics_collection=False,  # they would go into the user name
        )
    except TLS_ERRORS as error:
        if _is_pair(cert, key):
            cause = f"the root CA {settings.ca} has no certificate that can be used; put the broker's root there"
        else:
            cause = f"certificate {settings.cert} and key {settings.key} are damaged or do not belong together"
            cause += "; put the pair that was issued for this box into their place; which it is: wattpost check-config"
        raise CredentialError(cause) from error


def _is_pair(cert: bytes, key: bytes) -> bool:
    try:
        io.ClientTlsContext(io.TlsContextOptions.create_client_with_mtls(cert, key))
    except TLS_ERRORS:
        return False
    return True


def _outcome(future: Any) -> tuple[PublishOutcome, str]:
    """What became of a publish: awscrt resolves a PUBACK with an error code as success."""
    error = future.exception()
    if error is None:
        code = int(future.result().puback.reason_code or 0)
        if code < FAILURE:
            return PublishOutcome.ACCEPTED, ""
        if code == NOT_AUTHORIZED:
            return PublishOutcome.DENIED, "the broker denies it (PUBACK 0x87)"
        return (PublishOutcome.BUSY if code in OVERLOADED else PublishOutcome.REFUSED), f"PUBACK 0x{code:02x}"
    name = getattr(error, "name", "")
    if name in TIMEOUT_NAMES:
        return PublishOutcome.TIMEOUT, f"no PUBACK within {ACK_TIMEOUT_S} s"
    return (PublishOutcome.REFUSED if name in REFUSED_NAMES else PublishOutcome.LOST), _words(error)


def _subscription_problem(future: Any) -> str | None:
    error = future.exception()
    if error is not None:
        return _words(error)
    codes = [int(code) for code in future.result().reason_codes]
    return next((f"SUBACK 0x{code:02x}" for code in codes if code >= FAILURE), None)


def _refusal(code: int) -> str:
    if code == NOT_AUTHORIZED:
        return "the broker does not authorise this client id and certificate (CONNACK 0x87)"
    return f"the broker refuses the connection (CONNACK 0x{code:02x})"


def _words(error: Exception | None) -> str:
    """awscrt's message, its name for searching, and the next step where there is one that helps."""
    name, message = getattr(error, "name", ""), getattr(error, "message", "") or str(error)
    step = next((f"; {step}" for part, step in NEXT_STEPS if part in name), "")
    return f"{message.rstrip('.')} ({name}){step}" if name else message

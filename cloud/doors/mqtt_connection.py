"""The connection to any MQTT 5 broker, over mutual TLS: receive batches, acknowledge them, send receipts.

The session persists and nothing is acknowledged before it is stored, so the broker sends again what a killed receiver
had not stored. awscrt calls back on its own threads, which only put messages into a queue; the broker sends at most
`RECEIVE_MAXIMUM` unacknowledged messages, which bounds that queue.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from awscrt import exceptions, io, mqtt5

from cloud.doors.topic_pattern import TopicPattern
from cloud.ports import InboundMessage, StoreError
from wire.errors import WireError
from wire.mqtt_reasons import FAILURE
from wire.topics import check_publish_topic, expand

DOOR = "mqtt"
RECEIVE_MAXIMUM = 100
KEPT_MAX = 1_000  # messages that wait for the store although no broker holds them for us
SESSION_EXPIRY_S = 7 * 86400
KEEP_ALIVE_S = 60
RECONNECT_MIN_MS, RECONNECT_MAX_MS = 500, 10_000
ACK_TIMEOUT_S = 20
CONNACK_TIMEOUT_MS = 20_000
_log = logging.getLogger("wattpost.receive")


class DoorError(RuntimeError):
    """The door cannot open and trying again will not help; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Address and PEM files."""

    host: str
    port: int
    ca: Path
    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class MqttMessage:
    inbound: InboundMessage
    acknowledgement: mqtt5.PublishAcknowledgementControlHandle | None  # None at QoS 0
    connection: int  # the number of the connection on which it came


class MqttConnection:
    def __init__(self, broker: Broker, client_id: str, topic: TopicPattern, receipts: str) -> None:
        """Raises `DoorError` if certificate or key cannot be used."""
        self._broker = broker
        self._topic = topic
        self._receipts = receipts
        self._messages: queue.SimpleQueue[MqttMessage | DoorError] = queue.SimpleQueue()
        self._stopping = self._connected = False
        self._stopped: Future[None] = Future()
        self._connection = 0
        self._resumed = 0  # the last connection on which the broker resumed our session
        self._failure: str | None = None
        self._client = mqtt5.Client(self._options(client_id))

    def _options(self, client_id: str) -> mqtt5.ClientOptions:
        return mqtt5.ClientOptions(
            host_name=self._broker.host,
            port=self._broker.port,
            tls_ctx=_tls_context(self._broker),
            connect_options=mqtt5.ConnectPacket(
                client_id=client_id,
                keep_alive_interval_sec=KEEP_ALIVE_S,
                session_expiry_interval_sec=SESSION_EXPIRY_S,
                receive_maximum=RECEIVE_MAXIMUM,
            ),
            session_behavior=mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS,
            extended_validation_and_flow_control_options=mqtt5.ExtendedValidationAndFlowControlOptions.NONE,
            offline_queue_behavior=mqtt5.ClientOperationQueueBehaviorType.FAIL_ALL_ON_DISCONNECT,
            min_reconnect_delay_ms=RECONNECT_MIN_MS,
            max_reconnect_delay_ms=RECONNECT_MAX_MS,
            connack_timeout_ms=CONNACK_TIMEOUT_MS,
            ack_timeout_sec=ACK_TIMEOUT_S,
            on_publish_callback_fn=self._on_publish,
            on_lifecycle_event_stopped_fn=lambda _data: self._stopped.set_result(None),
            on_lifecycle_event_connection_success_fn=self._on_connected,
            on_lifecycle_event_connection_failure_fn=self._on_failure,
            on_lifecycle_event_disconnection_fn=self._on_disconnection,
            disable_metrics=True,
        )

    def start(self) -> None:
        _log.info("connecting to %s:%d", self._broker.host, self._broker.port)
        self._client.start()

    def stop(self) -> None:
        """Disconnect. The session stays at the broker, which keeps collecting messages for it."""
        self._stopping = True
        self._client.stop(mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.NORMAL_DISCONNECTION))
        if not self._connected:  # do not wait for an attempt: its handshake may take half a minute
            _log.info("stopped, not connected to %s", self._broker.host)
            return
        try:
            self._stopped.result(ACK_TIMEOUT_S)
        except FutureTimeoutError:
            _log.warning("the connection to %s did not close within %d s", self._broker.host, ACK_TIMEOUT_S)

    def receive(self, timeout_s: float) -> list[MqttMessage]:
        """The messages that have come. Waits up to `timeout_s` for the first. Raises `DoorError`."""
        received: list[MqttMessage] = []
        try:
            received.append(_message(self._messages.get(timeout=timeout_s)))
            while len(received) < RECEIVE_MAXIMUM:
                received.append(_message(self._messages.get_nowait()))
        except queue.Empty:
            pass
        return received

    def still_ours(self, messages: Sequence[MqttMessage]) -> list[MqttMessage]:
        """Without messages that the broker sends again, because it resumed our session on a later connection."""
        resumed = self._resumed
        kept = [one for one in messages if one.acknowledgement is None or one.connection >= resumed]
        if len(kept) > KEPT_MAX:
            dropped = len(kept) - KEPT_MAX
            _log.warning("dropped %d batches: the store is unavailable; the boxes will resend them", dropped)
        return kept[-KEPT_MAX:]

    def acknowledge(self, messages: Sequence[MqttMessage]) -> None:
        """Let the broker forget messages. Those of a lost connection come again, which is harmless."""
        for message in messages:
            if message.acknowledgement is None:
                continue
            try:
                self._client.invoke_publish_acknowledgement(message.acknowledgement)
            except (RuntimeError, exceptions.AwsCrtError) as error:
                _log.debug("acknowledge: %s", error)

    def send(self, device: str, payload: bytes) -> None:
        """As in `ReceiptSender`."""
        try:
            topic = check_publish_topic(expand(self._receipts, device))
        except WireError as error:
            raise StoreError(f"publish a receipt to {device!r}: {error}") from error
        future: Any = self._client.publish(
            mqtt5.PublishPacket(topic=topic, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE)
        )
        try:
            code = future.result(ACK_TIMEOUT_S).puback.reason_code
        except (exceptions.AwsCrtError, FutureTimeoutError) as error:
            raise StoreError(f"publish a receipt to {topic}: {error}; the box will ask again") from error
        if code >= FAILURE:
            raise StoreError(f"publish a receipt to {topic}: refused, reason 0x{code:02x}; allow it at the broker")

    # Called on awscrt's threads

    def _on_publish(self, data: mqtt5.PublishReceivedData) -> None:
        packet = data.publish_packet
        payload = packet.payload
        inbound = InboundMessage(
            device=self._topic.box_of(packet.topic or ""),
            data=payload.encode() if isinstance(payload, str) else bytes(payload or b""),
            door=DOOR,
        )
        acquire = data.acquire_publish_acknowledgement_control
        self._messages.put(MqttMessage(inbound, acquire() if acquire else None, self._connection))

    def _on_connected(self, data: mqtt5.LifecycleConnectSuccessData) -> None:
        self._connection += 1
        self._connected = True
        if data.connack_packet.session_present:
            self._resumed = self._connection
        self._failure = None
        _log.info("connected to %s:%d", self._broker.host, self._broker.port)
        subscription = mqtt5.Subscription(self._topic.filter, mqtt5.QoS.AT_LEAST_ONCE)
        self._client.subscribe(mqtt5.SubscribePacket([subscription])).add_done_callback(self._on_subscribed)

    def _on_subscribed(self, future: Any) -> None:
        error = future.exception()
        if error is not None:
            _log.warning(
                "subscribe to %s: %s; it will be tried again at the next connection", self._topic.filter, error
            )
            return
        (code,) = future.result().reason_codes
        if code >= FAILURE:
            self._messages.put(
                DoorError(f"subscribe to {self._topic.filter}: refused, reason 0x{code:02x}; allow it at the broker")
            )
        else:
            _log.info("subscribed to %s", self._topic.filter)

    def _on_failure(self, data: mqtt5.LifecycleConnectFailureData) -> None:
        if self._stopping:
            return
        connack = data.connack_packet
        cause = f"refused, reason 0x{connack.reason_code:02x}" if connack and connack.reason_code else data.exception
        if self._failure != str(cause):
            self._failure = str(cause)
            _log.warning("connect to %s:%d: %s; trying again", self._broker.host, self._broker.port, cause)

    def _on_disconnection(self, data: mqtt5.LifecycleDisconnectData) -> None:
        self._connected = False
        # The client reports its own stop as an error too, before it has stopped.
        if self._stopping:
            _log.info("stopped, and disconnected from %s", self._broker.host)
        else:
            _log.info("disconnected from %s: %s", self._broker.host, data.exception)


def _message(received: MqttMessage | DoorError) -> MqttMessage:
    if isinstance(received, DoorError):
        raise received
    return received


def _tls_context(broker: Broker) -> io.ClientTlsContext:
    """In two steps, because awscrt does not say which of the files it cannot use."""
    failures = (OSError, RuntimeError, exceptions.AwsCrtError)  # RuntimeError: awscrt's native code
    try:
        options = io.TlsContextOptions.create_client_with_mtls_from_path(str(broker.cert), str(broker.key))
        io.ClientTlsContext(options)
    except failures as error:
        raise DoorError(
            f"use certificate {broker.cert} and key {broker.key}: {error}; they must be PEM files that belong together"
        ) from error
    try:
        options.override_default_trust_store_from_path(None, str(broker.ca))
        return io.ClientTlsContext(options)
    except failures as error:
        raise DoorError(f"use root certificate {broker.ca}: {error}; it must be a PEM file that can be read") from error

"""Batches, stores (SQLite, and DynamoDB + S3 in one local cloud per session) and failing stores."""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from awscrt import io, mqtt5

from cloud.local.bring_up import LocalCloud, LocalConnection, local_cloud
from cloud.ports import InboundMessage, Stores
from cloud.stores.aws.stores import aws_stores
from cloud.stores.sqlite.stores import open_stores
from wire.batch import Anchor, Batch, BatchKey, Column, Event, Reading, Series
from wire.codec import encode
from wire.receipt import Receipt, parse_receipt
from wire.resolution import Resolution

BOOT = b"bootboot"
ANCHOR = Anchor(1_790_000_000_000, 20)
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Box:
    """Makes batches of one device and epoch."""

    device: str
    epoch: bytes = b"epoch--1"

    def batch(
        self,
        first: int,
        last: int,
        *,
        rev: int = 0,
        salt: int = 0,
        confirm: bool = False,
        anchor: Anchor | None = ANCHOR,
        boot: bytes = BOOT,
        events: Sequence[Event] = (),
    ) -> Batch:
        """A reading for every number not taken by an event; `salt` changes the content."""
        taken = {event.seq for event in events}
        readings = tuple(
            Reading(seq, seq * 1000, (2300 + salt, seq)) for seq in range(first, last + 1) if seq not in taken
        )
        columns = (Column("voltage_l1_n", Resolution(1, -1)), Column("energy_active_import_total", Resolution(1, 0)))
        return Batch(
            key=BatchKey(self.device, self.epoch, first, last, rev),
            boot=boot,
            anchor=anchor,
            confirm_wanted=confirm,
            series=(Series("main", columns, readings),),
            events=tuple(events),
        )

    def message(self, first: int, last: int, **options: Any) -> InboundMessage:
        return self.wrap(encode(self.batch(first, last, **options)))

    def wrap(self, data: bytes) -> InboundMessage:
        return InboundMessage(device=self.device, data=data, door="test", principal="cert", client_id=self.device)


@pytest.fixture
def box() -> Box:
    return Box(f"apt-{secrets.token_hex(6)}")


@pytest.fixture
def sqlite_stores(tmp_path: Path) -> Stores:
    return open_stores(tmp_path / "store")


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """MiniStack with the committed template deployed and `apt-test` registered."""
    with local_cloud(tmp_path_factory.mktemp("cloud"), "apt-test") as running:
        yield running


@pytest.fixture(scope="session")
def connection(cloud: LocalCloud) -> LocalConnection:
    return cloud.connection


@pytest.fixture(scope="session")
def cloud_stores(connection: LocalConnection) -> Stores:
    return aws_stores(connection.client("dynamodb"), connection.table, connection.client("s3"), connection.bucket)


@pytest.fixture(params=["sqlite", "aws"])
def stores(request: pytest.FixtureRequest) -> Stores:
    """Both implementations: what a test says holds for each."""
    fixture: Stores = request.getfixturevalue("sqlite_stores" if request.param == "sqlite" else "cloud_stores")
    return fixture


class MqttBox:
    """An MQTT 5 client with a client certificate, as the agent is one."""

    def __init__(self, host: str, port: int, ca: str, cert: str, key: str, client_id: str) -> None:
        self._events: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._receipts: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._stopped = threading.Event()
        tls = io.TlsContextOptions.create_client_with_mtls_from_path(cert, key)
        tls.override_default_trust_store_from_path(None, ca)
        self.client = mqtt5.Client(
            mqtt5.ClientOptions(
                host_name=host,
                port=port,
                tls_ctx=io.ClientTlsContext(tls),
                connect_options=mqtt5.ConnectPacket(client_id=client_id),
                extended_validation_and_flow_control_options=mqtt5.ExtendedValidationAndFlowControlOptions.NONE,
                on_publish_callback_fn=lambda data: self._receipts.put(bytes(data.publish_packet.payload)),
                on_lifecycle_event_connection_success_fn=self._events.put,
                on_lifecycle_event_connection_failure_fn=self._events.put,
                on_lifecycle_event_stopped_fn=lambda _data: self._stopped.set(),
                disable_metrics=True,
            )
        )

    def connect(self) -> object:
        """What the first attempt came to."""
        self.client.start()
        return self._events.get(timeout=TIMEOUT_S)

    def subscribe(self, topic: str) -> int:
        packet = mqtt5.SubscribePacket([mqtt5.Subscription(topic, mqtt5.QoS.AT_LEAST_ONCE)])
        return int(self.client.subscribe(packet).result(TIMEOUT_S).reason_codes[0])

    def publish(self, topic: str, payload: bytes) -> int:
        packet = mqtt5.PublishPacket(topic=topic, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE)
        return int(self.client.publish(packet).result(TIMEOUT_S).puback.reason_code)

    def receipt(self) -> Receipt:
        return parse_receipt(self._receipts.get(timeout=TIMEOUT_S))

    def receipt_where(self, good: Callable[[Receipt], bool]) -> Receipt:
        """The first that `good` accepts; receipts are cumulative, so earlier ones may say less."""
        while not good(receipt := self.receipt()):
            pass
        return receipt

    def close(self) -> None:
        self.client.stop()
        self._stopped.wait(TIMEOUT_S)


@pytest.fixture
def mqtt_box() -> Iterator[Callable[..., MqttBox]]:
    made: list[MqttBox] = []

    def make(**options: Any) -> MqttBox:
        made.append(MqttBox(**options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def with_part(stores: Stores, part: str, wrapper: object) -> Stores:
    return replace(stores, **{part: wrapper})  # type: ignore[arg-type]

"""The MQTT client against a scripted broker: every answer that a broker may give becomes the right event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from broker import Authority, free_port
from scripted_broker import Behaviour, ScriptedBroker

from agent.adapters.mqtt import uplink as uplink_module
from agent.adapters.mqtt.uplink import (
    Connected,
    CredentialError,
    Disconnected,
    MqttUplink,
    Published,
    Received,
    UplinkEvent,
    read_credentials,
)
from agent.core.delivery.actions import PublishOutcome
from agent.settings import UplinkSettings

E = TypeVar("E")
TOPIC, RECEIPTS = "$aws/rules/wattpost_batch/apt-7", "wattpost/apt-7/receipts"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def broker(tmp_path: Path, authority: Authority) -> Iterator[ScriptedBroker]:
    with ScriptedBroker(tmp_path, authority).serving() as broker:
        yield broker


@pytest.fixture
def settings(authority: Authority) -> UplinkSettings:
    cert, key = authority.issue("apt-7")
    return UplinkSettings(
        endpoint="localhost",
        port=1,
        ca=authority.ca,
        cert=cert,
        key=str(key),
        topic=TOPIC,
        receipts=RECEIPTS,
        confirm="receipt",
        fleet_size=1,
        keep_alive_s=60,
        confirm_interval_ms=0,
    )


class Client:
    """An uplink and the events that came of it."""

    def __init__(self, settings: UplinkSettings) -> None:
        self.events: asyncio.Queue[UplinkEvent] = asyncio.Queue()
        self.uplink = MqttUplink(settings, "apt-7", self.events.put_nowait)

    async def next(self, kind: type[E]) -> E:
        event = await asyncio.wait_for(self.events.get(), 30)
        assert isinstance(event, kind), event
        return event


@asynccontextmanager
async def client(settings: UplinkSettings, broker: ScriptedBroker | None = None) -> AsyncIterator[Client]:
    made = Client(settings if broker is None else replace(settings, port=broker.port))
    made.uplink.start()
    try:
        yield made
    finally:
        await made.uplink.stop()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_it_connects_with_its_name_subscribes_publishes_and_receives(
    broker: ScriptedBroker, settings: UplinkSettings
) -> None:
    async def scenario() -> None:
        async with client(settings, broker) as box:
            assert (await box.next(Connected)).receipts is None
            box.uplink.publish(7, b"\x00batch\xff")
            assert await box.next(Published) == Published(7, PublishOutcome.ACCEPTED)
            broker.send(RECEIPTS, b'{"v": 1}')
            assert await box.next(Received) == Received(b'{"v": 1}')
        assert box.events.empty(), "that it was told to stop is no news"

    run(scenario())
    assert broker.behaviour.client_ids == ["apt-7"]
    assert broker.behaviour.published == [(TOPIC, b"\x00batch\xff")]


@pytest.mark.parametrize(
    ("code", "outcome", "says"),
    [
        (0x00, PublishOutcome.ACCEPTED, ""),
        (0x10, PublishOutcome.ACCEPTED, ""),  # nobody has subscribed to it: the broker has it all the same
        (0x87, PublishOutcome.DENIED, "the broker denies it (PUBACK 0x87)"),
        (0x97, PublishOutcome.BUSY, "PUBACK 0x97"),
        (0x80, PublishOutcome.REFUSED, "PUBACK 0x80"),
        (0x90, PublishOutcome.REFUSED, "PUBACK 0x90"),
        (0x99, PublishOutcome.REFUSED, "PUBACK 0x99"),
    ],
)
def test_a_puback_counts_by_its_reason(
    code: int, outcome: PublishOutcome, says: str, broker: ScriptedBroker, settings: UplinkSettings
) -> None:
    """awscrt resolves them all as success."""
    broker.behaviour = Behaviour(puback=code)

    async def scenario() -> None:
        async with client(settings, broker) as box:
            await box.next(Connected)
            box.uplink.publish(1, b"batch")
            assert await box.next(Published) == Published(1, outcome, says)

    run(scenario())


def test_a_puback_that_does_not_come(
    broker: ScriptedBroker, settings: UplinkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_module, "ACK_TIMEOUT_S", 1)
    broker.behaviour = Behaviour(puback=None)

    async def scenario() -> None:
        async with client(settings, broker) as box:
            await box.next(Connected)
            box.uplink.publish(1, b"batch")
            assert await box.next(Published) == Published(1, PublishOutcome.TIMEOUT, "no PUBACK within 1 s")

    run(scenario())


@pytest.mark.parametrize("hang_up", [True, False])
def test_a_publish_whose_connection_ends_is_told_as_lost_by_the_stop_that_follows(
    hang_up: bool, broker: ScriptedBroker, settings: UplinkSettings
) -> None:
    """And is not sent again by awscrt behind our back when the connection is back."""
    broker.behaviour = Behaviour(puback=None, hang_up_on_publish=hang_up)

    async def scenario() -> None:
        async with client(settings, broker) as box:
            await box.next(Connected)
            box.uplink.publish(1, b"batch")
            await asyncio.to_thread(broker.behaviour.arrived.wait, 10)
            if not hang_up:
                broker.disconnect(0x8E)
            await box.next(Disconnected)
            await box.uplink.stop()
            event = await box.next(Published)
            assert (event.batch_id, event.outcome) == (1, PublishOutcome.LOST)
            sent = len(broker.behaviour.published)
            broker.behaviour = Behaviour(published=broker.behaviour.published)
            box.uplink.start()
            await box.next(Connected)
            box.uplink.publish(2, b"next")
            assert await box.next(Published) == Published(2, PublishOutcome.ACCEPTED)
            assert [body for _, body in broker.behaviour.published[sent:]] == [b"next"]

    run(scenario())


def test_a_publish_while_there_is_no_connection_is_not_queued(broker: ScriptedBroker, settings: UplinkSettings) -> None:
    async def scenario() -> None:
        async with client(settings, broker) as box:
            await box.next(Connected)
            await box.uplink.stop()
            box.uplink.publish(1, b"batch")
            assert (await box.next(Published)).outcome is PublishOutcome.LOST
            box.uplink.start()
            await box.next(Connected)
        assert broker.behaviour.published == []

    run(scenario())


@pytest.mark.parametrize(
    ("code", "says", "rejected"),
    [
        (0x87, "the broker does not authorise this client id and certificate (CONNACK 0x87)", False),
        (0x88, "the broker refuses the connection (CONNACK 0x88)", True),
        (0x97, "the broker refuses the connection (CONNACK 0x97)", True),
        (0x9F, "the broker refuses the connection (CONNACK 0x9f)", True),
        (0x85, "the broker refuses the connection (CONNACK 0x85)", False),
    ],
)
def test_a_connection_that_is_refused(
    code: int, says: str, rejected: bool, broker: ScriptedBroker, settings: UplinkSettings
) -> None:
    broker.behaviour = Behaviour(connack=code)

    async def scenario() -> None:
        async with client(settings, broker) as box:
            event = await box.next(Disconnected)
            assert event.cause.startswith(says)
            assert event.rejected is rejected

    run(scenario())


@pytest.mark.parametrize(("code", "rejected"), [(0x8E, False), (0x97, True), (0x89, True), (0x98, False)])
def test_a_connection_that_the_broker_ends(
    code: int, rejected: bool, broker: ScriptedBroker, settings: UplinkSettings
) -> None:
    async def scenario() -> None:
        async with client(settings, broker) as box:
            await box.next(Connected)
            broker.disconnect(code)
            event = await box.next(Disconnected)
            assert event.cause.startswith(f"the broker closed the connection, reason 0x{code:02x}")
            assert event.rejected is rejected
            await box.uplink.stop()
            box.uplink.start()
            await box.next(Connected)

    run(scenario())


def test_receipts_that_are_not_granted_are_told_with_the_connection(
    broker: ScriptedBroker, settings: UplinkSettings
) -> None:
    broker.behaviour = Behaviour(suback=0x87)

    async def scenario() -> None:
        async with client(settings, broker) as box:
            assert (await box.next(Connected)).receipts == "SUBACK 0x87"

    run(scenario())


def test_a_connection_that_ends_before_its_receipts_are_granted_is_told_as_ended_only(
    broker: ScriptedBroker, settings: UplinkSettings
) -> None:
    """awscrt tells of the disconnection first, and then that the subscription has failed."""
    broker.behaviour = Behaviour(hang_up_on_subscribe=True)

    async def scenario() -> None:
        async with client(settings, broker) as box:
            await box.next(Disconnected)
            await asyncio.sleep(0.2)
            assert box.events.empty()
            await box.uplink.stop()
            broker.behaviour = Behaviour()
            box.uplink.start()
            assert (await box.next(Connected)).receipts is None

    run(scenario())


def test_where_the_brokers_word_is_enough_nothing_is_subscribed_to(
    broker: ScriptedBroker, settings: UplinkSettings
) -> None:
    broker.behaviour = Behaviour(suback=0x87)

    async def scenario() -> None:
        async with client(replace(settings, confirm="puback"), broker) as box:
            assert (await box.next(Connected)).receipts is None

    run(scenario())


def test_a_broker_that_is_not_there_and_one_that_comes_back(broker: ScriptedBroker, settings: UplinkSettings) -> None:
    async def scenario() -> None:
        async with client(replace(settings, port=free_port())) as box:
            event = await box.next(Disconnected)
            assert "connection refused" in event.cause
            assert not event.rejected
            await box.uplink.stop()
            await box.uplink.stop()

    run(scenario())


def test_it_never_reconnects_by_itself(broker: ScriptedBroker, settings: UplinkSettings) -> None:
    async def scenario() -> None:
        async with client(settings, broker) as box:
            await box.next(Connected)
            broker.cut()
            await box.next(Disconnected)
            await asyncio.sleep(1.5)
            assert broker.behaviour.connects == 1
            assert box.events.empty()

    run(scenario())


# Credentials


def spoil_missing(settings: UplinkSettings) -> None:
    settings.cert.unlink()


def spoil_text(settings: UplinkSettings) -> None:
    settings.ca.write_text("hello")


def spoil_damaged(settings: UplinkSettings) -> None:
    settings.cert.write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")


def spoil_damaged_ca(settings: UplinkSettings) -> None:
    settings.ca.write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")


def spoil_other_key(settings: UplinkSettings) -> None:
    folder = settings.cert.parent / "other"
    folder.mkdir()
    _, key = Authority(folder).issue("apt-7")
    Path(settings.key).write_bytes(key.read_bytes())


def spoil_open_key(settings: UplinkSettings) -> None:
    Path(settings.key).chmod(0o604)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_missing, "cannot read {cert}: No such file or directory; give the agent's user read access, or correct"),
        (spoil_text, "the root CA {ca} is not in PEM form; put the file that AWS IoT gave into its place"),
        (spoil_damaged, "certificate {cert} and key {key} are damaged or do not belong together; put the pair"),
        (spoil_other_key, "certificate {cert} and key {key} are damaged or do not belong together; put the pair"),
        (spoil_damaged_ca, "the root CA {ca} has no certificate that can be used; put the broker's root there"),
        (
            spoil_open_key,
            '"{key}" has mode 0604, so every user of this machine has access to the private key; run: chmod 600 {key}',
        ),
    ],
)
def test_files_that_cannot_be_used_are_named_with_the_next_step(
    spoil: Callable[[UplinkSettings], None], says: str, settings: UplinkSettings
) -> None:
    spoil(settings)

    async def scenario() -> None:
        with pytest.raises(CredentialError) as caught:
            Client(settings)
        assert str(caught.value).startswith(says.format(cert=settings.cert, key=settings.key, ca=settings.ca))

    run(scenario())


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o620])
def test_a_key_that_its_group_has_access_to_is_used(settings: UplinkSettings, mode: int) -> None:
    Path(settings.key).chmod(mode)
    assert read_credentials(settings)[2] == Path(settings.key).read_bytes()


def test_a_key_from_systemd(settings: UplinkSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from_systemd = replace(settings, key="credential:device.key")
    with pytest.raises(CredentialError, match="needs the systemd unit"):
        read_credentials(from_systemd)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "device.key").write_bytes(Path(settings.key).read_bytes())
    (tmp_path / "device.key").chmod(0o400)
    assert read_credentials(from_systemd)[2] == Path(settings.key).read_bytes()
    (tmp_path / "device.key").chmod(0o600)
    (tmp_path / "device.key").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    with pytest.raises(
        CredentialError, match=r"off the file KEY that LoadCredential= names: .* && mv KEY.plain KEY, then"
    ):
        read_credentials(from_systemd)

"""The step that all doors share: ingest, acknowledge, answer, count; and the loop of the MQTT door around it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from cloud.doors.mqtt import RETRY_MAX_S, serve
from cloud.doors.mqtt_connection import MqttMessage
from cloud.doors.take import TakeResult, UnsentReceipt, is_done, take
from cloud.ingest.outcome import IngestOutcome, IngestStatus
from cloud.ports import InboundMessage, StoreError, Stores


class Sent:
    """Sends receipts, except to the boxes in `refused`."""

    def __init__(self, *refused: str) -> None:
        self.devices: list[str] = []
        self._refused = refused

    def send(self, device: str, payload: bytes) -> None:
        if device in self._refused:
            raise StoreError(f"publish a receipt to {device}: throttled")
        self.devices.append(device)


class FailingArchive:
    """Fails for the first `times` objects."""

    def __init__(self, stores: Stores, times: int) -> None:
        self._archive, self._times = stores.archive, times

    def put(self, name: str, data: bytes) -> None:
        if self._times:
            self._times -= 1
            raise StoreError("write the archive: no space")
        self._archive.put(name, data)


def test_outcomes_are_in_the_order_of_the_messages_and_counted(sqlite_stores: Stores, box: Any) -> None:
    first = box.message(1, 3)
    take([first], sqlite_stores, Sent())
    taken = take([box.wrap(b"poison"), first, box.message(4, 6, confirm=True)], sqlite_stores, Sent())
    statuses = [outcome.status for outcome in taken.outcomes]
    assert statuses == [IngestStatus.QUARANTINED, IngestStatus.RESEND, IngestStatus.STORED]
    assert taken.counts() == {"quarantined": 1, "resend": 1, "stored": 1}
    assert taken.receipts_sent == 1


def test_a_receipt_that_cannot_be_sent_is_named_and_fails_nothing(sqlite_stores: Stores, box: Any) -> None:
    other = replace(box, device=f"{box.device}-b")
    sent = Sent(box.device)
    taken = take([box.message(1, 3, confirm=True), other.message(1, 2, confirm=True)], sqlite_stores, sent)
    assert taken.unsent == (UnsentReceipt(box.device, f"publish a receipt to {box.device}: throttled"),)
    assert (taken.receipts_sent, sent.devices) == (1, [other.device])
    assert taken.counts() == {"stored": 2}


def test_messages_are_acknowledged_after_they_are_stored_and_before_the_receipts(
    sqlite_stores: Stores, box: Any
) -> None:
    sent = Sent()
    seen: list[tuple[list[bool], int, list[str]]] = []

    def acknowledge(outcomes: Sequence[IngestOutcome]) -> None:
        stored = len(list(sqlite_stores.batches.of(box.device)))
        seen.append(([is_done(outcome) for outcome in outcomes], stored, list(sent.devices)))

    take([box.message(1, 3, confirm=True), box.wrap(b"poison")], sqlite_stores, sent, acknowledge)
    assert seen == [([True, True], 1, [])]
    assert sent.devices == [box.device]


def test_what_failed_is_not_done(sqlite_stores: Stores, box: Any) -> None:
    taken = take([box.message(1, 3)], replace(sqlite_stores, archive=FailingArchive(sqlite_stores, 1)), Sent())
    assert [is_done(outcome) for outcome in taken.outcomes] == [False]
    assert taken.counts() == {"failed": 1}


class FakeConnection(Sent):
    """Delivers `messages` once; `stopping` is set when all of them are acknowledged."""

    def __init__(self, messages: Sequence[InboundMessage], stopping: Stopping) -> None:
        super().__init__()
        self._waiting = [MqttMessage(message, None, 1) for message in messages]
        self._unacknowledged, self._stopping = len(messages), stopping
        self.acknowledged: list[bytes] = []

    def receive(self, _timeout_s: float) -> list[MqttMessage]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def still_ours(self, messages: Sequence[MqttMessage]) -> list[MqttMessage]:
        return list(messages)

    def acknowledge(self, messages: Sequence[MqttMessage]) -> None:
        self.acknowledged += [message.inbound.data for message in messages]
        if len(self.acknowledged) == self._unacknowledged:
            self._stopping.set()


class Stopping(threading.Event):
    """Notes for how long it was waited for, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_s: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits_s.append(timeout)
        return self.is_set()


class Heard:
    def __init__(self) -> None:
        self.counts: list[dict[str, int]] = []
        self.last = False

    def took(self, messages: Sequence[InboundMessage], taken: TakeResult) -> None:
        assert len(messages) == len(taken.outcomes)
        self.counts.append(taken.counts())

    def tick(self, *, last: bool = False) -> None:
        self.last = last


@pytest.mark.parametrize("failures", [0, 1, 7])
def test_the_mqtt_door_tries_again_what_failed_and_acknowledges_it_once(
    sqlite_stores: Stores, box: Any, failures: int
) -> None:
    stopping, heard = Stopping(), Heard()
    poison, good = box.wrap(b"poison"), box.message(1, 3, confirm=True)
    connection: Any = FakeConnection([poison, good], stopping)
    stores = replace(sqlite_stores, archive=FailingArchive(sqlite_stores, failures))
    serve(connection, stores, stopping, heard)
    assert connection.acknowledged == [poison.data, good.data]
    assert stopping.waits_s == [1, 2, 4, 8, 16, RETRY_MAX_S, RETRY_MAX_S][:failures]
    assert connection.devices == [box.device]
    assert sum(counts.get("failed", 0) for counts in heard.counts) == failures
    assert heard.last

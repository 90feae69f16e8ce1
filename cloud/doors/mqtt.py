"""The door at any MQTT 5 broker: receive, take, acknowledge; keep what failed and try it again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from cloud.doors.mqtt_connection import MqttConnection, MqttMessage
from cloud.doors.take import TakeResult, is_done, take
from cloud.ingest.outcome import IngestOutcome
from cloud.ports import InboundMessage, Stores

RECEIVE_S = 0.2
RETRY_MIN_S, RETRY_MAX_S = 1.0, 30.0


class DoorReport(Protocol):
    """Hears of each group of messages, and is called again and again while nothing comes."""

    def took(self, messages: Sequence[InboundMessage], taken: TakeResult) -> None: ...

    def tick(self, *, last: bool = False) -> None: ...


def serve(connection: MqttConnection, stores: Stores, stopping: threading.Event, report: DoorReport) -> None:
    """Until `stopping`. Raises `DoorError` if the broker refuses the subscription.

    A message that failed is not acknowledged and is tried again, with a growing delay. If its connection is gone it
    is dropped, because the broker sends it again on the next connection.
    """
    waiting: list[MqttMessage] = []
    delay_s = RETRY_MIN_S
    while not stopping.is_set():
        waiting = connection.still_ours([*waiting, *connection.receive(RECEIVE_S)])
        report.tick()
        if not waiting:
            continue
        waiting = _take(connection, stores, waiting, report)
        if waiting:
            stopping.wait(delay_s)
            delay_s = min(2 * delay_s, RETRY_MAX_S)
        else:
            delay_s = RETRY_MIN_S
    report.tick(last=True)


def _take(
    connection: MqttConnection, stores: Stores, messages: Sequence[MqttMessage], report: DoorReport
) -> list[MqttMessage]:
    """The messages that failed."""

    def acknowledge(outcomes: Sequence[IngestOutcome]) -> None:
        connection.acknowledge(
            [message for message, outcome in zip(messages, outcomes, strict=True) if is_done(outcome)]
        )

    inbound = [message.inbound for message in messages]
    taken = take(inbound, stores, connection, acknowledge)
    report.took(inbound, taken)
    return [message for message, outcome in zip(messages, taken.outcomes, strict=True) if not is_done(outcome)]

"""A cloud that is not ours: paho behind any broker, sending receipts as docs/wire-format.md says."""

from __future__ import annotations

import hashlib
import json
import queue
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt

from wire.batch import Batch
from wire.codec import decode

TIMEOUT_S = 30.0


class ForeignCloud:
    """Keeps every batch by its range; answers when told to. One device, whose epochs are told apart."""

    def __init__(self, port: int, ca: Path, cert: Path, key: Path) -> None:
        self.batches: dict[tuple[str, int, int], tuple[Batch, bytes]] = {}
        self.copies = 0
        self.different = 0
        self._arrived: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        self._subscribed: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="receiver", protocol=mqtt.MQTTv5)
        self._client.tls_set(str(ca), str(cert), str(key))
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe("wattpost/+/batches", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.put(True)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("localhost", port)
        self._client.loop_start()
        self._subscribed.get(timeout=TIMEOUT_S)

    def _on_message(self, _client: object, _data: object, message: Any) -> None:
        batch = decode(message.payload)
        key = (batch.key.epoch.hex(), batch.key.first, batch.key.last)
        if key in self.batches:
            self.copies += 1
            self.different += self.batches[key][1] != message.payload
        self.batches[key] = (batch, message.payload)
        self._arrived.put(batch)

    def wait_subscribed(self) -> None:
        """After the broker was away: paho has come back by itself and has subscribed again."""
        self._subscribed.get(timeout=TIMEOUT_S)

    def next_batch(self) -> Batch:
        return self._arrived.get(timeout=TIMEOUT_S)

    def in_order(self) -> list[Batch]:
        return [batch for _, (batch, _) in sorted(self.batches.items(), key=lambda item: item[0][1])]

    def numbers(self) -> list[int]:
        """The record numbers of all batches, ascending; all of one epoch."""
        assert len({epoch for epoch, _, _ in self.batches}) == 1
        records = [(*batch.series, batch.events) for batch, _ in self.batches.values()]
        return sorted(
            [reading.seq for parts in records for series in parts[:-1] for reading in series.readings]
            + [event.seq for parts in records for event in parts[-1]]
        )

    def confirm(self, box: str) -> int:
        """Send the receipt for all that came without a gap; returns through which number."""
        through, digest = 0, None
        for (_, first, last), (_, data) in sorted(self.batches.items(), key=lambda item: item[0][1]):
            if first == through + 1:
                through, digest = last, hashlib.sha256(data).digest()[:16].hex()
        (epoch,) = {epoch for epoch, _, _ in self.batches}
        receipt = {"v": 1, "epoch": epoch, "through": through, "digest": digest, "ranges": [], "held": [], "pace": None}
        self._client.publish(f"wattpost/{box}/receipts", json.dumps(receipt), qos=1).wait_for_publish(TIMEOUT_S)
        return through

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

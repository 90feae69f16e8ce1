"""Receipts to the boxes through AWS IoT."""

from __future__ import annotations

from typing import Any, Protocol

from cloud.stores.aws.errors import translated


class IotData(Protocol):
    """The part of boto3's `iot-data` client that is used."""

    def publish(self, **request: object) -> dict[str, Any]: ...


class IotReceiptSender:
    """`template` is a topic with `{box}` in place of the device's name."""

    def __init__(self, client: IotData, template: str) -> None:
        self._client = client
        self._template = template

    def send(self, device: str, payload: bytes) -> None:
        with translated(f"publish a receipt to {device}"):
            self._client.publish(topic=self._template.replace("{box}", device), qos=1, payload=payload)

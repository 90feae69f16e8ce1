"""Objects in one S3 bucket: the archive and the quarantine; and receipts through AWS IoT."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, Protocol

from botocore.exceptions import ClientError

from cloud.ingest.archive import delivered, provenance
from cloud.ports import Delivery, Quarantined, StoreError
from cloud.stores.aws.errors import code_of, translated

ATTEMPTS = 5
FIRST_DELAY_S = 0.05
QUARANTINE = "quarantine/"


class S3(Protocol):
    """What is used of boto3's `s3` client."""

    def put_object(self, **request: object) -> dict[str, Any]: ...
    def get_object(self, **request: object) -> dict[str, Any]: ...
    def list_objects_v2(self, **request: object) -> dict[str, Any]: ...


class IotData(Protocol):
    """What is used of boto3's `iot-data` client."""

    def publish(self, **request: object) -> dict[str, Any]: ...


class S3Archive:
    def __init__(self, client: S3, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, name: str, data: bytes) -> None:
        _create_object(self._client, self._bucket, f"archive/{name}", data)


class S3Quarantine:
    """`quarantine/DIGEST.bin` beside `DIGEST.json` with the reason and where it came from."""

    def __init__(self, client: S3, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, entry: Quarantined) -> None:
        note = {**provenance(entry.delivery), "reason": entry.reason}
        _create_object(self._client, self._bucket, f"{QUARANTINE}{entry.digest}.bin", entry.delivery.data)
        _create_object(self._client, self._bucket, f"{QUARANTINE}{entry.digest}.json", json.dumps(note).encode())

    def deliveries(self) -> Iterator[Delivery]:
        """For an operator's own rights: the function may not read what it has put there."""
        for name in self._names():
            if name.endswith(".json"):
                note, data = self._get(name), self._get(name.removesuffix(".json") + ".bin")
                if delivery := delivered(json.loads(note), data):
                    yield delivery

    def _names(self) -> Iterator[str]:
        request: dict[str, Any] = {"Bucket": self._bucket, "Prefix": QUARANTINE}
        while True:
            with translated(f"list s3://{self._bucket}/{QUARANTINE}"):
                page = self._client.list_objects_v2(**request)
            yield from (entry["Key"] for entry in page.get("Contents", ()))
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def _get(self, name: str) -> bytes:
        with translated(f"read s3://{self._bucket}/{name}"):
            data: bytes = self._client.get_object(Bucket=self._bucket, Key=name)["Body"].read()
        return data


def _create_object(client: S3, bucket: str, name: str, data: bytes) -> None:
    """Create-only: 412 says that it is there already, 409 that another writer is at it."""
    operation = f"write s3://{bucket}/{name}"
    for attempt in range(ATTEMPTS):
        with translated(operation):
            try:
                client.put_object(Bucket=bucket, Key=name, Body=data, IfNoneMatch="*")
            except ClientError as error:
                if code_of(error) in {"PreconditionFailed", "412"}:
                    return
                if code_of(error) not in {"ConditionalRequestConflict", "409"}:
                    raise
            else:
                return
        time.sleep(FIRST_DELAY_S * 2**attempt)
    raise StoreError(f"{operation}: another writer was in the way {ATTEMPTS} times; it will be tried again")


class IotReceiptSender:
    """`template` has `{box}` where the device's name goes."""

    def __init__(self, client: IotData, template: str) -> None:
        self._client = client
        self._template = template

    def send(self, device: str, payload: bytes) -> None:
        with translated(f"publish a receipt to {device}"):
            self._client.publish(topic=self._template.replace("{box}", device), qos=1, payload=payload)

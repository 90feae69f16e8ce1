"""The quarantine in S3: `quarantine/DIGEST.bin` holds the bytes, `quarantine/DIGEST.json` reason and provenance."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cloud.ingest.archive_object import message_of_note, provenance
from cloud.ports import InboundMessage, Quarantined
from cloud.stores.aws.errors import translated
from cloud.stores.aws.s3 import S3, create_object

PREFIX = "quarantine/"


class S3Quarantine:
    def __init__(self, client: S3, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, entry: Quarantined) -> None:
        note = {**provenance(entry.message), "reason": entry.reason}
        create_object(self._client, self._bucket, f"{PREFIX}{entry.digest}.bin", entry.message.data)
        create_object(self._client, self._bucket, f"{PREFIX}{entry.digest}.json", json.dumps(note).encode())

    def messages(self) -> Iterator[InboundMessage]:
        """Needs the rights of an operator: the function may write to the quarantine, not read it."""
        for name in self._names():
            if name.endswith(".json"):
                note, data = self._get(name), self._get(name.removesuffix(".json") + ".bin")
                if message := message_of_note(json.loads(note), data):
                    yield message

    def _names(self) -> Iterator[str]:
        request: dict[str, Any] = {"Bucket": self._bucket, "Prefix": PREFIX}
        while True:
            with translated(f"list s3://{self._bucket}/{PREFIX}"):
                page = self._client.list_objects_v2(**request)
            yield from (entry["Key"] for entry in page.get("Contents", ()))
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def _get(self, name: str) -> bytes:
        with translated(f"read s3://{self._bucket}/{name}"):
            data: bytes = self._client.get_object(Bucket=self._bucket, Key=name)["Body"].read()
        return data

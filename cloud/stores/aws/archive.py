"""The archive in S3: `archive/SHA256`. `cloud/ingest/archive_object.py` describes the content of an object."""

from __future__ import annotations

from cloud.stores.aws.s3 import S3, create_object


class S3Archive:
    def __init__(self, client: S3, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, name: str, data: bytes) -> None:
        create_object(self._client, self._bucket, f"archive/{name}", data)

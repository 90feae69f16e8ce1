"""Objects in the S3 bucket that are created once and never changed."""

from __future__ import annotations

import time
from typing import Any, Protocol

from botocore.exceptions import ClientError

from cloud.ports import StoreError
from cloud.stores.aws.errors import code_of, translated

CREATE_ATTEMPTS = 5
CREATE_DELAY_S = 0.05  # doubles with each attempt


class S3(Protocol):
    """The part of boto3's `s3` client that is used."""

    def put_object(self, **request: object) -> dict[str, Any]: ...
    def get_object(self, **request: object) -> dict[str, Any]: ...
    def list_objects_v2(self, **request: object) -> dict[str, Any]: ...


def create_object(client: S3, bucket: str, name: str, data: bytes) -> None:
    """Create the object unless it exists. S3 answers 412 if it exists, 409 if another writer is creating it."""
    operation = f"write s3://{bucket}/{name}"
    for attempt in range(CREATE_ATTEMPTS):
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
        time.sleep(CREATE_DELAY_S * 2**attempt)
    raise StoreError(f"{operation}: another writer was in the way {CREATE_ATTEMPTS} times; it will be tried again")

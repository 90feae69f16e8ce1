"""The stores that a command's options name: a folder, a local cloud, or AWS."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cloud.cli.extra import is_there, refuse
from cloud.cli.options import fail
from cloud.ports import StoreError, Stores


def open_to_read(folder: Path) -> Stores:
    """The stores of `wattpost receive`, which may be running. Raises `StoreError`."""
    from cloud.stores.sqlite import stores as sqlite  # noqa: PLC0415 - only one backend is needed

    return sqlite.open_to_read(folder)


@contextmanager
def locked(folder: Path) -> Iterator[Stores]:
    """The stores of `wattpost receive`, which must not be running. Raises `StoreError`."""
    from cloud.stores.sqlite.lock import StoreInUseError, StoreLock  # noqa: PLC0415 - only one backend is needed
    from cloud.stores.sqlite.stores import open_stores  # noqa: PLC0415

    try:
        lock = StoreLock(folder)
    except StoreInUseError as error:
        fail(error, os.EX_UNAVAILABLE)
    with closing(lock):
        yield open_stores(folder)


def open_local(folder: Path, command: str) -> Stores:
    """The stores of a running local cloud. Raises `StoreError`; ends if the extra for `command` is not installed."""
    if not is_there("boto3"):
        refuse(command)
    from cloud.local.bring_up import LocalConnection  # noqa: PLC0415 - boto3 takes 0.3 s to import
    from cloud.local.errors import LocalCloudError  # noqa: PLC0415

    try:
        return LocalConnection.load(folder).stores()
    except LocalCloudError as error:
        raise StoreError(str(error)) from error


def open_aws(table: str, bucket: str, command: str) -> Stores:
    """The stores on AWS, with the caller's own rights; ends if the extra for `command` is not installed."""
    if not is_there("boto3"):
        refuse(command)
    import boto3  # noqa: PLC0415 - takes 0.3 s to import, and only an extra brings it

    from cloud.stores.aws.stores import aws_stores  # noqa: PLC0415

    return aws_stores(boto3.client("dynamodb"), table, boto3.client("s3"), bucket)

"""Errors of botocore become `StoreError`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from cloud.ports import StoreError


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Raise an error of botocore as a `StoreError` that names the operation."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise StoreError(f"{operation}: {error}; it will be tried again") from error


def code_of(error: ClientError) -> str:
    """AWS's code of the error; empty if it has none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_refused_condition(error: ClientError) -> bool:
    """Whether DynamoDB refused a write because its condition does not hold."""
    return code_of(error) == "ConditionalCheckFailedException"

"""What botocore raises, as the one error of the stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from cloud.ports import StoreError


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """What fails in here is a `StoreError` that names the operation."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise StoreError(f"{operation}: {error}; it will be tried again") from error


def code_of(error: ClientError) -> str:
    """AWS's name of the error; empty where it has none."""
    return str(error.response.get("Error", {}).get("Code", ""))

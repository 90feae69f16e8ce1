"""The DynamoDB table: partition key `pk` is the device, sort key `sk` begins with the kind of the item.

`b#EPOCH#FIRST` is a batch (`batches.py`), `a#BOOT` an anchor (`anchors.py`), `l#EPOCH` a ledger (`ledgers.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from cloud.stores.aws.errors import translated

Item = dict[str, dict[str, Any]]


class DynamoDB(Protocol):
    """The part of boto3's `dynamodb` client that is used."""

    def get_item(self, **request: object) -> dict[str, Any]: ...
    def batch_get_item(self, **request: object) -> dict[str, Any]: ...
    def put_item(self, **request: object) -> dict[str, Any]: ...
    def query(self, **request: object) -> dict[str, Any]: ...
    def scan(self, **request: object) -> dict[str, Any]: ...


class PagedCall(Protocol):
    """`query` or `scan`."""

    def __call__(self, **request: object) -> dict[str, Any]: ...


def items_of(client: DynamoDB, table: str, device: str, prefix: str) -> Iterator[Item]:
    """All items of a device whose sort key begins with `prefix`, ascending."""
    return pages(
        client.query,
        f"read {device} from {table}",
        TableName=table,
        KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
        ExpressionAttributeValues={":pk": {"S": device}, ":prefix": {"S": prefix}},
        ConsistentRead=True,
    )


def pages(call: PagedCall, operation: str, **request: object) -> Iterator[Item]:
    """The items of all pages of an answer."""
    while True:
        with translated(operation):
            page = call(**request)
        yield from page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

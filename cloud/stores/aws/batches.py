"""The batches in DynamoDB: one item per batch. `_item` writes all its attributes, `_head` reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cloud.ports import BESIDE_MAX, BatchItem, Put, StoredBatch, StoredHead, StoreError
from cloud.stores.aws.errors import is_refused_condition, translated
from cloud.stores.aws.table import DynamoDB, Item, items_of, pages
from wire.batch import BatchKey

PREFIX = "b#"
_HEAD_NAMES = {"#last": "last", "#first": "first"}  # reserved words of DynamoDB
_HEAD = "#first, #last, rev, digest, withdrawn"
_MAY_WRITE = "attribute_not_exists(pk) OR attribute_exists(withdrawn) OR (#last = :last AND #rev > :rev)"


def _item(item: BatchItem) -> Item:
    """The item without `data`, the bytes of the batch, and without the mark `withdrawn`."""
    key = item.key
    return {
        **_item_key(key, key.first),
        "first": {"N": str(key.first)},
        "last": {"N": str(key.last)},
        "rev": {"N": str(key.rev)},
        "digest": {"S": item.digest},
    }


def _item_key(key: BatchKey, first: int) -> Item:
    return {"pk": {"S": key.device}, "sk": {"S": _sort_key(key.epoch, first)}}


def _sort_key(epoch: bytes, first: int) -> str:
    return f"{PREFIX}{epoch.hex()}#{first:016x}"


def _head(item: Item) -> StoredHead:
    return StoredHead(int(item["first"]["N"]), int(item["last"]["N"]), int(item["rev"]["N"]), str(item["digest"]["S"]))


class DynamoBatches:
    def __init__(self, client: DynamoDB, table: str) -> None:
        self._client = client
        self._table = table

    def overlapping(self, keys: Sequence[BatchKey]) -> list[StoredHead | None]:
        return [self._overlapping_one(key) for key in keys]

    def _overlapping_one(self, key: BatchKey) -> StoredHead | None:
        """The batch that begins at `key.first`, else one that overlaps.

        Stored batches share no numbers, so the nearest is enough. A batch that another invocation has just put and
        will withdraw must hide neither; therefore a few more are looked at.
        """
        found = None
        for head in islice(self._heads_down(key), BESIDE_MAX):
            if head.first == key.first:
                return head
            if head.last >= key.first:
                found = found or head
            if head.first < key.first:
                break
        return found

    def other(self, key: BatchKey) -> StoredHead | None:
        heads = (head for head in islice(self._heads_down(key), BESIDE_MAX) if head.first != key.first)
        return next((head for head in heads if head.last >= key.first), None)

    def _heads_down(self, key: BatchKey) -> Iterator[StoredHead]:
        """The batches of the epoch that begin at or before `key.last`, descending."""
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high",
            "ExpressionAttributeValues": {
                ":pk": {"S": key.device},
                ":low": {"S": _sort_key(key.epoch, 0)},
                ":high": {"S": _sort_key(key.epoch, key.last)},
            },
            "ExpressionAttributeNames": _HEAD_NAMES,
            "ProjectionExpression": _HEAD,
            "ScanIndexForward": False,
            "ConsistentRead": True,
            "Limit": 1,  # nearly always enough, and each item costs a read unit
        }
        operation = f"look up a batch of {key.device} in {self._table}"
        return (_head(item) for item in pages(self._client.query, operation, **request) if "withdrawn" not in item)

    def beside(self, key: BatchKey) -> list[bytes]:
        heads = list(takewhile(lambda head: head.last >= key.first, islice(self._heads_down(key), BESIDE_MAX + 1)))
        if len(heads) > BESIDE_MAX:
            return []
        return [data for head in heads if (data := self._data(key, head)) is not None]

    def _data(self, key: BatchKey, head: StoredHead) -> bytes | None:
        with translated(f"read a batch of {key.device} in {self._table}"):
            answer = self._client.get_item(TableName=self._table, Key=_item_key(key, head.first), ConsistentRead=True)
        item = answer.get("Item", {})
        return bytes(item["data"]["B"]) if "data" in item else None

    def put(self, items: Sequence[BatchItem]) -> list[Put]:
        verdicts: list[Put] = []
        for item in items:
            before = _verdict_beside(item.key, items, verdicts)
            verdicts.append(self._put_one(item) if before is None else before)
        return verdicts

    def _put_one(self, item: BatchItem) -> Put:
        """One conditional write; the stored item is read only if it is refused. FAILED affects no other batch."""
        key = item.key
        try:
            self._client.put_item(
                TableName=self._table,
                Item={**_item(item), "data": {"B": item.data}},
                ConditionExpression=_MAY_WRITE,
                ExpressionAttributeNames={"#last": "last", "#rev": "rev"},
                ExpressionAttributeValues={":last": {"N": str(key.last)}, ":rev": {"N": str(key.rev)}},
            )
        except ClientError as error:
            return self._verdict(item) if is_refused_condition(error) else Put.FAILED
        except BotoCoreError:
            return Put.FAILED
        return Put.STORED

    def _verdict(self, item: BatchItem) -> Put:
        try:
            head = self._overlapping_one(item.key)
        except StoreError:
            return Put.FAILED
        verdict = Put.FAILED if head is None else head.verdict(item.key, item.digest)
        return Put.FAILED if verdict is Put.STORED else verdict  # it changed since the write: try again

    def withdraw(self, item: BatchItem) -> None:
        """Leave a mark without the bytes, which are in quarantine: the function is not allowed to delete."""
        with translated(f"withdraw a batch of {item.key.device} in {self._table}"):
            try:
                self._client.put_item(
                    TableName=self._table,
                    Item={**_item(item), "withdrawn": {"BOOL": True}},
                    ConditionExpression="digest = :digest",
                    ExpressionAttributeValues={":digest": {"S": item.digest}},
                )
            except ClientError as error:
                if not is_refused_condition(error):
                    raise

    def devices(self) -> Iterator[str]:
        """Scans the whole table: for exports and tests, not for serving queries."""
        operation = f"list devices of {self._table}"
        items = pages(self._client.scan, operation, TableName=self._table, ProjectionExpression="pk")
        yield from sorted({item["pk"]["S"] for item in items})

    def of(self, device: str) -> Iterator[StoredBatch]:
        for item in items_of(self._client, self._table, device, PREFIX):
            if "withdrawn" not in item:
                yield StoredBatch(device, bytes(item["data"]["B"]))


def _verdict_beside(key: BatchKey, items: Sequence[BatchItem], verdicts: Sequence[Put]) -> Put | None:
    """The verdict that an earlier item of this call implies for `key`.

    A conditional write sees only the item at its own place, so it does not see an overlap with another beginning.
    """
    for other, verdict in zip((item.key for item in items), verdicts, strict=False):
        same_epoch = (other.device, other.epoch) == (key.device, key.epoch) and verdict is not Put.CONFLICT
        if same_epoch and other.first != key.first and other.first <= key.last and key.first <= other.last:
            return Put.FAILED if verdict is Put.FAILED else Put.CONFLICT
    return None

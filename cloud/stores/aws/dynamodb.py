"""The stores on AWS: one DynamoDB table (partition = device) and one S3 bucket.

Sort keys: `b#EPOCH#FIRST` a batch (its bytes are the packed item), `a#BOOT` an anchor, `l#EPOCH` a ledger.
Retries of single calls are botocore's; what still fails is a `StoreError`, and the queue tries the message again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, takewhile
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from cloud.core.ledger import Ledger
from cloud.ports import (
    BESIDE_MAX,
    BatchItem,
    LedgerKey,
    Put,
    StoredBatch,
    StoredHead,
    StoreError,
    Stores,
    VersionedLedger,
)
from cloud.stores.aws.errors import code_of, translated
from cloud.stores.aws.s3 import S3, S3Archive, S3Quarantine
from wire.batch import Anchor, BatchKey

ATTEMPTS = 5
FIRST_DELAY_S = 0.05
LEDGER_DELAY_S, LEDGER_DELAY_MAX_S = 0.02, 0.4
REFUSED = "ConditionalCheckFailedException"
KEYS_PER_GET = 100  # DynamoDB's limit
_STORED = "attribute_not_exists(pk) OR attribute_exists(withdrawn) OR (#last = :last AND #rev > :rev)"
_BETTER = "attribute_not_exists(pk) OR uncertainty_ms > :u OR (uncertainty_ms = :u AND boot_utc_ms > :b)"

Item = dict[str, dict[str, Any]]


class DynamoDB(Protocol):
    """What is used of boto3's `dynamodb` client."""

    def get_item(self, **request: object) -> dict[str, Any]: ...
    def batch_get_item(self, **request: object) -> dict[str, Any]: ...
    def put_item(self, **request: object) -> dict[str, Any]: ...
    def query(self, **request: object) -> dict[str, Any]: ...
    def scan(self, **request: object) -> dict[str, Any]: ...


def aws_stores(dynamodb: DynamoDB, table: str, s3: S3, bucket: str) -> Stores:
    """All stores in one table and one bucket."""
    return Stores(
        archive=S3Archive(s3, bucket),
        readings=DynamoReadings(dynamodb, table),
        ledgers=DynamoLedgers(dynamodb, table),
        quarantine=S3Quarantine(s3, bucket),
    )


class DynamoReadings:
    def __init__(self, client: DynamoDB, table: str) -> None:
        self._client = client
        self._table = table

    def overlapping(self, keys: Sequence[BatchKey]) -> list[StoredHead | None]:
        return [self._overlapping_one(key) for key in keys]

    def _overlapping_one(self, key: BatchKey) -> StoredHead | None:
        """The one at its very place, else one that overlaps: of stored batches, which share no numbers, there is one.

        What another invocation has only just put, and will withdraw, may hide neither.
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
        """Of the epoch of `key`, from the one that begins at `key.last` or before it, downwards."""
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high",
            "ExpressionAttributeValues": {
                ":pk": {"S": key.device},
                ":low": {"S": _batch_sort_key(key.epoch, 0)},
                ":high": {"S": _batch_sort_key(key.epoch, key.last)},
            },
            "ExpressionAttributeNames": {"#last": "last", "#first": "first"},
            "ProjectionExpression": "#first, #last, rev, digest, withdrawn",
            "ScanIndexForward": False,
            "ConsistentRead": True,
            "Limit": 1,  # nearly always enough, and each costs a read unit
        }
        while True:
            with translated(f"look up a batch of {key.device} in {self._table}"):
                page = self._client.query(**request)
            yield from (_head(item) for item in page["Items"] if "withdrawn" not in item)
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def beside(self, key: BatchKey) -> list[bytes]:
        heads = list(takewhile(lambda head: head.last >= key.first, islice(self._heads_down(key), BESIDE_MAX + 1)))
        if len(heads) > BESIDE_MAX:
            return []
        return [data for head in heads if (data := self._data(key, head)) is not None]

    def _data(self, key: BatchKey, head: StoredHead) -> bytes | None:
        place = {"pk": {"S": key.device}, "sk": {"S": _batch_sort_key(key.epoch, head.first)}}
        with translated(f"read a batch of {key.device} in {self._table}"):
            item = self._client.get_item(TableName=self._table, Key=place, ConsistentRead=True).get("Item", {})
        return bytes(item["data"]["B"]) if "data" in item else None

    def withdraw(self, item: BatchItem) -> None:
        """Its place stays marked, without the bytes, which lie in quarantine: the function may delete nothing."""
        try:
            with translated(f"withdraw a batch of {item.key.device} in {self._table}"):
                self._client.put_item(
                    TableName=self._table,
                    Item={**_described(item), "withdrawn": {"BOOL": True}},
                    ConditionExpression="digest = :digest",
                    ExpressionAttributeValues={":digest": {"S": item.digest}},
                )
        except StoreError as error:
            if not (isinstance(error.__cause__, ClientError) and code_of(error.__cause__) == REFUSED):
                raise

    def put(self, items: Sequence[BatchItem]) -> list[Put]:
        verdicts: list[Put] = []
        for item in items:
            before = _verdict_beside(item.key, items, verdicts)
            verdicts.append(self._put_one(item) if before is None else before)
        return verdicts

    def _put_one(self, item: BatchItem) -> Put:
        """One conditional write; only if it is refused is what is there read. FAILED here spoils no other batch."""
        key = item.key
        try:
            self._client.put_item(
                TableName=self._table,
                Item={**_described(item), "data": {"B": item.data}},
                ConditionExpression=_STORED,
                ExpressionAttributeNames={"#last": "last", "#rev": "rev"},
                ExpressionAttributeValues={":last": {"N": str(key.last)}, ":rev": {"N": str(key.rev)}},
            )
        except ClientError as error:
            return self._verdict(item) if code_of(error) == REFUSED else Put.FAILED
        except BotoCoreError:
            return Put.FAILED
        return Put.STORED

    def _verdict(self, item: BatchItem) -> Put:
        try:
            head = self._overlapping_one(item.key)
        except StoreError:
            return Put.FAILED
        verdict = Put.FAILED if head is None else head.verdict(item.key, item.digest)
        return Put.FAILED if verdict is Put.STORED else verdict  # changed meanwhile: try again

    def put_anchors(self, device: str, anchors: Mapping[bytes, Anchor]) -> None:
        for boot, anchor in anchors.items():
            with translated(f"store an anchor of {device} in {self._table}"):
                self._put_anchor(device, boot, anchor)

    def _put_anchor(self, device: str, boot: bytes, anchor: Anchor) -> None:
        utc, uncertainty = {"N": str(anchor.boot_utc_ms)}, {"N": str(anchor.uncertainty_ms)}
        try:
            self._client.put_item(
                TableName=self._table,
                Item={
                    "pk": {"S": device},
                    "sk": {"S": f"a#{boot.hex()}"},
                    "boot_utc_ms": utc,
                    "uncertainty_ms": uncertainty,
                },
                ConditionExpression=_BETTER,
                ExpressionAttributeValues={":u": uncertainty, ":b": utc},
            )
        except ClientError as error:
            if code_of(error) != REFUSED:
                raise

    def devices(self) -> Iterator[str]:
        """By a scan of the whole table: for exports and tests, not for serving queries."""
        found = {
            item["pk"]["S"]
            for item in _pages(self._client.scan, f"list devices of {self._table}", TableName=self._table,
                               ProjectionExpression="pk")
        }  # fmt: skip
        yield from sorted(found)

    def batches(self, device: str) -> Iterator[StoredBatch]:
        for item in self._of_device(device, "b#"):
            if "withdrawn" not in item:
                yield StoredBatch(device, bytes(item["data"]["B"]))

    def anchors(self, device: str) -> dict[bytes, Anchor]:
        return {
            bytes.fromhex(item["sk"]["S"].removeprefix("a#")): Anchor(
                int(item["boot_utc_ms"]["N"]), int(item["uncertainty_ms"]["N"])
            )
            for item in self._of_device(device, "a#")
        }

    def _of_device(self, device: str, prefix: str) -> Iterator[Item]:
        return _pages(
            self._client.query,
            f"read {device} from {self._table}",
            TableName=self._table,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":pk": {"S": device}, ":prefix": {"S": prefix}},
            ConsistentRead=True,
        )


def _verdict_beside(key: BatchKey, items: Sequence[BatchItem], verdicts: Sequence[Put]) -> Put | None:
    """What one of `items` that was put in this call means for `key`: no write sees an overlap of other beginnings."""
    for other, verdict in zip((item.key for item in items), verdicts, strict=False):
        ours = (other.device, other.epoch) == (key.device, key.epoch) and verdict is not Put.CONFLICT
        if ours and other.first != key.first and other.first <= key.last and key.first <= other.last:
            return Put.FAILED if verdict is Put.FAILED else Put.CONFLICT
    return None


def _described(item: BatchItem) -> Item:
    key = item.key
    return {
        "pk": {"S": key.device},
        "sk": {"S": _batch_sort_key(key.epoch, key.first)},
        "first": {"N": str(key.first)},
        "last": {"N": str(key.last)},
        "rev": {"N": str(key.rev)},
        "digest": {"S": item.digest},
    }


def _batch_sort_key(epoch: bytes, first: int) -> str:
    return f"b#{epoch.hex()}#{first:016x}"


def _head(item: Item) -> StoredHead:
    return StoredHead(int(item["first"]["N"]), int(item["last"]["N"]), int(item["rev"]["N"]), str(item["digest"]["S"]))


class _Paged(Protocol):
    def __call__(self, **request: object) -> dict[str, Any]: ...


def _pages(call: _Paged, operation: str, **request: object) -> Iterator[Item]:
    while True:
        with translated(operation):
            page = call(**request)
        yield from page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


class DynamoLedgers:
    def __init__(self, client: DynamoDB, table: str) -> None:
        self._client = client
        self._table = table

    def load(self, keys: Sequence[LedgerKey]) -> list[VersionedLedger]:
        found: dict[LedgerKey, VersionedLedger] = {}
        for start in range(0, len(keys), KEYS_PER_GET):
            for item in self._get([_ledger_item_key(key) for key in keys[start : start + KEYS_PER_GET]]):
                epoch = bytes.fromhex(item["sk"]["S"].removeprefix("l#"))
                found[LedgerKey(item["pk"]["S"], epoch)] = VersionedLedger(
                    Ledger.from_json(item["content"]["S"]), int(item["version"]["N"])
                )
        return [found.get(key, VersionedLedger()) for key in keys]

    def _get(self, wanted: list[Item]) -> Iterator[Item]:
        """BatchGetItem answers in part under load (`UnprocessedKeys`); the rest is asked for again, a few times."""
        operation = f"read ledgers from {self._table}"
        for attempt in range(ATTEMPTS):
            with translated(operation):
                page = self._client.batch_get_item(RequestItems={self._table: {"Keys": wanted, "ConsistentRead": True}})
            yield from page["Responses"].get(self._table, [])
            wanted = page.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
            if not wanted:
                return
            time.sleep(FIRST_DELAY_S * 2**attempt)
        raise StoreError(f"{operation}: {len(wanted)} keys still unprocessed after {ATTEMPTS} attempts (throttled)")

    def save(self, key: LedgerKey, ledger: Ledger, version: int) -> bool:
        item = {
            **_ledger_item_key(key),
            "version": {"N": str(version + 1)},
            "content": {"S": ledger.to_json()},
        }
        condition: dict[str, object] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if version:
            condition = {
                "ConditionExpression": "#version = :version",
                "ExpressionAttributeNames": {"#version": "version"},
                "ExpressionAttributeValues": {":version": {"N": str(version)}},
            }
        with translated(f"write the ledger of {key.device} in {self._table}"):
            try:
                self._client.put_item(TableName=self._table, Item=item, **condition)
            except ClientError as error:
                if code_of(error) == REFUSED:
                    return False
                raise
        return True

    def yield_to_others(self, attempt: int) -> None:
        """Full jitter: uniform over a window that doubles."""
        time.sleep(random.uniform(0, min(LEDGER_DELAY_MAX_S, LEDGER_DELAY_S * 2**attempt)))  # noqa: S311 - no secret


def _ledger_item_key(key: LedgerKey) -> Item:
    return {"pk": {"S": key.device}, "sk": {"S": f"l#{key.epoch.hex()}"}}

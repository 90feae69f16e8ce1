"""The ledgers in DynamoDB: one item per epoch, `pk` = device, `sk` = `l#EPOCH`, `version`, `content` (the JSON)."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence

from botocore.exceptions import ClientError

from cloud.ports import LedgerKey, StoredLedger, StoreError
from cloud.stores.aws.errors import is_refused_condition, translated
from cloud.stores.aws.table import DynamoDB, Item

PREFIX = "l#"
KEYS_PER_GET = 100  # DynamoDB's limit
READ_ATTEMPTS = 5
READ_DELAY_S = 0.05  # doubles with each attempt
SAVE_DELAY_S, SAVE_DELAY_MAX_S = 0.02, 0.4


class DynamoLedgers:
    def __init__(self, client: DynamoDB, table: str) -> None:
        self._client = client
        self._table = table

    def load(self, keys: Sequence[LedgerKey]) -> list[StoredLedger]:
        found: dict[LedgerKey, StoredLedger] = {}
        for start in range(0, len(keys), KEYS_PER_GET):
            for item in self._get([_item_key(key) for key in keys[start : start + KEYS_PER_GET]]):
                epoch = bytes.fromhex(item["sk"]["S"].removeprefix(PREFIX))
                stored = StoredLedger(item["content"]["S"], int(item["version"]["N"]))
                found[LedgerKey(item["pk"]["S"], epoch)] = stored
        return [found.get(key, StoredLedger()) for key in keys]

    def _get(self, wanted: list[Item]) -> Iterator[Item]:
        """BatchGetItem may answer in part under load (`UnprocessedKeys`); the rest is requested again a few times."""
        operation = f"read ledgers from {self._table}"
        for attempt in range(READ_ATTEMPTS):
            with translated(operation):
                page = self._client.batch_get_item(RequestItems={self._table: {"Keys": wanted, "ConsistentRead": True}})
            yield from page["Responses"].get(self._table, [])
            wanted = page.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
            if not wanted:
                return
            time.sleep(READ_DELAY_S * 2**attempt)
        raise StoreError(
            f"{operation}: {len(wanted)} keys still unprocessed after {READ_ATTEMPTS} attempts (throttled)"
        )

    def save(self, key: LedgerKey, text: str, version: int) -> bool:
        item = {**_item_key(key), "version": {"N": str(version + 1)}, "content": {"S": text}}
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
                if is_refused_condition(error):
                    return False
                raise
        return True

    def yield_to_others(self, attempt: int) -> None:
        """Full jitter: uniform over a window that doubles."""
        time.sleep(random.uniform(0, min(SAVE_DELAY_MAX_S, SAVE_DELAY_S * 2**attempt)))  # noqa: S311 - no secret


def _item_key(key: LedgerKey) -> Item:
    return {"pk": {"S": key.device}, "sk": {"S": f"{PREFIX}{key.epoch.hex()}"}}

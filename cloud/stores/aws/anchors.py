"""The anchors in DynamoDB: one item per boot, `pk` = device, `sk` = `a#BOOT`, `boot_utc_ms`, `uncertainty_ms`."""

from __future__ import annotations

from collections.abc import Mapping

from botocore.exceptions import ClientError

from cloud.stores.aws.errors import is_refused_condition, translated
from cloud.stores.aws.table import DynamoDB, Item, items_of
from wire.batch import Anchor

PREFIX = "a#"
_IS_BETTER = "attribute_not_exists(pk) OR uncertainty_ms > :u OR (uncertainty_ms = :u AND boot_utc_ms > :b)"


class DynamoAnchors:
    def __init__(self, client: DynamoDB, table: str) -> None:
        self._client = client
        self._table = table

    def put(self, device: str, anchors: Mapping[bytes, Anchor]) -> None:
        for boot, anchor in anchors.items():
            with translated(f"store an anchor of {device} in {self._table}"):
                self._put_one(device, boot, anchor)

    def _put_one(self, device: str, boot: bytes, anchor: Anchor) -> None:
        item = _item(device, boot, anchor)
        try:
            self._client.put_item(
                TableName=self._table,
                Item=item,
                ConditionExpression=_IS_BETTER,
                ExpressionAttributeValues={":u": item["uncertainty_ms"], ":b": item["boot_utc_ms"]},
            )
        except ClientError as error:
            if not is_refused_condition(error):
                raise

    def of(self, device: str) -> dict[bytes, Anchor]:
        return dict(_anchor(item) for item in items_of(self._client, self._table, device, PREFIX))


def _item(device: str, boot: bytes, anchor: Anchor) -> Item:
    return {
        "pk": {"S": device},
        "sk": {"S": f"{PREFIX}{boot.hex()}"},
        "boot_utc_ms": {"N": str(anchor.boot_utc_ms)},
        "uncertainty_ms": {"N": str(anchor.uncertainty_ms)},
    }


def _anchor(item: Item) -> tuple[bytes, Anchor]:
    boot = bytes.fromhex(item["sk"]["S"].removeprefix(PREFIX))
    return boot, Anchor(int(item["boot_utc_ms"]["N"]), int(item["uncertainty_ms"]["N"]))

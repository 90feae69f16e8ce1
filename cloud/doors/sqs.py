"""The Lambda function: messages of the queue with partial batch failures, or the rule's event itself.

Either way a message is the JSON object of the rule's SQL: d = payload in base64, t = topic, c = client id,
p = principal, ts = timestamp, x = trace id. Environment: TABLE, BUCKET, RECEIPTS (topic with `{box}`).
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import boto3
from botocore.config import Config

from cloud.core.answer import AddressedReceipt
from cloud.ingest.ingest import Ingested, Outcome, Status, ingest
from cloud.ports import Delivery, ReceiptSender, StoreError, Stores
from cloud.stores.aws.dynamodb import aws_stores
from cloud.stores.aws.s3 import IotReceiptSender

DOOR = "iot"
_CONFIG = Config(retries={"mode": "standard", "max_attempts": 4}, connect_timeout=3, read_timeout=5)
_log = logging.getLogger("wattpost.receiver")
_log.setLevel(logging.INFO)


class IngestError(RuntimeError):
    """The direct event could not be stored; raising makes Lambda try again, then use the on-failure destination."""


@cache
def _stores() -> Stores:
    return aws_stores(
        boto3.client("dynamodb", config=_CONFIG), os.environ["TABLE"],
        boto3.client("s3", config=_CONFIG), os.environ["BUCKET"],
    )  # fmt: skip


@cache
def _receipts() -> ReceiptSender:
    return IotReceiptSender(boto3.client("iot-data", config=_CONFIG), os.environ["RECEIPTS"])


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Entry point named in the template."""
    return handle(event, _stores(), _receipts())


def handle(event: Mapping[str, Any], stores: Stores, receipts: ReceiptSender) -> dict[str, Any]:
    """Ingest, answer, and name the messages to try again (`batchItemFailures`)."""
    if "Records" not in event:
        ingested = _ingest([delivery_of(event)], stores, receipts)
        if ingested.outcomes[0].status is Status.FAILED:
            raise IngestError(ingested.outcomes[0].reason)
        return {}
    records = event["Records"]
    ingested = _ingest([delivery_of(_parsed(record["body"])) for record in records], stores, receipts)
    return {
        "batchItemFailures": [
            {"itemIdentifier": record["messageId"]}
            for record, outcome in zip(records, ingested.outcomes, strict=True)
            if outcome.status is Status.FAILED
        ]
    }


def delivery_of(message: object) -> Delivery:
    """What the rule made of a publish. A message of another shape becomes bytes that nobody can decode: quarantine."""
    if isinstance(message, Mapping):
        data, topic, client_id = message.get("d"), message.get("t"), message.get("c")
        if isinstance(data, str) and isinstance(topic, str) and isinstance(client_id, str):
            try:
                payload = base64.b64decode(data, validate=True)
            except (binascii.Error, ValueError):
                payload = data.encode(errors="surrogatepass")
            return Delivery(
                device=topic.rpartition("/")[2],
                data=payload,
                door=DOOR,
                principal=_text(message.get("p")),
                client_id=client_id,
                trace=_text(message.get("x")),
            )
    return Delivery(device="", data=json.dumps(message).encode(), door=DOOR)


def _parsed(body: str) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _ingest(deliveries: Sequence[Delivery], stores: Stores, receipts: ReceiptSender) -> Ingested:
    ingested = ingest(deliveries, stores)
    unsent = sum(not _sent(receipts, addressed) for addressed in ingested.receipts)
    for delivery, outcome in zip(deliveries, ingested.outcomes, strict=True):
        if outcome.reason:
            _say_refused(delivery, outcome)
    counts = Counter(outcome.status.value for outcome in ingested.outcomes)
    _say(logging.INFO, "ingested", **counts, receipts=len(ingested.receipts) - unsent, receipts_unsent=unsent)
    return ingested


def _sent(receipts: ReceiptSender, addressed: AddressedReceipt) -> bool:
    """A lost receipt costs nothing: the box asks again, and what is stored stays stored."""
    try:
        receipts.send(addressed.device, addressed.receipt.to_json())
    except StoreError as error:
        _say(logging.WARNING, "receipt unsent", device=addressed.device, cause=str(error))
        return False
    return True


def _say_refused(delivery: Delivery, outcome: Outcome) -> None:
    _say(
        logging.WARNING, outcome.status.value, device=delivery.device, digest=outcome.digest, reason=outcome.reason,
        trace=delivery.trace,
    )  # fmt: skip


def _say(level: int, what: str, **facts: object) -> None:
    _log.log(level, "%s", json.dumps({"what": what, **facts}))

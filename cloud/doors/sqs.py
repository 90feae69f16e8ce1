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
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import boto3
from botocore.config import Config

from cloud.doors.take import TakeResult, is_done, take
from cloud.ingest.outcome import IngestOutcome
from cloud.ports import InboundMessage, ReceiptSender, Stores
from cloud.stores.aws.receipt_sender import IotReceiptSender
from cloud.stores.aws.stores import aws_stores

DOOR = "iot"
_CONFIG = Config(retries={"mode": "standard", "max_attempts": 4}, connect_timeout=3, read_timeout=5)
_log = logging.getLogger("wattpost.receiver")
_log.setLevel(logging.INFO)


class IngestError(RuntimeError):
    """The direct event could not be stored. Lambda then tries again, and at last uses the on-failure destination."""


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
    """Take the messages, and name those that the queue must deliver again (`batchItemFailures`)."""
    if "Records" not in event:
        (outcome,) = _take([message_of(event)], stores, receipts).outcomes
        if not is_done(outcome):
            raise IngestError(outcome.reason)
        return {}
    records = event["Records"]
    taken = _take([message_of(_parsed(record["body"])) for record in records], stores, receipts)
    return {
        "batchItemFailures": [
            {"itemIdentifier": record["messageId"]}
            for record, outcome in zip(records, taken.outcomes, strict=True)
            if not is_done(outcome)
        ]
    }


def message_of(event: object) -> InboundMessage:
    """The message that the rule made of a publish. Anything else becomes bytes that cannot be decoded: quarantine."""
    if isinstance(event, Mapping):
        data, topic, client_id = event.get("d"), event.get("t"), event.get("c")
        if isinstance(data, str) and isinstance(topic, str) and isinstance(client_id, str):
            try:
                payload = base64.b64decode(data, validate=True)
            except (binascii.Error, ValueError):
                payload = data.encode(errors="surrogatepass")
            return InboundMessage(
                device=topic.rpartition("/")[2],
                data=payload,
                door=DOOR,
                principal=_text(event.get("p")),
                client_id=client_id,
                trace=_text(event.get("x")),
            )
    return InboundMessage(device="", data=json.dumps(event).encode(), door=DOOR)


def _parsed(body: str) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _take(messages: Sequence[InboundMessage], stores: Stores, receipts: ReceiptSender) -> TakeResult:
    taken = take(messages, stores, receipts)
    for failure in taken.unsent:
        _log_event(logging.WARNING, "receipt unsent", device=failure.device, cause=failure.cause)
    for message, outcome in zip(messages, taken.outcomes, strict=True):
        if outcome.reason:
            _log_refused(message, outcome)
    receipts_said = {"receipts": taken.receipts_sent, "receipts_unsent": len(taken.unsent)}
    _log_event(logging.INFO, "ingested", **taken.counts(), **receipts_said)
    return taken


def _log_refused(message: InboundMessage, outcome: IngestOutcome) -> None:
    _log_event(
        logging.WARNING, outcome.status.value, device=message.device, digest=outcome.digest, reason=outcome.reason,
        trace=message.trace,
    )  # fmt: skip


def _log_event(level: int, what: str, **facts: object) -> None:
    _log.log(level, "%s", json.dumps({"what": what, **facts}))

"""What AWS answers only now and then, said by fakes: partial answers, throttles, writers in the way."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from cloud.ports import BatchItem, LedgerKey, Put, Quarantined, StoreError
from cloud.stores.aws import ledgers as ledgers_module
from cloud.stores.aws import s3 as s3_module
from cloud.stores.aws.anchors import DynamoAnchors
from cloud.stores.aws.archive import S3Archive
from cloud.stores.aws.batches import DynamoBatches
from cloud.stores.aws.ledgers import KEYS_PER_GET, READ_ATTEMPTS, DynamoLedgers
from cloud.stores.aws.quarantine import S3Quarantine
from cloud.stores.aws.receipt_sender import IotReceiptSender
from wire.batch import Anchor
from wire.codec import encode

KEYS = [LedgerKey(f"apt-{n}", b"epoch--1") for n in range(3)]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers_module, "READ_DELAY_S", 0)
    monkeypatch.setattr(s3_module, "CREATE_DELAY_S", 0)


def refusal(code: str, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}},
        "Call",
    )


class Scripted:
    """A client whose calls answer what the script says, in order; the last answer stays."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.calls: list[dict[str, Any]] = []

    def __getattr__(self, _name: str) -> Any:
        def call(**request: Any) -> Any:
            self.calls.append(request)
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            if isinstance(answer, Exception):
                raise answer
            return answer(request) if callable(answer) else answer

        return call


def one_by_one(request: dict[str, Any]) -> dict[str, Any]:
    """Answers the first key and leaves the others unprocessed."""
    keys = request["RequestItems"]["t"]["Keys"]
    item = {**keys[0], "version": {"N": "7"}, "content": {"S": "{}"}}
    rest = {"t": {"Keys": keys[1:]}} if keys[1:] else {}
    return {"Responses": {"t": [item]}, "UnprocessedKeys": rest}


def test_keys_left_unprocessed_are_asked_for_again() -> None:
    client = Scripted(one_by_one)
    loaded = DynamoLedgers(client, "t").load(KEYS)
    assert [one.version for one in loaded] == [7, 7, 7]
    assert [len(call["RequestItems"]["t"]["Keys"]) for call in client.calls] == [3, 2, 1]


def test_keys_that_stay_unprocessed_are_a_failure_after_some_attempts() -> None:
    client = Scripted(lambda request: {"Responses": {}, "UnprocessedKeys": request["RequestItems"]})
    with pytest.raises(StoreError, match="3 keys still unprocessed after 5 attempts"):
        DynamoLedgers(client, "t").load(KEYS)
    assert len(client.calls) == READ_ATTEMPTS


def test_more_ledgers_than_one_call_takes_are_read_in_several() -> None:
    client = Scripted({"Responses": {"t": []}})
    keys = [LedgerKey(f"apt-{n}", b"epoch--1") for n in range(KEYS_PER_GET + 1)]
    assert [one.version for one in DynamoLedgers(client, "t").load(keys)] == [0] * len(keys)
    assert [len(call["RequestItems"]["t"]["Keys"]) for call in client.calls] == [KEYS_PER_GET, 1]


@pytest.mark.parametrize("error", [refusal("ThrottlingException"), EndpointConnectionError(endpoint_url="http://x")])
def test_one_batch_refused_spoils_no_other(box: Any, error: Exception) -> None:
    items = [BatchItem(box.batch(n, n), encode(box.batch(n, n)), f"d{n}") for n in (1, 2, 3)]
    client = Scripted({}, error, {})
    assert DynamoBatches(client, "t").put(items) == [Put.STORED, Put.FAILED, Put.STORED]


def test_what_cannot_be_compared_is_tried_again(box: Any) -> None:
    item = BatchItem(box.batch(1, 1), b"", "d")
    refused = refusal("ConditionalCheckFailedException")
    answers: list[Any] = [refusal("ThrottlingException"), {"Items": []}]
    for second in answers:
        assert DynamoBatches(Scripted(refused, second), "t").put([item]) == [Put.FAILED]


@pytest.mark.parametrize(
    "error", [refusal("AccessDeniedException"), EndpointConnectionError(endpoint_url="http://nowhere")]
)
def test_every_failure_is_the_one_error_and_says_what_was_tried(error: Exception) -> None:
    client = Scripted(error)
    batches, anchors, ledgers = DynamoBatches(client, "t"), DynamoAnchors(client, "t"), DynamoLedgers(client, "t")
    attempts: list[tuple[Any, str]] = [
        (lambda: ledgers.load(KEYS), "read ledgers from t: "),
        (lambda: ledgers.save(KEYS[0], "{}", 3), "write the ledger of apt-0 in t: "),
        (lambda: anchors.put("apt-0", {b"b": Anchor(1, 1)}), "store an anchor of apt-0 in t: "),
        (lambda: list(batches.devices()), "list devices of t: "),
        (lambda: list(batches.of("apt-0")), "read apt-0 from t: "),
        (lambda: S3Archive(client, "b").put("n", b""), "write s3://b/archive/n: "),
        (lambda: IotReceiptSender(client, "{box}").send("apt-0", b""), "publish a receipt to apt-0: "),
    ]
    for attempt, says in attempts:
        with pytest.raises(StoreError) as caught:
            attempt()
        assert str(caught.value).startswith(says)


def test_an_object_that_is_there_already_is_success() -> None:
    client = Scripted(refusal("PreconditionFailed", 412))
    S3Archive(client, "b").put("n", b"data")
    assert client.calls == [{"Bucket": "b", "Key": "archive/n", "Body": b"data", "IfNoneMatch": "*"}]


def test_another_writer_in_the_way_is_waited_for() -> None:
    busy = refusal("ConditionalRequestConflict", 409)
    client = Scripted(busy, busy, {})
    S3Archive(client, "b").put("n", b"data")
    assert len(client.calls) == 3
    with pytest.raises(StoreError, match="another writer was in the way 5 times"):
        S3Archive(Scripted(busy), "b").put("n", b"data")


def test_quarantine_keeps_bytes_and_reason(box: Any) -> None:
    client = Scripted({})
    S3Quarantine(client, "b").put(Quarantined(box.wrap(b"bad"), "d1", "undecodable: why"))
    assert [call["Key"] for call in client.calls] == ["quarantine/d1.bin", "quarantine/d1.json"]
    assert client.calls[0]["Body"] == b"bad"
    assert b"undecodable: why" in client.calls[1]["Body"]


def test_pages_are_followed_to_the_end() -> None:
    client = Scripted(
        {"Items": [{"pk": {"S": "b"}}], "LastEvaluatedKey": {"pk": {"S": "b"}}}, {"Items": [{"pk": {"S": "a"}}]}
    )
    assert list(DynamoBatches(client, "t").devices()) == ["a", "b"]
    assert "ExclusiveStartKey" in client.calls[1]


def test_a_receipt_goes_to_the_topic_of_its_box() -> None:
    client = Scripted({})
    IotReceiptSender(client, "wattpost/{box}/receipts").send("apt-0", b"{}")
    assert client.calls == [{"topic": "wattpost/apt-0/receipts", "qos": 1, "payload": b"{}"}]

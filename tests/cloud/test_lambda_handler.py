from __future__ import annotations

import base64
import io
import json
import logging
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from cloud.doors.sqs import IngestError, handle, message_of
from cloud.infra.package import lambda_zip
from cloud.ports import InboundMessage, StoreError, Stores
from cloud.stores.export import readings
from wire.receipt import parse_receipt


class Sent:
    """Takes receipts, or refuses them all."""

    def __init__(self, *, refuse: bool = False) -> None:
        self.receipts: list[tuple[str, int]] = []
        self._refuse = refuse

    def send(self, device: str, payload: bytes) -> None:
        if self._refuse:
            raise StoreError("publish: throttled")
        self.receipts.append((device, parse_receipt(payload).through))


class Broken:
    def put(self, name: str, data: bytes) -> None:
        raise StoreError("archive: no answer")


def rule_event(message: InboundMessage) -> dict[str, Any]:
    """What the rule's SQL makes of a publish to Basic Ingest."""
    return {
        "d": base64.b64encode(message.data).decode(),
        "t": message.device,
        "c": message.client_id,
        "p": "0123456789abcdef",
        "ts": 1_790_000_000_000,
        "x": "5d4bb9a5-1f0d-4b6f-8f5a-000000000000",
    }


def records(*bodies: str) -> dict[str, Any]:
    return {"Records": [{"messageId": f"m{n}", "body": body} for n, body in enumerate(bodies)]}


def test_messages_of_the_queue_are_stored_and_answered(sqlite_stores: Stores, box: Any) -> None:
    sent = Sent()
    event = records(
        json.dumps(rule_event(box.message(1, 3))),
        json.dumps(rule_event(box.message(4, 6, confirm=True))),
    )
    assert handle(event, sqlite_stores, sent) == {"batchItemFailures": []}
    assert sent.receipts == [(box.device, 6)]


def test_the_direct_event_of_the_rule_is_stored(sqlite_stores: Stores, box: Any) -> None:
    sent = Sent()
    assert handle(rule_event(box.message(1, 3, confirm=True)), sqlite_stores, sent) == {}
    assert sent.receipts == [(box.device, 3)]


def test_only_what_failed_is_named_for_another_try(sqlite_stores: Stores, box: Any) -> None:
    """Poison is done with; a store that failed is not."""
    known = box.message(1, 3)
    sent = Sent()
    handle(rule_event(known), sqlite_stores, sent)
    event = records(
        json.dumps(rule_event(known)),
        json.dumps(rule_event(box.message(4, 6))),
        json.dumps(rule_event(box.wrap(b"poison"))),
    )
    answer = handle(event, replace(sqlite_stores, archive=Broken()), sent)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
    assert sent.receipts == [(box.device, 3)]


def test_a_direct_event_that_fails_raises_so_that_lambda_tries_again(sqlite_stores: Stores, box: Any) -> None:
    with pytest.raises(IngestError, match="no answer"):
        handle(rule_event(box.message(1, 3)), replace(sqlite_stores, archive=Broken()), Sent())


def test_a_receipt_that_cannot_be_sent_fails_nothing(sqlite_stores: Stores, box: Any) -> None:
    event = records(json.dumps(rule_event(box.message(1, 3, confirm=True))))
    assert handle(event, sqlite_stores, Sent(refuse=True)) == {"batchItemFailures": []}
    assert len(list(readings(sqlite_stores, box.device))) == 3


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not json",
        "null",
        "[]",
        "{}",
        '{"d": 5, "t": "a", "c": "a"}',
        '{"d": "%%%", "t": "a", "c": "a"}',
        pytest.param('{"d": "\\ud800", "t": "a", "c": "a"}', id="half of a surrogate pair"),
        pytest.param("[" * 100_000, id="nested too deeply"),
    ],
)
def test_a_message_of_another_shape_is_quarantined(sqlite_stores: Stores, tmp_path: Path, body: str) -> None:
    assert handle(records(body), sqlite_stores, Sent()) == {"batchItemFailures": []}
    (note,) = (tmp_path / "store" / "quarantine").glob("*.json")
    assert json.loads(note.read_text())["reason"].startswith("undecodable: ")


@pytest.mark.parametrize("topic", ["apt-1", "wattpost/batches/apt-1"])
def test_the_box_is_the_last_segment_of_the_topic(topic: str) -> None:
    """With and without Basic Ingest, whose prefix `topic()` leaves out."""
    message = message_of({"d": "AAE=", "t": topic, "c": "apt-1", "p": "cert", "ts": 1, "x": "trace"})
    assert message == InboundMessage("apt-1", b"\x00\x01", "iot", "cert", "apt-1", "trace")


def test_logs_are_one_line_each_without_payload(
    sqlite_stores: Stores, box: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stored, poison = rule_event(box.message(1, 3, confirm=True)), rule_event(box.wrap(b"poison"))
    handle(records(json.dumps(stored), json.dumps(poison)), sqlite_stores, Sent())
    lines = [record.getMessage() for record in caplog.records]
    assert [json.loads(line)["what"] for line in lines] == ["quarantined", "ingested"]
    assert json.loads(lines[1]) == {
        "what": "ingested", "quarantined": 1, "stored": 1, "receipts": 1, "receipts_unsent": 0,
    }  # fmt: skip
    assert not any(secret in "".join(lines) for secret in (stored["d"], poison["d"], stored["p"]))


def test_the_zip_holds_all_that_the_function_imports(tmp_path: Path) -> None:
    """Imported with nothing of the checkout on the path, only the zip and what the runtime brings."""
    packed = tmp_path / "receiver.zip"
    packed.write_bytes(lambda_zip())
    assert packed.read_bytes() == lambda_zip()
    runtime = Path(boto3.__file__).parents[1]
    program = (
        f"import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]; sys.path.append({str(runtime)!r});"
        f"sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f)]; sys.path.insert(0, {str(packed)!r});"
        "import cloud.doors.sqs as h; print(h.__file__);"
        "print(sorted(m for m in ('click', 'msgspec', 'agent', 'drivers', 'sqlite3', 'asyncio') if m in sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True
    )
    where, imported = answer.stdout.splitlines()
    assert where == f"{packed}/cloud/doors/sqs.py"
    assert imported == "[]"
    assert {name.split("/")[0] for name in zipfile.ZipFile(io.BytesIO(lambda_zip())).namelist()} == {"cloud", "wire"}

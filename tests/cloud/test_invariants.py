"""Every invariant can fire, names itself, and fails only the messages that depend on it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloud.core.answer import receipt_of
from cloud.core.invariants import InvariantError, check_batch, check_ledger, check_receipt
from cloud.core.ledger import Ledger, Span
from cloud.doors.sqs import handle
from cloud.ingest import examine as examine_module
from cloud.ingest.ingest import ingest
from cloud.ingest.outcome import IngestStatus
from cloud.ports import InboundMessage, LedgerKey, Stores
from wire.batch import Slots
from wire.codec import decode
from wire.receipt import Receipt

EPOCH = b"epoch--1"


@pytest.mark.parametrize(("first", "last"), [(0, 3), (5, 4), (-1, -1)])
def test_the_range_of_a_batch(box: Any, first: int, last: int) -> None:
    batch = box.batch(1, 3)
    check_batch(batch)
    with pytest.raises(InvariantError, match=f"batch-range is broken: {box.device}: first {first}, last {last}"):
        check_batch(replace(batch, key=replace(batch.key, first=first, last=last)))


@pytest.mark.parametrize("slots", [Slots(due=-1), Slots(read=-1), Slots(explained=-1)], ids=str)
def test_the_counts_of_slots(box: Any, slots: Slots) -> None:
    batch = box.batch(1, 3)
    with pytest.raises(InvariantError, match=r"slot-counts is broken: .*, meter main: "):
        check_batch(replace(batch, series=(replace(batch.series[0], slots=slots),)))


@pytest.mark.parametrize(
    "ranges", [[(0, 3)], [(5, 4)], [(1, 3), (3, 5)], [(1, 3), (4, 5)], [(7, 9), (1, 3)], [(1, 9), (2, 3)]], ids=str
)
def test_the_ranges_of_a_ledger(ranges: list[tuple[int, int]]) -> None:
    check_ledger([(2, 2), (4, 4), (6, 9)], 0)
    with pytest.raises(InvariantError, match="ledger-ranges is broken: range"):
        Ledger(tuple(Span(first, last) for first, last in ranges))


def test_the_number_asked_for() -> None:
    with pytest.raises(InvariantError, match="ledger-asked is broken: asked is -1"):
        Ledger(asked=-1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"spans":[[1]],"held":[],"asked":0}',
        '{"spans":[["a","b",0,null]],"held":[],"asked":0}',
        '{"spans":null,"held":[],"asked":0}',
        '{"spans":[],"held":[],"asked":null}',
        pytest.param("[" * 100_000, id="nested too deeply"),
    ],
)
def test_the_content_of_a_ledger(text: str) -> None:
    with pytest.raises(InvariantError, match="ledger-content is broken: "):
        Ledger.from_json(text)


@pytest.mark.parametrize(
    ("receipt", "name"),
    [
        (Receipt(EPOCH, through=4), "receipt-through"),
        (Receipt(EPOCH, through=0), "receipt-through"),
        (Receipt(EPOCH, through=3, ranges=((4, 6),)), "receipt-ranges"),
        (Receipt(EPOCH, through=3, ranges=((5, 6), (2, 2))), "receipt-ranges"),
    ],
)
def test_what_a_receipt_says(receipt: Receipt, name: str) -> None:
    check_receipt(Receipt(EPOCH, through=3, ranges=((5, 6),)), [(1, 3), (5, 6)])
    check_receipt(Receipt(EPOCH, through=0, ranges=((5, 6),)), [(5, 6)])
    with pytest.raises(InvariantError, match=f"{name} is broken: ") as caught:
        check_receipt(receipt, [(1, 3), (5, 6)])
    assert caught.value.name == name


def test_a_receipt_is_checked_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger().merged([Span(1, 3, 0, "a")])
    monkeypatch.setattr(Ledger, "through", 5)
    with pytest.raises(InvariantError, match="through is 5, the ledger says 3"):
        receipt_of(EPOCH, ledger)


class Sent:
    def __init__(self) -> None:
        self.devices: list[str] = []

    def send(self, device: str, payload: bytes) -> None:
        self.devices.append(device)


def records(*messages: InboundMessage) -> dict[str, Any]:
    """An event of the queue."""
    bodies = [
        {"d": base64.b64encode(one.data).decode(), "t": one.device, "c": one.client_id, "p": None} for one in messages
    ]
    return {"Records": [{"messageId": one["t"], "body": json.dumps(one)} for one in bodies]}


Breaks = Callable[[pytest.MonkeyPatch, Stores, str], None]


def break_batch(monkeypatch: pytest.MonkeyPatch, _stores: Stores, device: str) -> None:
    """The decoder lets a wrong range pass."""

    def decode_wrongly(data: bytes) -> Any:
        batch = decode(data)
        return replace(batch, key=replace(batch.key, first=9)) if batch.key.device == device else batch

    monkeypatch.setattr(examine_module, "decode", decode_wrongly)


def break_stored_ledger(_monkeypatch: pytest.MonkeyPatch, stores: Stores, device: str) -> None:
    """The store gives back something else than was written."""
    key = LedgerKey(device, EPOCH)
    (stored,) = stores.ledgers.load([key])
    assert stores.ledgers.save(key, stored.text.replace("[1,3,", "[3,1,"), stored.version)


def break_merge(monkeypatch: pytest.MonkeyPatch, _stores: Stores, device: str) -> None:
    """The batch of this box has number 6."""
    merge = Ledger.merged

    def merged_wrongly(ledger: Ledger, spans: list[Span], *others: Any) -> Ledger:
        return Ledger((Span(4, 6), Span(1, 3))) if spans[0].last == 6 else merge(ledger, spans, *others)

    monkeypatch.setattr(Ledger, "merged", merged_wrongly)


def break_receipt(monkeypatch: pytest.MonkeyPatch, _stores: Stores, device: str) -> None:
    through = Ledger.through.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(Ledger, "through", property(lambda ledger: through(ledger) + (ledger.asked == 6)))


BREAKS = [
    (break_batch, "batch-range"),
    (break_stored_ledger, "ledger-ranges"),
    (break_merge, "ledger-ranges"),
    (break_receipt, "receipt-through"),
]


@pytest.mark.parametrize(("break_it", "name"), BREAKS, ids=[one[0].__name__ for one in BREAKS])
def test_a_broken_invariant_fails_its_own_message_and_no_other(
    stores: Stores, box: Any, monkeypatch: pytest.MonkeyPatch, break_it: Breaks, name: str
) -> None:
    other = replace(box, device=f"{box.device}-b")
    ingest([box.message(1, 3)], stores)
    messages = [other.message(1, 2, confirm=True), box.message(4, 6, confirm=True)]
    with monkeypatch.context() as broken:
        break_it(broken, stores, box.device)
        outcomes = ingest(messages, stores).outcomes
        assert str(outcomes[1].reason).startswith(f"invariant {name} is broken: ")
        sent = Sent()
        answer = handle(records(*messages), stores, sent)
    assert answer == {"batchItemFailures": [{"itemIdentifier": box.device}]}
    assert [outcome.status for outcome in outcomes] == [IngestStatus.STORED, IngestStatus.FAILED]
    assert sent.devices == [other.device]


def test_what_failed_by_an_invariant_is_stored_and_confirmed_once_it_holds_again(
    sqlite_stores: Stores, box: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ingest([box.message(1, 3)], sqlite_stores)
    message = box.message(4, 6, confirm=True)
    with monkeypatch.context() as broken:
        break_receipt(broken, sqlite_stores, box.device)
        assert ingest([message], sqlite_stores).receipts == ()
    (addressed,) = ingest([message], sqlite_stores).receipts
    assert addressed.receipt.through == 6
    assert list((tmp_path / "store" / "quarantine").iterdir()) == []

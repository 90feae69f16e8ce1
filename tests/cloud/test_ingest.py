"""One suite for both stores: SQLite + folder, DynamoDB + S3."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cloud.core.ledger import HELD_MAX, SPANS_MAX, Ledger
from cloud.ingest.ingest import ingest
from cloud.ingest.outcome import IngestStatus
from cloud.ports import InboundMessage, LedgerKey, StoredLedger, StoreError, Stores
from cloud.stores.export import readings
from wire.batch import Anchor, Batch, Event, Reading
from wire.codec import digest, encode
from wire.receipt import Receipt


def stored(stores: Stores, device: str) -> list[dict[str, Any]]:
    return list(readings(stores, device))


def seqs(stores: Stores, device: str) -> list[int]:
    return [reading["seq"] for reading in stored(stores, device)]


def statuses(stores: Stores, *messages: InboundMessage) -> list[IngestStatus]:
    return [outcome.status for outcome in ingest(messages, stores).outcomes]


def receipt(stores: Stores, *messages: InboundMessage) -> Receipt:
    (addressed,) = ingest(messages, stores).receipts
    assert addressed.device == messages[0].device
    return addressed.receipt


def test_a_batch_is_stored_as_it_was_read(stores: Stores, box: Any) -> None:
    assert statuses(stores, box.message(1, 2)) == [IngestStatus.STORED]
    assert stored(stores, box.device)[0] == {
        "device": box.device,
        "epoch": box.epoch.hex(),
        "seq": 1,
        "meter": "main",
        "at": "2026-09-21T14:13:21.000Z",
        "boot": b"bootboot".hex(),
        "mono_ms": 1000,
        "values": {"voltage_l1_n": 230.0, "energy_active_import_total": 1},
        "quality": {},
    }


def test_no_receipt_unless_asked_for(stores: Stores, box: Any) -> None:
    assert ingest([box.message(1, 3)], stores).receipts == ()
    last = box.message(4, 6, confirm=True)
    stored = digest(last.data)
    assert receipt(stores, last) == Receipt(box.epoch, through=6, digest=stored, answers=(stored,))


def test_a_resend_is_answered_and_stored_once(stores: Stores, box: Any) -> None:
    one = box.message(1, 3)
    ingest([one], stores)
    ingested = ingest([one], stores)
    assert [outcome.status for outcome in ingested.outcomes] == [IngestStatus.RESEND]
    assert ingested.receipts[0].receipt.through == 3
    assert seqs(stores, box.device) == [1, 2, 3]


def test_twice_in_one_invocation_is_stored_once_and_answered(stores: Stores, box: Any) -> None:
    one = box.message(1, 3)
    assert receipt(stores, one, one).through == 3
    assert seqs(stores, box.device) == [1, 2, 3]


def test_newest_first_leaves_ranges_that_close(stores: Stores, box: Any) -> None:
    answer = receipt(stores, box.message(7, 9, confirm=True))
    assert (answer.through, answer.digest, answer.ranges) == (0, None, ((7, 9),))
    ingest([box.message(4, 6)], stores)
    oldest = box.message(1, 3, confirm=True)
    answer = receipt(stores, oldest)
    assert (answer.through, answer.digest, answer.ranges) == (9, digest(box.message(7, 9, confirm=True).data), ())
    assert seqs(stores, box.device) == list(range(1, 10))


def test_a_receipt_asked_for_before_the_rest_came_is_sent_when_it_has_come(stores: Stores, box: Any) -> None:
    """Concurrent invocations overtake each other: the one that closes the gap answers."""
    assert receipt(stores, box.message(4, 6, confirm=True)).through == 0
    assert ingest([box.message(2, 3)], stores).receipts == ()
    assert receipt(stores, box.message(1, 1)).through == 6
    assert ingest([box.message(7, 8)], stores).receipts == ()


def test_one_invocation_merges_all_ranges_of_a_device(stores: Stores, box: Any) -> None:
    ingest([box.message(n, n + 2) for n in (7, 1, 10, 4)], stores)
    (versioned,) = stores.ledgers.load([LedgerKey(box.device, box.epoch)])
    assert (versioned.version, Ledger.from_json(versioned.text).through) == (1, 12)


def test_epochs_are_apart(stores: Stores, box: Any) -> None:
    other = replace(box, epoch=b"epoch--2")
    ingested = ingest([box.message(1, 3, confirm=True), other.message(1, 2, confirm=True)], stores)
    assert {one.receipt.epoch: one.receipt.through for one in ingested.receipts} == {box.epoch: 3, other.epoch: 2}
    assert seqs(stores, box.device) == [1, 2, 3, 1, 2]


def test_garbage_is_quarantined_and_blocks_nothing(stores: Stores, box: Any) -> None:
    ingested = ingest([box.wrap(b"\x00garbage"), box.message(1, 3, confirm=True)], stores)
    assert [outcome.status for outcome in ingested.outcomes] == [IngestStatus.QUARANTINED, IngestStatus.STORED]
    assert ingested.outcomes[0].reason is not None
    assert ingested.outcomes[0].reason.startswith("undecodable: ")
    assert ingested.receipts[0].receipt.through == 3


def broken_body(message: InboundMessage) -> InboundMessage:
    """The key can be read, the records cannot."""
    import zlib  # noqa: PLC0415 - this is the only place that knows the frame

    kept = message.data[:-12]
    return replace(message, data=kept + zlib.crc32(kept).to_bytes(4, "little"))


def test_a_batch_whose_key_can_be_read_is_held(stores: Stores, box: Any) -> None:
    answer = receipt(stores, broken_body(box.message(1, 3)), box.message(4, 6))
    assert (answer.through, answer.ranges) == (0, ((4, 6),))
    ((first, last, reason),) = answer.held
    assert (first, last) == (1, 3)
    assert reason.startswith("undecodable: ")
    assert receipt(stores, box.message(1, 3, confirm=True)).through == 6  # other bytes of that range may still come


def test_the_box_is_told_what_is_held_however_much_was_before(sqlite_stores: Stores, box: Any) -> None:
    """Else it would send the 101st for ever."""
    poison = [broken_body(box.message(10 * n + 1, 10 * n + 10)) for n in range(HELD_MAX + 1)]
    ingest(poison[:-1], sqlite_stores)
    answer = receipt(sqlite_stores, poison[-1])
    assert len(answer.held) == HELD_MAX
    assert answer.held[-1][:2] == (10 * HELD_MAX + 1, 10 * HELD_MAX + 10)


@pytest.mark.parametrize("wrong", [{"device": "someone-else"}, {"client_id": "someone-else"}])
def test_wrong_identity_is_quarantined_and_not_answered(stores: Stores, box: Any, wrong: dict[str, str]) -> None:
    ingested = ingest([replace(box.message(1, 3, confirm=True), **wrong)], stores)
    assert ingested.outcomes[0].status is IngestStatus.QUARANTINED
    assert str(ingested.outcomes[0].reason).startswith("identity: ")
    assert ingested.receipts == ()
    assert seqs(stores, box.device) == []


def test_other_content_under_a_key_is_a_conflict(stores: Stores, box: Any) -> None:
    ingest([box.message(1, 3)], stores)
    answer = receipt(stores, box.message(1, 3, salt=9))
    assert answer.through == 3
    assert [(first, last) for first, last, _ in answer.held] == [(1, 3)]
    assert answer.held[0][2].startswith("conflict: ")
    assert {reading["values"]["voltage_l1_n"] for reading in stored(stores, box.device)} == {230.0}


def test_overlapping_numbers_are_a_conflict(stores: Stores, box: Any) -> None:
    ingest([box.message(1, 5), box.message(6, 9)], stores)
    assert statuses(stores, box.message(4, 7, salt=9)) == [IngestStatus.HELD]
    assert seqs(stores, box.device) == list(range(1, 10))


def test_of_overlapping_batches_in_one_invocation_one_is_held(stores: Stores, box: Any) -> None:
    """Whatever the queue collected for an hour comes at once; the store alone sees no overlap of other beginnings."""
    answer = receipt(stores, box.message(5, 10), box.message(1, 4), box.message(3, 12, salt=9))
    assert (answer.through, [held[:2] for held in answer.held]) == (10, [(3, 12)])
    assert seqs(stores, box.device) == list(range(1, 11))


def test_of_conflicting_batches_in_one_invocation_one_is_held(stores: Stores, box: Any) -> None:
    answer = receipt(stores, box.message(1, 3), box.message(1, 3, salt=9))
    assert (answer.through, len(answer.held)) == (3, 1)
    assert seqs(stores, box.device) == [1, 2, 3]


def test_the_lowest_rev_stays(stores: Stores, box: Any) -> None:
    full, thin = box.message(1, 3), box.message(1, 3, rev=1, salt=9)
    ingest([full], stores)
    assert statuses(stores, thin) == [IngestStatus.SUPERSEDED]
    assert receipt(stores, thin).digest == digest(full.data)
    assert {reading["values"]["voltage_l1_n"] for reading in stored(stores, box.device)} == {230.0}


def test_a_lower_rev_that_comes_late_replaces(stores: Stores, box: Any) -> None:
    full, thin = box.message(1, 3), box.message(1, 3, rev=1, salt=9)
    ingest([thin], stores)
    assert statuses(stores, full) == [IngestStatus.STORED]
    assert {reading["values"]["voltage_l1_n"] for reading in stored(stores, box.device)} == {230.0}
    assert seqs(stores, box.device) == [1, 2, 3]


@pytest.mark.parametrize("kind", ["dropped", "numbers_skipped"])
def test_numbers_that_an_event_explains_are_accounted_for(stores: Stores, box: Any, kind: str) -> None:
    explains = Event(7, 7000, kind, data={"first": 4, "last": 6, "records": 3, "reason": "disk full"})
    ingest([box.message(1, 3)], stores)
    assert receipt(stores, box.message(7, 8, confirm=True, events=[explains])).through == 8


def test_what_was_dropped_there_is_still_welcome_here(stores: Stores, box: Any) -> None:
    """It was on its way when the box gave up waiting."""
    explains = Event(7, 7000, "dropped", data={"first": 4, "last": 6, "records": 3, "reason": "disk full"})
    ingest([box.message(1, 3), box.message(7, 8, events=[explains])], stores)
    assert statuses(stores, box.message(4, 6)) == [IngestStatus.STORED]
    assert seqs(stores, box.device) == [1, 2, 3, 4, 5, 6, 8]


@pytest.mark.parametrize(
    "data",
    [{}, {"first": 1}, {"first": "1", "last": 2}, {"first": 0, "last": 2}, {"first": 2, "last": 10**6}],
)
def test_a_claim_that_makes_no_sense_accounts_for_nothing(stores: Stores, box: Any, data: dict[str, Any]) -> None:
    event = Event(7, 7000, "dropped", data=data)
    answer = receipt(stores, box.message(7, 8, confirm=True, events=[event]))
    assert (answer.through, answer.ranges) == (0, ((7, 8),))


def test_a_later_clock_known_dates_what_came_before(stores: Stores, box: Any) -> None:
    ingest([box.message(1, 2, anchor=None)], stores)
    assert [reading["at"] for reading in stored(stores, box.device)] == [None, None]
    assert stored(stores, box.device)[0]["mono_ms"] == 1000
    for seq, (boot_utc_ms, uncertainty_ms) in enumerate([(1_790_000_000_500, 900), (1_790_000_000_000, 20)], 3):
        event = Event(
            seq, seq * 1000, "clock_known", data={"boot_utc_ms": boot_utc_ms, "uncertainty_ms": uncertainty_ms}
        )
        ingest([box.message(seq, seq, anchor=None, events=[event])], stores)
    assert stores.anchors.of(box.device) == {b"bootboot": Anchor(1_790_000_000_000, 20)}
    assert [reading["at"] for reading in stored(stores, box.device)] == [
        "2026-09-21T14:13:21.000Z",
        "2026-09-21T14:13:22.000Z",
    ]


def test_a_worse_anchor_does_not_replace_a_better(stores: Stores, box: Any) -> None:
    for boot_utc_ms, uncertainty_ms in [(2000, 5), (3000, 50), (1000, 5)]:
        stores.anchors.put(box.device, {b"bootboot": Anchor(boot_utc_ms, uncertainty_ms)})
    assert stores.anchors.of(box.device) == {b"bootboot": Anchor(1000, 5)}


def test_a_boot_dated_beyond_all_calendars_does_not_spoil_what_is_read(sqlite_stores: Stores, box: Any) -> None:
    event = Event(1, 2**46 - 1, "clock_known", data={"boot_utc_ms": 250_000_000_000_000, "uncertainty_ms": 5})
    ingest([box.message(1, 1, anchor=None, events=[event])], sqlite_stores)
    batch = box.batch(2, 2, anchor=None)
    late = replace(batch.series[0], readings=(Reading(2, 2**46 - 1, (2300, 2)),))
    ingest([box.wrap(encode(replace(batch, series=(late,))))], sqlite_stores)
    assert [reading["at"] for reading in stored(sqlite_stores, box.device)] == [None]


def test_another_boot_stays_undated(stores: Stores, box: Any) -> None:
    event = Event(1, 1000, "clock_known", data={"boot_utc_ms": 1_790_000_000_000, "uncertainty_ms": 5})
    ingest([box.message(1, 1, anchor=None, events=[event]), box.message(2, 2, anchor=None, boot=b"2nd-boot")], stores)
    assert [reading["at"] for reading in stored(stores, box.device)] == [None]


def test_a_ledger_that_others_change_meanwhile_is_merged_again(stores: Stores, box: Any) -> None:
    class Meddling:
        """Between load and save another receiver notes its own range."""

        def __init__(self) -> None:
            self.meddled = False

        def load(self, keys: Any) -> Any:
            loaded = stores.ledgers.load(keys)
            if not self.meddled:
                self.meddled = True
                ingest([box.message(4, 6)], stores)
            return loaded

        def save(self, *arguments: Any) -> bool:
            return stores.ledgers.save(*arguments)

        def yield_to_others(self, attempt: int) -> None:
            assert attempt == 0

    ledgers = Meddling()
    ingested = ingest([box.message(1, 3, confirm=True)], replace(stores, ledgers=ledgers))
    assert ingested.receipts[0].receipt.through == 6


def test_a_save_on_an_old_version_is_refused(stores: Stores, box: Any) -> None:
    key = LedgerKey(box.device, box.epoch)
    assert stores.ledgers.load([key]) == [StoredLedger()]
    assert stores.ledgers.save(key, "one", 0)
    assert not stores.ledgers.save(key, "two", 0)
    assert stores.ledgers.save(key, "two", 1)
    assert not stores.ledgers.save(key, "three", 1)
    assert stores.ledgers.load([key]) == [StoredLedger("two", 2)]


class Failing:
    """One call fails: `before` it did anything, or after it did all (its answer is lost)."""

    def __init__(self, part: object, method: str, *, before: bool) -> None:
        self._part, self._method, self._before, self.failed = part, method, before, 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)
        if name != self._method or self.failed:
            return method

        def fail(*arguments: Any) -> Any:
            self.failed += 1
            if not self._before:
                method(*arguments)
            raise StoreError(f"{name}: cut off")

        return fail


STEPS = [
    ("ledgers", "load"),
    ("batches", "overlapping"),
    ("archive", "put"),
    ("batches", "put"),
    ("anchors", "put"),
    ("quarantine", "put"),
    ("ledgers", "save"),
]


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(("part", "method"), STEPS, ids=[f"{part}.{method}" for part, method in STEPS])
def test_a_store_failing_anywhere_then_a_retry_is_exactly_once(
    stores: Stores, box: Any, part: str, method: str, *, before: bool
) -> None:
    clock = Event(4, 4000, "clock_known", data={"boot_utc_ms": 1_790_000_000_000, "uncertainty_ms": 5})
    first = box.message(1, 3)
    ingest([first], stores)
    messages = [first, box.message(4, 6, confirm=True, events=[clock]), broken_body(box.message(7, 8))]
    failing = Failing(getattr(stores, part), method, before=before)
    ingested = ingest(messages, replace(stores, **{part: failing}))
    assert failing.failed == 1
    failed = [
        message
        for message, outcome in zip(messages, ingested.outcomes, strict=True)
        if outcome.status is IngestStatus.FAILED
    ]
    assert failed
    for addressed in ingested.receipts:  # what was said nevertheless is true
        assert addressed.receipt.through <= 6
    assert receipt(stores, *messages).through == 6
    assert statuses(stores, *failed)
    answer = receipt(stores, *messages)
    assert (answer.through, [held[:2] for held in answer.held]) == (6, [(7, 8)])
    assert seqs(stores, box.device) == [1, 2, 3, 5, 6]
    assert stores.anchors.of(box.device) == {b"bootboot": Anchor(1_790_000_000_000, 5)}


def test_no_receipt_for_a_device_whose_ledger_was_not_written(stores: Stores, box: Any) -> None:
    failing = Failing(stores.ledgers, "save", before=True)
    ingested = ingest([box.message(1, 3, confirm=True)], replace(stores, ledgers=failing))
    assert ingested.receipts == ()
    assert ingested.outcomes[0].status is IngestStatus.FAILED
    assert "cut off" in str(ingested.outcomes[0].reason)


def test_every_device_of_an_export_once(sqlite_stores: Stores, box: Any) -> None:
    other = replace(box, device=box.device + "-b")
    ingest([other.message(1, 1), box.message(1, 2)], sqlite_stores)
    assert [reading["device"] for reading in readings(sqlite_stores)] == [box.device] * 2 + [other.device]


def test_more_gaps_than_a_ledger_holds_lose_nothing(sqlite_stores: Stores, box: Any) -> None:
    """What the ledger forgot is sent again, is known to the store, and closes from below."""
    count = SPANS_MAX + 20
    odd = [box.message(2 * n, 2 * n) for n in range(1, count + 1)]
    even = [box.message(2 * n - 1, 2 * n - 1) for n in range(1, count + 1)]
    ingest(odd, sqlite_stores)
    ingest(even, sqlite_stores)
    answer = receipt(sqlite_stores, *odd)
    assert answer.through == 2 * count
    assert seqs(sqlite_stores, box.device) == list(range(1, 2 * count + 1))


def test_an_event_alone_is_a_batch_too(stores: Stores, box: Any) -> None:
    batch: Batch = replace(box.batch(1, 1), series=(), events=(Event(1, 5, "stop"),))
    assert statuses(stores, box.wrap(encode(batch))) == [IngestStatus.STORED]
    assert seqs(stores, box.device) == []

"""The courier in virtual time: a real buffer, a network that does what the test says, and what the log says of it."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from courier_rig import SETTINGS, CourierRig
from recording_rig import batches_in
from virtual_time import run_virtual

from agent.adapters.buffer.buffer_file import BufferFileError
from agent.adapters.mqtt.uplink import Connected, Disconnected, Received
from agent.core.delivery.actions import PublishOutcome, Sealed
from agent.services.delivery import inbox as delivery_inbox

FAILING = BufferFileError("read from", Path("buffer.db"), "disk I/O error", sqlite3.SQLITE_IOERR)
MINUTE_S = 60


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., CourierRig]:
    return lambda settings=SETTINGS: CourierRig(tmp_path / "buffer.db", monkeypatch, settings)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO)
    return lambda: [f"{r.levelname} {r.getMessage()}" for r in caplog.records if "meter" not in r.getMessage()]


def events_in(rig: CourierRig) -> list[tuple[str, Mapping[str, Any]]]:
    """Published so far, each once."""
    events = {event.seq: event for batch in rig.network.batches() for event in batch.events}
    return [(event.kind, event.data) for event in events.values()]


CONNECTED = "INFO uplink: connected to broker:8883 as apt-1"


def test_a_batch_goes_out_when_sealed_and_is_deleted_by_its_receipt(
    make: Callable[..., CourierRig], log: Callable[[], list[str]]
) -> None:
    async def scenario() -> None:
        rig = make()
        async with rig.running():
            await rig.pass_s(20 * MINUTE_S)
            progress = rig.rig.progress
            sent = len({batch_id for batch_id, _ in rig.network.published})
            assert (sent, rig.waiting, progress.batches) == (progress.sealed, sent, sent)
            assert sent > 3
            assert progress.connected
            records = progress.batch_records
            await rig.confirm()
            assert (rig.waiting, progress.batches, progress.batch_records) == (0, 0, 0)
            assert progress.confirmed_records == records
            assert sent <= progress.published == len(rig.network.published) <= sent + 6
            assert progress.oldest is None

    run_virtual(scenario())
    assert log() == [CONNECTED]


def test_without_receipts_nothing_is_deleted_however_long(make: Callable[..., CourierRig]) -> None:
    async def scenario() -> None:
        rig = make()
        async with rig.running():
            await rig.pass_s(6 * 3_600)
            assert rig.waiting == rig.rig.progress.sealed
            await rig.confirm()
            assert rig.waiting == 0

    run_virtual(scenario())


def test_where_the_broker_is_enough_its_word_deletes(make: Callable[..., CourierRig]) -> None:
    async def scenario() -> None:
        rig = make(replace(SETTINGS, confirm="puback"))
        async with rig.running():
            await rig.pass_s(20 * MINUTE_S)
            assert rig.waiting == 0
            assert rig.rig.progress.confirmed_records == sum(
                len(series.readings) for batch in rig.network.batches() for series in batch.series
            )

    run_virtual(scenario())


# The connection


def test_three_publishes_without_puback_renew_the_connection(make: Callable[..., CourierRig]) -> None:
    async def scenario() -> None:
        rig = make()
        rig.network.answer = lambda _id, _body: (PublishOutcome.TIMEOUT, "no PUBACK within 20 s")
        async with rig.running():
            await rig.pass_s(20 * MINUTE_S)
            assert len(rig.network.attempts_ms) >= 2
            rig.network.answer = lambda _id, _body: (PublishOutcome.ACCEPTED, "")
            await rig.pass_s(20 * MINUTE_S)
            await rig.confirm()
            assert rig.waiting == 0

    run_virtual(scenario())


def test_a_denied_publish_is_said_once_with_the_remedy(
    make: Callable[..., CourierRig], log: Callable[[], list[str]]
) -> None:
    async def scenario() -> None:
        rig = make()
        rig.network.answer = lambda _id, _body: (PublishOutcome.DENIED, "the broker denies it (PUBACK 0x87)")
        async with rig.running():
            await rig.pass_s(40 * MINUTE_S)
            assert rig.waiting == rig.rig.progress.sealed
            rig.network.answer = lambda _id, _body: (PublishOutcome.ACCEPTED, "")
            await rig.pass_s(15 * MINUTE_S)
            await rig.confirm()
            assert rig.waiting == 0
            assert rig.rig.progress.troubles == {}

    run_virtual(scenario())
    denied = (
        "ERROR publishing: the broker denies it (PUBACK 0x87); allow iot:Publish on wattpost/apt-1/batches in the "
        "policy of this certificate; nothing is lost, it is tried again"
    )
    assert log() == [CONNECTED, denied]


def test_a_flood_of_events_begins_anew_and_stops_nothing(
    make: Callable[..., CourierRig], monkeypatch: pytest.MonkeyPatch, log: Callable[[], list[str]]
) -> None:
    async def scenario() -> None:
        rig = make()
        async with rig.running():
            await rig.pass_s(20 * MINUTE_S)
            for number in range(delivery_inbox.EVENTS_MAX + 10):
                rig.network.say(Received(b"%d" % number))
            await rig.pass_s(20 * MINUTE_S)
            assert rig.rig.progress.connected
            await rig.confirm()
            assert rig.waiting == 0

    run_virtual(scenario())
    assert sum("10000 events waited" in line for line in log()) == 1


def test_a_batch_sealed_while_no_more_events_can_wait_is_sent_soon_all_the_same(
    make: Callable[..., CourierRig], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        rig = make()
        monkeypatch.setattr(rig.inbox, "_events", asyncio.Queue(10))
        flooded: list[int] = []

        def sealed(batch: Sealed) -> None:
            while len(rig.network.published) > 3 and not flooded and not rig.inbox._events.full():
                rig.network.say(Received(b"{}"))  # receipts wait for a slow disk
            if rig.inbox._events.full():
                flooded.append(batch.id)
            rig.inbox.sealed(batch)

        rig.rig.on_sealed = sealed
        async with rig.running():
            await rig.pass_s(30 * MINUTE_S)
            assert len(flooded) == 1
            assert flooded[0] in [batch_id for batch_id, _ in rig.network.published]
            assert len(rig.network.attempts_ms) == 1

    run_virtual(scenario())


# Receipts


def test_what_is_no_receipt_is_said_once_and_recorded(
    make: Callable[..., CourierRig], log: Callable[[], list[str]], tmp_path: Path
) -> None:
    async def scenario() -> None:
        rig = make()
        async with rig.running():
            await rig.pass_s(6 * MINUTE_S)
            for _ in range(3):
                rig.network.say(Received(b"hello"))
                await rig.pass_s(1)
            assert rig.waiting > 0
            await rig.confirm()
            assert rig.waiting == 0
            await rig.pass_s(6 * MINUTE_S)
            events = [event for batch in rig.network.batches() for event in batch.events]
            assert {(event.kind, event.seq) for event in events} == {("receipt_misfit", events[0].seq)}

    run_virtual(scenario())
    assert [line for line in log() if "not understood" in line] == [
        "WARNING receipt: not understood and ignored: receipt is not JSON: Expecting value: line 1 column 1 (char 0)"
    ]


def test_a_receipt_of_an_epoch_that_is_not_ours_is_ignored(make: Callable[..., CourierRig]) -> None:
    async def scenario() -> None:
        rig = make()
        async with rig.running():
            await rig.pass_s(6 * MINUTE_S)
            waiting = rig.waiting
            await rig.confirm(epoch=b"unknown!")
            assert rig.waiting == waiting > 0

    run_virtual(scenario())


def test_a_receipt_that_does_not_fit_begins_an_epoch_at_most_once_an_hour(
    make: Callable[..., CourierRig], log: Callable[[], list[str]], tmp_path: Path
) -> None:
    async def scenario() -> None:
        rig = make()
        async with rig.running():
            await rig.pass_s(6 * MINUTE_S)
            epochs, waiting = {rig.rig.buffer.epoch}, rig.waiting
            for _ in range(50):
                await rig.confirm(through=10**9, digest="0" * 32)
                epochs.add(rig.rig.buffer.epoch)
            assert len(epochs) == 2
            assert rig.waiting > waiting > 0
            await rig.pass_s(61 * MINUTE_S)
            await rig.confirm(through=10**9, digest="0" * 32)
            assert rig.rig.buffer.epoch not in epochs

    run_virtual(scenario())
    kinds = [event.kind for batch in batches_in(tmp_path / "buffer.db") for event in batch.events]
    assert sorted(set(kinds)) == ["epoch", "receipt_misfit"]
    assert kinds.count("epoch") == 2
    assert any("it claims number 1000000000" in line for line in log())


def test_what_the_cloud_holds_is_shown_kept_and_no_longer_sent(
    make: Callable[..., CourierRig], log: Callable[[], list[str]]
) -> None:
    async def scenario() -> None:
        rig = make()
        async with rig.running():
            await rig.pass_s(12 * MINUTE_S)
            key = rig.network.batches()[0].key
            sent = len(rig.network.published)
            for _ in range(3):
                await rig.confirm(through=0, digest=None, held=((key.first, key.last, "conflict: other content"),))
            assert rig.rig.progress.held_batches == 1
            rig.courier.reconfigure(SETTINGS)
            await rig.pass_s(30)
            assert [b.key.first for b in rig.network.batches()[sent:]].count(key.first) == 0
            await rig.confirm()  # put right in the cloud
            assert rig.rig.progress.held_batches == 0

    run_virtual(scenario())
    held = "ERROR held by the cloud: conflict: other content; its bytes are kept, see `wattpost buffer`"
    assert log().count(held) == 1


def test_a_reason_with_half_a_surrogate_pair_is_kept_like_any_other(make: Callable[..., CourierRig]) -> None:
    async def scenario() -> None:
        rig = make()
        async with rig.running():
            await rig.pass_s(12 * MINUTE_S)
            key = rig.network.batches()[0].key
            held = [[key.first, key.last, "conflict \ud800"]]
            receipt = {"v": 1, "epoch": key.epoch.hex(), "through": 0, "held": held}
            rig.network.say(Received(json.dumps(receipt).encode()))
            await rig.pass_s(1)
            assert rig.rig.progress.held_batches == 1

    run_virtual(scenario())


# A buffer that fails


@pytest.mark.parametrize("method", ["load", "body", "confirm"])
def test_a_buffer_that_cannot_be_read_for_a_while_delays_and_loses_nothing(
    make: Callable[..., CourierRig], method: str, log: Callable[[], list[str]]
) -> None:
    async def scenario() -> None:
        rig = make()
        rig.network.connect = lambda: Disconnected("no route")
        async with rig.running():
            await rig.pass_s(60 * MINUTE_S)
            outbox = rig.rig.buffer.outbox
            healthy = getattr(outbox, method)

            def fail(*_arguments: Any) -> None:
                raise FAILING

            setattr(outbox, method, fail)
            rig.network.connect = lambda: Connected(None)
            await rig.pass_s(2 * MINUTE_S)
            if method == "confirm":
                await rig.confirm()
            assert rig.waiting > 8
            assert "buffer" in rig.rig.progress.troubles
            setattr(outbox, method, healthy)
            await rig.pass_s(5 * MINUTE_S)
            assert "buffer" not in rig.rig.progress.troubles
            assert {batch.key.first for batch in rig.network.batches()} >= {1}
            await rig.confirm()
            assert rig.waiting == 0

    run_virtual(scenario())
    assert [line for line in log() if line.startswith("ERROR")] == [f"ERROR buffer: {FAILING}"]


def test_a_delete_that_fails_is_done_again_and_holds_up_nothing_else(
    make: Callable[..., CourierRig], log: Callable[[], list[str]]
) -> None:
    async def scenario() -> None:
        rig = make(replace(SETTINGS, confirm="puback"))
        rig.network.connect = lambda: Disconnected("no route")
        async with rig.running():
            await rig.pass_s(5 * 3_600)
            outbox, backlog = rig.rig.buffer.outbox, rig.waiting
            healthy, tries = outbox.delete, itertools.count()

            def delete(ids: Iterable[int]) -> int:
                if next(tries) % 2 == 0:
                    raise FAILING
                return healthy(ids)

            outbox.delete = delete  # type: ignore[method-assign]
            rig.network.connect = lambda: Connected(None)
            await rig.pass_s(15 * MINUTE_S)
            sent = [batch_id for batch_id, _ in rig.network.published]
            assert len(sent) == len(set(sent)) > backlog > 40
            outbox.delete = healthy  # type: ignore[method-assign]
            await rig.pass_s(MINUTE_S)
            assert rig.waiting == rig.rig.progress.batches == 0
            assert len(rig.network.published) == len({batch_id for batch_id, _ in rig.network.published})

    run_virtual(scenario())


def test_a_damaged_batch_that_cannot_be_set_aside_holds_up_nothing_else(make: Callable[..., CourierRig]) -> None:
    async def scenario() -> None:
        rig = make()
        rig.network.connect = lambda: Disconnected("no route")
        async with rig.running():
            await rig.pass_s(60 * MINUTE_S)
            outbox = rig.rig.buffer.outbox
            healthy = outbox.set_aside

            def fail(*_arguments: Any) -> None:
                raise FAILING

            outbox.set_aside = fail  # type: ignore[method-assign, assignment]
            rig.rig.buffer.file.db.execute("UPDATE batch SET body = substr(body, 1, 100) WHERE id = 3")
            rig.network.connect = lambda: Connected(None)
            await rig.pass_s(MINUTE_S)
            attempts = len(rig.network.attempts_ms)
            assert {batch_id for batch_id, _ in rig.network.published} >= set(range(1, 12)) - {3}
            outbox.set_aside = healthy  # type: ignore[method-assign]
            await rig.pass_s(MINUTE_S)
            assert rig.rig.progress.held_batches == 1
            assert len(rig.network.attempts_ms) == attempts

    run_virtual(scenario())


def test_a_batch_whose_bytes_are_damaged_is_kept_stated_and_not_sent(
    make: Callable[..., CourierRig], log: Callable[[], list[str]]
) -> None:
    async def scenario() -> tuple[int, int]:
        rig = make()
        rig.network.connect = lambda: Disconnected("no route")
        async with rig.running():
            await rig.pass_s(30 * MINUTE_S)
            db = rig.rig.buffer.file.db
            body = bytearray(rig.rig.buffer.outbox.body(2) or b"")
            body[100] ^= 1
            db.execute("UPDATE batch SET body = ? WHERE id = 2", (bytes(body),))
            first, last = db.execute("SELECT first, last FROM batch WHERE id = 2").fetchone()
            rig.network.connect = lambda: Connected(None)
            await rig.pass_s(MINUTE_S)
            assert first not in [batch.key.first for batch in rig.network.batches()]
            assert rig.rig.progress.held_batches == 1
            await rig.pass_s(10 * MINUTE_S)
            newest = max(rig.network.batches(), key=lambda batch: batch.key.last)
            await rig.confirm(through=newest.key.last, digest=None)  # the cloud counts what is told as dropped
            kept = db.execute("SELECT id FROM batch WHERE last <= ?", (newest.key.last,)).fetchall()
            assert kept == [(2,)]
            told = {"first": first, "last": last, "records": last - first + 1, "reason": "damaged on the box"}
            assert events_in(rig) == [("dropped", told)]
        return first, last

    first, last = run_virtual(scenario())
    assert (
        f"ERROR buffer: the bytes of batch {first}..{last} are damaged; it is kept, not sent; the card fails: see dmesg"
        in log()
    )


def test_a_damaged_batch_of_an_epoch_before_is_told_with_that_epoch(make: Callable[..., CourierRig]) -> None:
    """Under `first` and `last` its numbers would be those of others in the epoch that tells of it."""

    async def scenario() -> None:
        rig = make()
        rig.network.connect = lambda: Disconnected("no route")
        async with rig.running():
            await rig.pass_s(10 * MINUTE_S)
            old, db = rig.rig.buffer.epoch, rig.rig.buffer.file.db
            assert await rig.rig.recorder.begin_epoch("receipt: test")
            first, last = db.execute("SELECT first, last FROM batch WHERE id = 1").fetchone()
            db.execute("UPDATE batch SET body = substr(body, 1, 100) WHERE id = 1")
            rig.network.connect = lambda: Connected(None)
            await rig.pass_s(20 * MINUTE_S)
            (told,) = [data for kind, data in events_in(rig) if kind == "dropped"]
            records = last - first + 1
            assert told == {
                "epoch": old.hex(), "old_first": first, "old_last": last,
                "records": records, "reason": "damaged on the box",
            }  # fmt: skip

    run_virtual(scenario())


def test_a_damaged_file_ends_the_courier_for_a_new_start(make: Callable[..., CourierRig]) -> None:
    damaged = BufferFileError("read from", Path("b"), "database disk image is malformed", sqlite3.SQLITE_CORRUPT)

    async def scenario() -> None:
        rig = make()
        outbox = rig.rig.buffer.outbox

        def fail(*_arguments: Any) -> None:
            raise damaged

        outbox.load = fail  # type: ignore[method-assign, assignment]
        task = asyncio.create_task(rig.courier.run())
        await asyncio.sleep(10)
        with pytest.raises(BufferFileError, match="malformed"):
            await task
        rig.rig.buffer.close()

    run_virtual(scenario())

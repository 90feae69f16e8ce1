"""From readings to sealed batches, in virtual time on a real buffer: windows, retries, accounts."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from recording_rig import FAILING, Rig, batches_in, committed, policies, sick
from virtual_time import run_virtual

from agent.adapters.buffer.buffer_file import BufferFileError
from agent.core.buffer import pending as pending_records
from agent.core.records import NewEvent, NewReading
from wire.batch import Batch, Slots


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "buffer.db"


def check_account(batches: list[Batch], polled: int) -> None:
    """Each batch balances in itself, and all of them together have every slot."""
    for batch in batches:
        for series in batch.series:
            assert series.slots.due == series.slots.read + series.slots.explained, batch.key
    due = sum(series.slots.due for batch in batches for series in batch.series)
    assert due == polled


@pytest.mark.parametrize(("durability_ms", "window_ms"), [(5_000, 5_000), (1_000, 1_000), (300, 300), (0, 1)])
def test_what_was_read_is_on_the_disk_within_the_durability_window(
    path: Path, durability_ms: int, window_ms: int
) -> None:
    async def scenario() -> None:
        rig = Rig(path, policies(durability_ms=durability_ms))
        rig.add_meter(interval_ms=700)
        async with rig.running():
            for _ in range(60_000):
                await asyncio.sleep(0.001)
                pending = rig.journal.pending
                assert not pending or rig.clock.mono_ms() - next(iter(pending)).mono_ms <= window_ms
        assert committed(rig) == rig.meters[0].polled

    run_virtual(scenario())


def test_batches_are_sealed_by_age_with_all_that_was_read_till_then(path: Path) -> None:
    async def scenario() -> int:
        rig = Rig(path, policies(max_bytes=100_000))
        rig.add_meter(interval_ms=10_000)
        async with rig.running():
            await rig.pass_s(1_000)
            assert len(rig.sealed) == 3
        return rig.meters[0].polled

    polled = run_virtual(scenario())
    batches = batches_in(path)
    check_account(batches, polled)
    spans = [batch.series[0].readings[-1].mono_ms - batch.series[0].readings[0].mono_ms for batch in batches]
    assert spans[:3] == [300_000, 290_000, 290_000] or spans[:3] == [290_000] * 3 or spans[:3] == [300_000] * 3


@pytest.mark.parametrize(("durability_ms", "interval_ms"), [(5_000, 1_000), (60_000, 1_000), (60_000, 10_000)])
def test_no_record_is_left_unsealed_beyond_its_age(path: Path, durability_ms: int, interval_ms: int) -> None:
    async def scenario() -> None:
        rig = Rig(path, policies(durability_ms=durability_ms, max_age_ms=60_000, max_bytes=200_000))
        rig.add_meter(interval_ms=interval_ms)
        async with rig.running():
            for _ in range(1_000):
                await rig.pass_s(1)
                oldest_ms = rig.sealer.oldest_ms()
                assert oldest_ms is None or rig.clock.mono_ms() - oldest_ms <= 61_000

    run_virtual(scenario())


def test_batches_are_sealed_by_size(path: Path) -> None:
    async def scenario() -> int:
        rig = Rig(path)
        rig.add_meter()
        async with rig.running():
            await rig.pass_s(2_000)
        assert 8 <= len(rig.sealed) <= 20
        assert all(2_000 < batch.size <= 3_600 for batch in rig.sealed[3:])
        return rig.meters[0].polled

    polled = run_virtual(scenario())
    check_account(batches_in(path), polled)


def test_a_meter_that_is_silent_for_long_is_accounted_for_in_each_batch(path: Path) -> None:
    async def scenario() -> int:
        rig = Rig(path)
        rig.add_meter(interval_ms=10_000).silent = True
        async with rig.running():
            await rig.pass_s(3_600)
            assert len(rig.sealed) >= 11
        return rig.meters[0].polled

    polled = run_virtual(scenario())
    batches = batches_in(path)
    check_account(batches, polled)
    (event,) = batches[0].events
    assert (event.kind, event.data["reason"]) == ("gap", "silent")
    assert batches[0].series[0].slots == Slots(event.data["slots"], 0, event.data["slots"])


def test_the_first_batch_asks_for_a_receipt_and_then_one_an_hour(path: Path) -> None:
    async def scenario() -> None:
        rig = Rig(path, policies(max_bytes=100_000))
        rig.add_meter(interval_ms=60_000)
        async with rig.running():
            await rig.pass_s(3 * 3_600)
        asked = [number for number, batch in enumerate(rig.sealed) if batch.confirm_wanted]
        assert asked[0] == 0
        assert 3 <= len(asked) <= 4

    run_virtual(scenario())


# A disk that fails


def test_what_the_disk_does_not_take_is_kept_in_memory_and_written_when_it_does(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> int:
        rig = Rig(path)
        meter = rig.add_meter()
        async with rig.running():
            await rig.pass_s(60)
            heal = sick(rig, "commit")
            await rig.pass_s(600)
            assert rig.progress.pending_records >= 600
            assert "disk I/O error" in rig.progress.troubles["buffer"]
            heal()
            await rig.pass_s(15)
            assert rig.progress.pending_records < 10
            assert rig.progress.troubles == {}
        assert rig.flushed
        assert rig.overdue == []
        return meter.polled

    with caplog.at_level(logging.INFO):
        polled = run_virtual(scenario())
    assert [r.getMessage() for r in caplog.records if "disk" in r.getMessage()] == [f"buffer: {FAILING}"]
    batches = batches_in(path)
    check_account(batches, polled)
    assert not [event for batch in batches for event in batch.events]


def test_a_seal_that_fails_is_tried_again_without_haste_and_commits_go_on(path: Path) -> None:
    async def scenario() -> int:
        rig = Rig(path)
        meter = rig.add_meter()
        tries = 0

        async with rig.running():
            await rig.pass_s(10)
            seal = rig.buffer.seal

            def fail(*_arguments: Any, **_options: Any) -> None:
                nonlocal tries
                tries += 1
                raise FAILING

            rig.buffer.seal = fail  # type: ignore[method-assign, assignment]
            await rig.pass_s(1_200)
            assert 20 <= tries <= 40
            assert committed(rig) > 1_190
            rig.buffer.seal = seal  # type: ignore[method-assign]
            await rig.pass_s(60)
            assert rig.progress.open_records < 200
        assert rig.overdue == []
        return meter.polled

    polled = run_virtual(scenario())
    check_account(batches_in(path), polled)


def test_memory_is_bounded_and_what_it_could_not_hold_is_a_gap(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_records, "PENDING_MAX", 500)

    async def scenario() -> int:
        rig = Rig(path)
        meter = rig.add_meter()
        async with rig.running():
            await rig.pass_s(60)
            heal = sick(rig, "commit")
            await rig.pass_s(2_000)
            assert rig.progress.pending_records == 500
            assert rig.progress.dropped_records >= 1_500
            heal()
            await rig.pass_s(60)
        return meter.polled

    polled = run_virtual(scenario())
    batches = batches_in(path)
    due = sum(series.slots.due for batch in batches for series in batch.series)
    read = sum(series.slots.read for batch in batches for series in batch.series)
    explained = sum(series.slots.explained for batch in batches for series in batch.series)
    assert due == read + explained == polled
    (gap,) = [event for batch in batches for event in batch.events if event.kind == "gap"]
    assert gap.data["reason"] == "not_kept"
    assert gap.data["slots"] == polled - read
    readings = [reading.mono_ms for batch in batches for series in batch.series for reading in series.readings]
    assert not [at for at in readings if gap.data["from_ms"] <= at < gap.data["to_ms"]]


def test_a_damaged_file_ends_the_loop_for_a_new_start(path: Path) -> None:
    damaged = BufferFileError("write to", path, "database disk image is malformed", sqlite3.SQLITE_CORRUPT)

    async def scenario() -> None:
        rig = Rig(path)
        task = asyncio.create_task(rig.recorder.run())
        sick(rig, "commit", damaged)
        rig.journal.add([NewEvent(1, "start")])
        await asyncio.sleep(10)
        with pytest.raises(BufferFileError, match="malformed"):
            await task
        rig.buffer.file.close()

    run_virtual(scenario())


def test_a_stuck_disk_starves_the_watchdog(path: Path) -> None:
    async def scenario() -> None:
        rig = Rig(path)
        rig.add_meter()
        hanging = asyncio.Event()
        healthy = rig.store.run

        async def hang(_work: object) -> None:
            await hanging.wait()

        async with rig.running():
            await rig.pass_s(60)
            rig.store.run = hang  # type: ignore[method-assign, assignment]
            await rig.pass_s(300)
            assert "recording" in rig.overdue
            rig.store.run = healthy  # type: ignore[method-assign]
            hanging.set()

    run_virtual(scenario())


# Epochs


def test_a_new_epoch_begins_behind_everything_that_was_committed(path: Path) -> None:
    async def scenario() -> None:
        rig = Rig(path)
        rig.add_meter()
        async with rig.running():
            await rig.pass_s(100)
            first = rig.buffer.epoch
            assert await rig.recorder.begin_epoch("receipt: it does not fit")
            assert rig.buffer.epoch != first
            await rig.pass_s(400)

    run_virtual(scenario())
    batches = batches_in(path)
    epochs = list(dict.fromkeys(batch.key.epoch for batch in batches))
    assert len(epochs) == 2
    for epoch in epochs:
        of_epoch = [batch.key for batch in batches if batch.key.epoch == epoch]
        assert [key.first for key in of_epoch] == [1, *(key.last + 1 for key in of_epoch[:-1])]
    (event,) = [event for batch in batches for event in batch.events if event.kind == "epoch"]
    assert event.data == {"reason": "receipt: it does not fit", "previous": epochs[0].hex()}
    readings = [reading.mono_ms for batch in batches for series in batch.series for reading in series.readings]
    assert readings == list(range(1_000, 1_000 * len(readings) + 1, 1_000))


@pytest.mark.parametrize("method", ["commit", "seal", "begin_epoch"])
def test_no_new_epoch_begins_while_the_disk_fails(path: Path, method: str) -> None:
    async def scenario() -> None:
        rig = Rig(path)
        rig.add_meter()
        async with rig.running():
            await rig.pass_s(101)  # so that something is pending
            epoch = rig.buffer.epoch
            heal = sick(rig, method)
            try:
                assert not await rig.recorder.begin_epoch("receipt: it does not fit")
            except BufferFileError:
                assert method == "begin_epoch"
            assert rig.buffer.epoch == epoch
            heal()
            await rig.pass_s(100)

    run_virtual(scenario())
    batches = batches_in(path)
    assert len({batch.key.epoch for batch in batches}) == 1
    assert [batch.key.first for batch in batches] == [1, *(batch.key.last + 1 for batch in batches[:-1])]


# The end


def test_flushing_writes_everything_and_closes_every_gap(path: Path) -> None:
    async def scenario() -> int:
        rig = Rig(path, policies(durability_ms=600_000))
        meter = rig.add_meter()
        async with rig.running():
            await rig.pass_s(20)
            meter.silent = True
            await rig.pass_s(10)
            assert committed(rig) == 0
        assert rig.flushed
        return meter.polled

    polled = run_virtual(scenario())
    check_account(batches_in(path), polled)


def test_slots_counted_elsewhere_are_part_of_the_account(path: Path) -> None:
    async def scenario() -> None:
        rig = Rig(path)
        meter = rig.add_meter()
        async with rig.running():
            gap = NewEvent(1, "gap", "main", {"reason": "not_running", "from_ms": 0, "to_ms": 5, "slots": 7})
            rig.journal.explain("main", [gap], 7)
            rig.journal.add([NewReading(meter.layout, 2, (1,) * 21)])
            rig.journal.explain("main", [], 1)
            await asyncio.sleep(0.1)

    run_virtual(scenario())
    (batch,) = batches_in(path)
    assert batch.series[0].slots == Slots(8, 1, 7)

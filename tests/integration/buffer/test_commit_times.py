"""When the recorder commits, in virtual time on a real buffer: with the readings, and rarely on any disk."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recording_rig import Rig, batches_in, committed, policies, sick
from virtual_time import run_virtual

from agent.adapters.buffer.buffer_file import BufferFileError
from agent.core.buffer import pending as pending_records
from agent.core.metering.slots import MeterSlots
from agent.core.records import Group, NewEvent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "buffer.db"


def test_commits_are_as_rare_as_the_window_allows(path: Path) -> None:
    async def scenario() -> None:
        rig = Rig(path)
        rig.add_meter()
        commits = 0
        commit = rig.buffer.commit

        def counted(group: Any) -> int:
            nonlocal commits
            commits += 1
            return commit(group)

        rig.buffer.commit = counted  # type: ignore[method-assign]
        async with rig.running():
            await rig.pass_s(600)
        assert commits <= 600 / 5 + 3

    run_virtual(scenario())


def test_the_last_reading_of_a_window_brings_the_commit_with_it(path: Path) -> None:
    """So that the processor need not wake for the commit alone."""

    async def scenario() -> None:
        rig = Rig(path)
        rig.add_meter()
        async with rig.running():
            await rig.pass_s(29.4)  # readings of 1 s to 29 s; the start is no reading
            committed_ms = []
            for _ in range(10_000):
                before = committed(rig)
                await asyncio.sleep(0.001)
                committed_ms += [rig.clock.mono_ms()] * (committed(rig) > before)
        assert [at_ms % 1_000 for at_ms in committed_ms] == [1, 1]
        assert committed_ms[1] - committed_ms[0] == 5_000

    run_virtual(scenario())


def test_a_commit_waits_for_a_reading_that_another_line_is_about_to_bring(path: Path) -> None:
    """Else four lines would make four commits of what is read at one instant."""

    async def scenario() -> None:
        rig = Rig(path)
        async with rig.running():
            rig.journal.meters = meters = [MeterSlots(f"meter{at}", 10_000, rig.clock.mono_ms()) for at in range(4)]
            for each in meters:
                each.take(each.next_ms)
            for each in meters:
                assert committed(rig) == 0
                rig.journal.add([*each.read(), NewEvent(1, "plausible")])
                await asyncio.sleep(0.05)
            assert committed(rig) == 4
            rig.journal.meters = ()

    run_virtual(scenario())


def test_a_disk_that_is_slower_than_the_readings_still_gets_few_commits_and_seals(path: Path) -> None:
    """What comes while a commit lasts belongs to the next: else it never ended, and nothing was ever sealed."""

    async def scenario() -> None:
        rig = Rig(path, policies(max_age_ms=60_000))
        commit, commits, disk = rig.buffer.commit, 0, asyncio.Lock()
        run = rig.store.run

        def counted(group: Any) -> Any:
            nonlocal commits
            commits += 1
            return commit(group)

        async def slow(work: Callable[[], Any]) -> Any:
            async with disk:
                await asyncio.sleep(0.3)
                return await run(work)

        rig.buffer.commit = counted  # type: ignore[method-assign]
        rig.store.run = slow  # type: ignore[method-assign]
        for at in range(4):
            rig.add_meter(f"meter{at}").slots.next_ms += 250 * at
        async with rig.running():
            await rig.pass_s(600)
            assert commits <= 600 / 4
            assert len(rig.sealed) >= 9
            assert rig.progress.pending_records <= 4 * 6
            rig.store.run = run  # type: ignore[method-assign]

    run_virtual(scenario())


def test_a_disk_that_fails_is_not_tried_again_with_each_reading(path: Path) -> None:
    async def scenario() -> None:
        rig = Rig(path)
        rig.add_meter()
        async with rig.running():
            heal, tries = sick(rig, "commit"), 0
            fail = rig.buffer.commit

            def counted(group: Any) -> int:
                nonlocal tries
                tries += 1
                return fail(group)

            rig.buffer.commit = counted  # type: ignore[method-assign]
            await rig.pass_s(50)
            heal()
            assert 8 <= tries <= 13  # every 4 or 5 s
            await rig.pass_s(10)
            assert committed(rig) >= 55

    run_virtual(scenario())


def test_a_disk_that_fails_is_said_once_whatever_fails_on_it(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sealing = BufferFileError("seal a batch in", path, "disk I/O error", sqlite3.SQLITE_IOERR)

    async def scenario() -> None:
        rig = Rig(path, policies(max_age_ms=20_000))
        rig.add_meter()
        async with rig.running():
            heal_seal = sick(rig, "seal", sealing)
            while "buffer" not in rig.progress.troubles:
                await rig.pass_s(0.1)
            heal_commit = sick(rig, "commit")
            await rig.pass_s(25)
            heal_seal()
            heal_commit()
            await rig.pass_s(60)
            assert rig.progress.troubles == {}

    run_virtual(scenario())
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1


def test_flushing_takes_what_comes_while_it_lasts(path: Path) -> None:
    """An event of the courier's at the end of a run, say, while the card is slow."""

    async def scenario() -> None:
        rig = Rig(path)
        run = rig.store.run

        async def slow(work: Callable[[], Any]) -> Any:
            await asyncio.sleep(0.3)
            return await run(work)

        async with rig.running():
            rig.store.run = slow  # type: ignore[method-assign]
            rig.journal.add([NewEvent(1, "stop")])
            flushing = asyncio.create_task(rig.recorder.flush())
            await asyncio.sleep(0.1)
            rig.journal.add([NewEvent(2, "receipt_refused")])
            assert await flushing
            assert committed(rig) == 2
            rig.store.run = run  # type: ignore[method-assign]

    run_virtual(scenario())


def test_a_burst_is_committed_in_groups_at_once(path: Path) -> None:
    async def scenario() -> None:
        rig = Rig(path)
        async with rig.running():
            rig.journal.add(NewEvent(1, "stop") for _ in range(200))
            await asyncio.sleep(0.001)
            assert committed(rig) == 200

    run_virtual(scenario())
    assert sum(len(batch.events) for batch in batches_in(path)) == 200


def test_a_shorter_durability_counts_from_the_reload_on(path: Path) -> None:
    async def scenario() -> None:
        rig = Rig(path, policies(durability_ms=600_000, max_bytes=100_000))
        rig.add_meter(interval_ms=10_000)
        async with rig.running():
            await rig.pass_s(30.5)
            rig.recorder.reconfigure(policies(durability_ms=0))
            assert rig.progress.pending_records == 3
            await rig.pass_s(0.1)
            assert (committed(rig), rig.progress.pending_records) == (3, 0)
            await rig.pass_s(10)
            assert (committed(rig), rig.progress.pending_records) == (4, 0)

    run_virtual(scenario())


@pytest.mark.parametrize(("meters", "commit_s"), [(20, 3.0), (100, 0.5)])
def test_a_slow_disk_that_keeps_up_is_not_taken_for_a_hang(path: Path, meters: int, commit_s: float) -> None:
    async def scenario() -> None:
        rig = Rig(path)
        run = rig.store.run

        async def slow(work: Callable[[], Any]) -> Any:
            await asyncio.sleep(commit_s)
            return await run(work)

        for number in range(meters):
            rig.add_meter(f"meter-{number}")
        async with rig.running():
            rig.store.run = slow  # type: ignore[method-assign]
            await rig.pass_s(300)
            assert committed(rig) > 200 * meters / 2
            rig.store.run = run  # type: ignore[method-assign]
        assert rig.overdue == []

    run_virtual(scenario())


def test_what_was_given_up_is_stated_before_what_came_after_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut in between would leave it unexplained: the later readings account for all before them."""
    monkeypatch.setattr(pending_records, "PENDING_MAX", 600)
    groups: list[Group] = []

    async def scenario() -> None:
        rig = Rig(path)
        rig.add_meter()
        commit = rig.buffer.commit

        def noted(group: Group) -> int:
            groups.append(group)
            return commit(group)

        async with rig.running():
            await rig.pass_s(100)
            heal = sick(rig, "commit")
            await rig.pass_s(1_000)
            heal()
            rig.buffer.commit = noted  # type: ignore[method-assign]
            await rig.pass_s(10)

    run_virtual(scenario())
    first = groups[0].records[0]
    assert isinstance(first, NewEvent)
    assert (first.kind, first.data["reason"]) == ("gap", "not_kept")
    assert first.data["slots"] > 300

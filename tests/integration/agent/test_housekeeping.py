"""Clock, watchdog and status in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from recording_rig import Rig, batches_in
from virtual_time import BOOT_UTC_MS, run_virtual

from agent.adapters.buffer.buffer_file import BufferFileError
from agent.adapters.system.status_file import StatusFile, read_status
from agent.core.system.status import StatusSettings
from agent.services.nap import Nap
from agent.services.status_report import InForce
from agent.tasks.housekeeping import Housekeeper
from agent.tasks.metering import Metering
from wire.batch import Anchor


class Messages:
    """What systemd would be told."""

    def __init__(self, watchdog_ms: int | None = None) -> None:
        self.watchdog_ms = watchdog_ms
        self.sent: list[tuple[int, str]] = []

    def send(self, *lines: str) -> None:
        self.sent.append((round(asyncio.get_running_loop().time() * 1000), lines[0]))


class House:
    def __init__(self, folder: Path, *, synchronised: bool = True, watchdog_ms: int | None = None) -> None:
        self.rig = Rig(folder / "buffer.db")
        self.rig.clock.synchronised = synchronised
        self.rig.add_meter()
        self.messages = Messages(watchdog_ms)
        metering = Metering(
            self.rig.store, self.rig.journal, self.rig.clock, self.rig.timekeeper, self.rig.progress, self.rig.watchdog
        )
        notifier: Any = self.messages
        self.keeper = Housekeeper(
            self.rig.clock,
            self.rig.timekeeper,
            self.rig.store,
            self.rig.journal,
            metering,
            self.rig.progress,
            self.rig.watchdog,
            notifier,
            StatusFile(folder / "run" / "status.json"),
            lambda: InForce("apt-1", StatusSettings()),
            interval_ms=5_000,
            nap=Nap(self.rig.clock),
        )
        (folder / "run").mkdir()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[House]:
        async with self.rig.running():
            task = asyncio.create_task(self.keeper.run())
            try:
                yield self
            finally:
                task.cancel()
                ended = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(ended[0], asyncio.CancelledError), ended[0]


def test_a_clock_that_is_not_synchronised_is_said_once_and_dates_nothing_until_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        house = House(tmp_path, synchronised=False)
        async with house.running():
            await house.rig.pass_s(700)
            assert "not synchronised" in house.rig.progress.troubles["clock"]
            assert read_status(tmp_path / "run" / "status.json").utc_ms is None
            house.rig.clock.synchronised = True
            await house.rig.pass_s(700)
            assert house.rig.progress.troubles == {}
            assert (read_status(tmp_path / "run" / "status.json").utc_ms or 0) > BOOT_UTC_MS

    with caplog.at_level(logging.INFO):
        run_virtual(scenario())
    step = "check systemd-timesyncd and the network; readings are dated later, nothing is lost"
    other = 'where the clock is kept right from outside, set [clock] source = "system"'
    assert [record.getMessage() for record in caplog.records] == [
        f"clock: not synchronised; {step}; {other}",
        "clock: known, within 20 ms",
    ]
    batches = batches_in(tmp_path / "buffer.db")
    assert batches[0].anchor is None
    assert batches[-1].anchor == Anchor(BOOT_UTC_MS, 20)
    (known,) = [event for batch in batches for event in batch.events if event.kind == "clock_known"]
    assert known.data == {"boot_utc_ms": BOOT_UTC_MS, "uncertainty_ms": 20}


def test_a_step_of_the_clock_is_recorded_and_moves_the_slots_but_no_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        house = House(tmp_path)
        async with house.running():
            await house.rig.pass_s(100)
            house.rig.clock.shift_ms = 3_600_250
            await house.rig.pass_s(100)
            assert (house.rig.meters[0].slots.next_ms + 250) % 1_000 == 0

    with caplog.at_level(logging.INFO):
        run_virtual(scenario())
    assert "clock: stepped by 3600250 ms; order and intervals are not affected" in caplog.text
    batches = batches_in(tmp_path / "buffer.db")
    (step,) = [event for batch in batches for event in batch.events if event.kind == "clock_step"]
    assert step.data["step_ms"] == 3_600_250
    times = [reading.mono_ms for batch in batches for series in batch.series for reading in series.readings]
    assert times == sorted(times)
    assert {later - sooner for sooner, later in itertools.pairwise(times)} <= {1_000, 750}


def test_slots_move_to_utc_as_it_becomes_better_known(tmp_path: Path) -> None:
    """Else the batches, which are dated by it, would place a reading beside its slot."""

    async def scenario() -> None:
        house = House(tmp_path)
        async with house.running():
            await house.rig.pass_s(20)
            house.rig.clock.shift_ms, house.rig.clock.uncertainty_ms = 30, 5
            await house.rig.pass_s(20)
            assert (house.rig.meters[0].slots.next_ms + 30) % 1_000 == 0
            row = house.rig.buffer.file.db.execute("SELECT boot_utc_ms, uncertainty_ms FROM box").fetchone()
            assert row == (BOOT_UTC_MS + 30, 5)

    run_virtual(scenario())


def test_the_anchor_is_kept_for_what_a_power_cut_leaves(tmp_path: Path) -> None:
    async def scenario() -> None:
        house = House(tmp_path)
        async with house.running():
            await house.rig.pass_s(20)
            row = house.rig.buffer.file.db.execute("SELECT boot_utc_ms, uncertainty_ms FROM box").fetchone()
            assert row == (BOOT_UTC_MS, 20)

    run_virtual(scenario())


def test_a_disk_that_fails_as_the_clock_becomes_known_stops_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        house = House(tmp_path, synchronised=False)
        buffer = house.rig.buffer
        noted = buffer.note_anchor

        def fail(_anchor: Anchor) -> None:
            raise BufferFileError("write to", Path("b"), "disk I/O error", sqlite3.SQLITE_IOERR)

        async with house.running():
            await house.rig.pass_s(20)
            buffer.note_anchor = fail  # type: ignore[method-assign]
            house.rig.clock.synchronised = True
            await house.rig.pass_s(20)
            assert "anchor" in house.rig.progress.troubles
            buffer.note_anchor = noted  # type: ignore[method-assign]
            await house.rig.pass_s(20)
            assert house.rig.progress.troubles == {}
            row = buffer.file.db.execute("SELECT boot_utc_ms FROM box").fetchone()
            assert row == (BOOT_UTC_MS,), "it was not tried again"

    run_virtual(scenario())


def test_a_disk_that_stalls_as_utc_becomes_better_known_does_not_starve_the_watchdog(tmp_path: Path) -> None:
    async def scenario() -> None:
        house = House(tmp_path)
        run, stalled = house.rig.store.run, asyncio.Event()

        async def stalling(work: Any) -> Any:
            await stalled.wait()
            return await run(work)

        async with house.running():
            await house.rig.pass_s(20)
            house.rig.store.run = stalling  # type: ignore[method-assign]
            house.rig.clock.uncertainty_ms = 5
            await house.rig.pass_s(100)
            stalled.set()
            await house.rig.pass_s(20)
        fed = [at_ms for at_ms, line in house.messages.sent if line == "WATCHDOG=1"]
        assert max(later - sooner for sooner, later in itertools.pairwise(fed)) <= 6_000

    run_virtual(scenario())


@pytest.mark.parametrize(("watchdog_ms", "period_ms"), [(None, 6_000), (60_000, 6_000), (4_000, 2_000)])
def test_the_watchdog_is_fed_at_least_twice_in_its_time(
    watchdog_ms: int | None, period_ms: int, tmp_path: Path
) -> None:
    async def scenario() -> list[int]:
        house = House(tmp_path, watchdog_ms=watchdog_ms)
        async with house.running():
            await house.rig.pass_s(60)
        return [at_ms for at_ms, line in house.messages.sent if line == "WATCHDOG=1"]

    fed = run_virtual(scenario())
    assert {later - sooner for sooner, later in itertools.pairwise(fed)} == {period_ms}


def test_a_round_that_is_about_due_goes_with_a_commit(tmp_path: Path) -> None:
    """It takes no more time than this, and the status then shows what was just stored."""

    async def scenario() -> list[int]:
        house = House(tmp_path)
        house.rig.on_round = house.keeper.nap.on_commit
        async with house.running():
            await house.rig.pass_s(60)
        return [at_ms for at_ms, line in house.messages.sent if line == "WATCHDOG=1"]

    rounds = run_virtual(scenario())
    assert len(rounds) == pytest.approx(60 / 5 + 1, abs=2)
    assert {at_ms % 1_000 for at_ms in rounds[1:]} == {0}  # as the readings


def test_a_loop_that_is_stuck_is_named_and_the_watchdog_not_fed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> list[int]:
        house = House(tmp_path)
        async with house.running():
            house.rig.watchdog.beat("line rs485", 30_000)
            await house.rig.pass_s(60)
            house.rig.watchdog.beat("line rs485", 300_000)
            await house.rig.pass_s(10)
        return [at_ms for at_ms, _ in house.messages.sent]

    fed = run_virtual(scenario())
    assert max(at_ms for at_ms in fed if at_ms < 55_000) <= 30_500
    assert max(fed) > 60_000
    assert [r.getMessage() for r in caplog.records if "stuck" in r.getMessage()] == [
        "watchdog: not fed, stuck: line rs485"
    ]


def test_a_status_that_cannot_be_written_is_said_once_with_the_remedy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        house = House(tmp_path)
        (tmp_path / "run").rmdir()
        async with house.running():
            await house.rig.pass_s(60)
            (tmp_path / "run").mkdir()
            await house.rig.pass_s(10)
            assert read_status(tmp_path / "run" / "status.json").box == "apt-1"

    with caplog.at_level(logging.WARNING):
        run_virtual(scenario())
    where = f"cannot write {tmp_path}/run/status.json.new: No such file or directory"
    assert [r.getMessage() for r in caplog.records] == [
        f"status: {where}; set [status] path to a folder of the agent's user"
    ]

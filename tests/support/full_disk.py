"""Scenarios on a file system of a few megabytes that is full: `python full_disk.py SCENARIO FOLDER`.

Run by tests/integration/buffer/test_full_disk.py in a process that has the small file system to itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from recording_rig import IDENTITY, Rig, batches_in, policies
from virtual_time import run_virtual

from agent.adapters.buffer.buffer import Buffer
from agent.core.buffer import pending as pending_records
from agent.core.records import Group, NewEvent
from wire.batch import Batch
from wire.receipt import Receipt

DAY_S = 86_400


def thinned(rig: Rig) -> int:
    count: int = rig.buffer.file.db.execute("SELECT count(*) FROM batch WHERE rev > 0").fetchone()[0]
    return count


class Other:
    """Somebody else's file, which takes what room there is."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "other"

    def fill(self) -> None:
        with self.path.open("ab", buffering=0) as file, suppress(OSError):
            while file.write(bytes(64)):
                pass

    def leave(self, free_bytes: int) -> None:
        state = os.statvfs(self.path.parent)
        with self.path.open("ab", buffering=0) as file:
            file.write(bytes(state.f_bavail * state.f_frsize - free_bytes))

    def empty(self) -> None:
        self.path.unlink()


def check_account(batches: list[Batch], polled: int) -> None:
    """Nothing is missing unsaid: numbers without gap, every slot read or explained, what was thinned is stated."""
    assert [b.key.first for b in batches] == [1, *(b.key.last + 1 for b in batches[:-1])]
    slots = [series.slots for batch in batches for series in batch.series if series.meter == "main"]
    due, read, explained = (sum(getattr(one, name) for one in slots) for name in ("due", "read", "explained"))
    assert due == read + explained, (due, read, explained)
    assert abs(due - polled) <= 1, (due, polled)
    stated = [event for batch in batches for event in batch.events if event.kind == "thinned"]
    if any(event.kind == "dropped" for batch in batches for event in batch.events):
        return  # the news of the thinning may be among what was given up, and counted
    thinned = {(batch.key.first, batch.key.rev) for batch in batches if batch.key.rev}
    for first, rev in thinned:
        assert any(e.data["rev"] == rev and e.data["first"] <= first <= e.data["last"] for e in stated), (first, rev)
    kept = sum(len(series.readings) for batch in batches for series in batch.series)
    assert read - kept == sum(event.data["removed"] for event in stated), (read, kept)


def thins_when_full(folder: Path) -> None:
    """A meter at 1 Hz, offline until the disk is full and long after: everything is accounted for."""
    path = folder / "buffer.db"

    async def scenario() -> int:
        rig = Rig(path, policies(durability_ms=30_000))
        meter = rig.add_meter()
        async with rig.running():
            while not thinned(rig):
                await rig.pass_s(3_600)
            await rig.pass_s(meter.polled / 4)
        assert rig.flushed
        assert rig.progress.dropped_records == 0
        assert rig.overdue == []
        return meter.polled

    polled = run_virtual(scenario())
    batches = batches_in(path)
    check_account(batches, polled)
    assert {batch.key.rev for batch in batches} >= {0, 1}, "nothing was thinned"
    assert batches[0].key.rev >= batches[-1].key.rev == 0, "the newest is thinned last"


def survives_somebody_elses_file(folder: Path) -> None:
    """The disk is filled by others, the box goes on for a while by thinning, then waits, then loses nothing."""
    path, other = folder / "buffer.db", Other(folder)

    async def scenario() -> int:
        rig = Rig(path, policies(durability_ms=30_000))
        meter = rig.add_meter()
        async with rig.running():
            await rig.pass_s(DAY_S / 12)
            while not rig.progress.pending_records > 300:
                other.fill()
                await rig.pass_s(600)
            assert "disk is full" in rig.progress.troubles["buffer"]
            other.empty()
            await rig.pass_s(600)
            assert "buffer" not in rig.progress.troubles
            assert rig.progress.pending_records < 64
        assert rig.flushed
        assert rig.progress.dropped_records == 0
        assert rig.overdue == []
        return meter.polled

    polled = run_virtual(scenario())
    check_account(batches_in(path), polled)


def gives_up_the_oldest_at_last(folder: Path) -> None:
    """Full for hours: memory is bounded, and what it could not hold is stated as a gap."""
    path, other = folder / "buffer.db", Other(folder)
    pending_records.PENDING_MAX = 1_000

    async def scenario() -> int:
        rig = Rig(path, policies(durability_ms=30_000))
        meter = rig.add_meter()
        async with rig.running():
            await rig.pass_s(3_600)
            while rig.progress.dropped_records < 2_000:
                other.fill()
                await rig.pass_s(600)
                assert rig.progress.pending_records <= pending_records.PENDING_MAX
            other.empty()
            await rig.pass_s(600)
        assert rig.flushed
        return meter.polled

    polled = run_virtual(scenario())
    batches = batches_in(path)
    check_account(batches, polled)
    gaps = [event for batch in batches for event in batch.events if event.kind == "gap"]
    assert sum(e.data["slots"] for e in gaps if e.data["reason"] == "not_kept") > 1_000


def starts_and_deletes_when_full(folder: Path) -> None:
    """Killed with open records, started on a full disk; and a receipt gives room again."""
    path, other = folder / "buffer.db", Other(folder)

    async def scenario() -> None:
        rig = Rig(path, policies(durability_ms=30_000))
        rig.add_meter()
        async with rig.running():
            await rig.pass_s(DAY_S / 4)
            rig.buffer.close = rig.buffer.file.close  # type: ignore[method-assign] # killed, not ended

    run_virtual(scenario())
    other.fill()
    assert os.statvfs(folder).f_bavail == 0
    buffer, opening = Buffer.open(path, IDENTITY)
    assert not opening.clean
    buffer.commit(Group([NewEvent(1, "start")]))
    buffer.seal(None, 3_600, everything=True, confirm_wanted=False, handed_out=True)
    _send_all(buffer)
    before = buffer.space.used_bytes()
    result = buffer.outbox.confirm(Receipt(buffer.epoch, buffer.sealed_through), buffer.epoch, buffer.sealed_through)
    assert result is not None
    assert result[0].misfit is None
    assert buffer.outbox.counts()["batches"] == 0
    assert buffer.space.used_bytes() < before / 2
    buffer.close()


def _send_all(buffer: Buffer) -> None:
    for batch in buffer.outbox.load(None, 1_000):
        assert buffer.outbox.body(batch.id)
        buffer.outbox.sending.taken(batch.id)


def deletes_when_full(folder: Path) -> None:
    """The disk fills up while it runs, nobody gives room: a receipt for all of a long backlog still deletes it."""
    path, other = folder / "buffer.db", Other(folder)

    async def scenario() -> None:
        rig = Rig(path, policies(durability_ms=30_000))
        rig.add_meter()
        async with rig.running():
            await rig.pass_s(DAY_S / 3)
            other.fill()
            buffer = rig.buffer
            batches = buffer.outbox.counts()["batches"]
            _send_all(buffer)
            receipt = Receipt(buffer.epoch, buffer.sealed_through)
            result = await rig.room.run(lambda: buffer.outbox.confirm(receipt, buffer.epoch, buffer.sealed_through))
            assert result is not None
            assert len(result[0].delete) == batches > 200
            assert buffer.outbox.counts()["batches"] == 0

    run_virtual(scenario())


def leaves_a_small_backlog_alone(folder: Path) -> None:
    """Nearly full is no reason to thin what cannot give the reserve; and zeros go before what was measured."""
    path, other = folder / "buffer.db", Other(folder)
    ballast = path.with_name("buffer.db.ballast")

    async def scenario() -> None:
        rig = Rig(path, policies(durability_ms=30_000))
        rig.add_meter()
        async with rig.running():
            await rig.pass_s(3_600)
            assert ballast.stat().st_size == 1_000_000
            other.leave(900_000)
            await rig.pass_s(3_600)
            assert thinned(rig) == 0
            assert ballast.stat().st_size == 1_000_000
            other.fill()
            while ballast.stat().st_size == 1_000_000:
                await rig.pass_s(60)
                assert thinned(rig) == 0
            assert rig.buffer.outbox.counts()["batches"] > 20
            await rig.pass_s(600)
            assert rig.progress.pending_records < 64
            assert thinned(rig) == 0
            ballast.unlink()
            await rig.pass_s(600)
            assert thinned(rig) == 0

    run_virtual(scenario())


def thins_for_the_reserve_one_level_only(folder: Path) -> None:
    """A long backlog, no ballast, and room for the WAL: the reserve is worth what is between the counters, no more."""
    path, other = folder / "buffer.db", Other(folder)

    async def scenario() -> None:
        rig = Rig(path, policies(durability_ms=30_000))
        rig.add_meter()
        async with rig.running():
            while rig.buffer.space.used_bytes() < 1_500_000:
                await rig.pass_s(3_600)
            path.with_name("buffer.db.ballast").unlink()
            other.leave(900_000)
            await rig.pass_s(1_800)
            revs = dict(rig.buffer.file.db.execute("SELECT rev, count(*) FROM batch GROUP BY rev").fetchall())
            assert set(revs) == {0, 1}, revs
            free = rig.buffer.file.db.execute("PRAGMA freelist_count").fetchone()[0] * 512
            assert free > 300_000, free

    run_virtual(scenario())


def keeps_a_way_to_write(folder: Path) -> None:
    """The disk is filled again and again: thinning goes on when most of the ballast is gone."""
    path, other = folder / "buffer.db", Other(folder)

    async def scenario() -> int:
        rig = Rig(path, policies(durability_ms=30_000))
        meter = rig.add_meter()
        async with rig.running():
            while rig.buffer.space.used_bytes() < 1_500_000:
                await rig.pass_s(3_600)
            other.fill()
            for _ in range(48):
                await rig.pass_s(1_800)
                other.fill()
                assert rig.progress.pending_records < 300, rig.progress.troubles
            assert thinned(rig) > 100
        return meter.polled

    polled = run_virtual(scenario())
    check_account(batches_in(path), polled)


def stays_within_its_limit(folder: Path) -> None:
    """Not the disk is full but `max_size` is reached: old batches are thinned, and the ballast is left alone."""
    path, limit = folder / "buffer.db", 1_000_000

    async def scenario() -> int:
        rig = Rig(path, policies(durability_ms=30_000, max_size_bytes=limit))
        meter = rig.add_meter()
        async with rig.running():
            most = 0
            for _ in range(24):
                await rig.pass_s(3_600)
                most = max(most, rig.buffer.space.used_bytes())
            assert limit * 0.8 < most < limit * 1.1, most
        return meter.polled

    polled = run_virtual(scenario())
    batches = batches_in(path)
    check_account(batches, polled)
    assert path.with_name("buffer.db.ballast").exists()
    assert {batch.key.rev for batch in batches} >= {0, 1}


if __name__ == "__main__":
    logging.disable()
    asyncio.set_event_loop(None)
    globals()[sys.argv[1]](Path(sys.argv[2]))

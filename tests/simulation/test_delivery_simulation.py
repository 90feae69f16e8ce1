"""Bad weeks, one seed each: nothing lost, nothing twice, memory bounded, and the store agrees with every deletion.

`make sim` plays SIM_SEEDS seeds (default 40) of SIM_DAYS days (default 7). A failure names the seed and how to play it
again; SIM_SEED picks a single one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import HOUR_MS, Faults, World, stored_records

from agent.core.delivery.actions import SendLimits
from cloud.stores.sqlite.stores import open_stores

DAY_MS = 24 * HOUR_MS
SAMPLE_SEEDS = range(4)
FIRST_SEED = int(os.environ.get("SIM_SEED", "1000"))
LONG = "SIM_LONG" in os.environ
LONG_SEEDS = range(
    FIRST_SEED, FIRST_SEED + (int(os.environ.get("SIM_SEEDS", "40")) if LONG and "SIM_SEED" not in os.environ else 1)
)
LONG_DAYS = int(os.environ.get("SIM_DAYS", "7"))
DRAIN_MS = 2 * DAY_MS


def play(seed: int, folder: Path, days: int, faults: Faults) -> World:
    """Run a world, mend it, and let it drain."""
    world = World(seed, folder, open_stores(folder / "store"), faults)
    try:
        world.run(days * DAY_MS)
        world.heal()
        drained_ms = 0
        while world.unconfirmed and drained_ms < DRAIN_MS:
            world.run(HOUR_MS // 4)
            drained_ms += HOUR_MS // 4
    except AssertionError as error:
        pytest.fail(f"{error}\n{again(seed)}")
    return world


def again(seed: int) -> str:
    return f"play it again: SIM_SEED={seed} make sim"


def check(world: World) -> None:
    """Every committed record once, as it was said; nothing left over; memory within its bounds."""
    seed, stored = world.seed, stored_records(world.stores)
    missing = sorted(world.expected.keys() - stored.keys())
    assert not missing, f"{len(missing)} records lost, first {missing[0]}; {again(seed)}"
    twice = [number for number, said in stored.items() if len(said) > 1]
    assert not twice, f"{len(twice)} records stored twice, first {twice[0]}; {again(seed)}"
    wrong = [number for number, said in world.expected.items() if stored[number] != [said]]
    assert not wrong, f"{len(wrong)} records stored otherwise, first {wrong[0]}; {again(seed)}"
    assert world.unconfirmed == 0, f"{world.unconfirmed} batches were never confirmed; {again(seed)}"
    assert world.tracked_most <= SendLimits().tracked_max, again(seed)
    assert world.misfits == 0, again(seed)


@pytest.mark.parametrize("seed", SAMPLE_SEEDS)
def test_a_bad_day_loses_nothing(seed: int, tmp_path: Path) -> None:
    world = play(seed, tmp_path, 1, Faults())
    assert len(world.expected) > 8_000, "the day was too quiet to mean anything"
    check(world)


def test_a_day_without_any_receipt_for_long_loses_nothing(tmp_path: Path) -> None:
    check(play(11, tmp_path, 1, Faults(receipt_lost=0.9, puback_lost=0.3)))


def test_the_world_notices_a_loss(tmp_path: Path) -> None:
    """The checks can fail: a batch deleted behind the box's back is found missing."""
    world = World(5, tmp_path, open_stores(tmp_path / "store"), Faults(outage_every_ms=0, kill_every_ms=0, lost=1.0))
    world.run(HOUR_MS)
    batches = world.buffer.outbox.load(None, 1)
    world.buffer.outbox.delete([batches[0].id])
    world.heal()
    world.run(HOUR_MS)
    with pytest.raises(AssertionError, match="records lost"):
        check(world)


def test_after_a_restored_backup_the_cloud_or_the_quarantine_has_all_that_is_deleted(tmp_path: Path) -> None:
    """Numbers may collide with a lost history then: `World` checks at each deletion that the store has these bytes."""
    misfits = 0
    for seed in range(3):
        folder = tmp_path / str(seed)
        folder.mkdir()
        misfits += play(seed, folder, 1, Faults(restore_every_ms=9 * HOUR_MS)).misfits
    assert misfits, "no seed had a history that collided"


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.skipif(not LONG, reason="takes minutes: make sim")
@pytest.mark.parametrize("seed", LONG_SEEDS)
def test_bad_weeks_lose_nothing(seed: int, tmp_path: Path) -> None:
    check(play(seed, tmp_path, LONG_DAYS, Faults()))

"""kill -9 at random moments under load, with outages: every record committed before a kill is stored exactly once.

    python bench/torture.py [--kills 200] [--seed 1]

After each kill the buffer is opened and every record in it is noted: these were committed. At the end the network is
mended, everything is delivered, and the receiver's store must hold each of them once, with the same content, and no
number of an epoch may be missing between its first and its last.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rig import BOX, Rig, wait_until

from agent.core.records import NewReading, unpack_group
from cloud.stores.sqlite.stores import open_to_read
from wire.batch import Batch
from wire.codec import decode

Number = tuple[bytes, int]
METERS = 4
INTERVAL = "200ms"
DRAIN_S = 180.0


@dataclass
class Tally:
    """What was seen in the buffer after a kill, and what the agent was doing then."""

    committed: dict[Number, tuple[Any, ...]] = field(default_factory=dict)
    kills: int = 0
    while_offline: int = 0
    before_first_reading: int = 0


def records_of_batch(batch: Batch) -> dict[Number, tuple[Any, ...]]:
    epoch = batch.key.epoch
    found: dict[Number, tuple[Any, ...]] = {}
    for series in batch.series:
        found |= {(epoch, r.seq): (r.mono_ms, r.values) for r in series.readings}
    return found | {(epoch, event.seq): (event.mono_ms, event.kind) for event in batch.events}


def records_in_buffer(path: Path) -> dict[Number, tuple[Any, ...]]:
    """Every committed record, open or sealed, as a reader finds it after the kill."""
    db = sqlite3.connect(path)
    try:
        box = db.execute("SELECT epoch, sealed_through FROM box").fetchone()
        found: dict[Number, tuple[Any, ...]] = {}
        for (body,) in db.execute("SELECT body FROM batch"):
            found |= records_of_batch(decode(body))
        for first, body in db.execute("SELECT first, body FROM open_group WHERE first > ?", (box[1],) if box else (0,)):
            for seq, record in enumerate(unpack_group(body).records, first):
                said = record.values if isinstance(record, NewReading) else record.kind
                found[box[0], seq] = (record.mono_ms, said)
        return found
    finally:
        db.close()


def cycle(rig: Rig, config: Path, chance: random.Random, tally: Tally) -> None:
    """Start, let it work for a random time with a random network, kill, look."""
    mode = chance.choice(["pass", "pass", "pass", "silent", "reset"])
    rig.proxy(mode)
    agent = rig.start_agent(config)
    rig.status.unlink(missing_ok=True)
    time.sleep(chance.uniform(0.2, 3.5))
    if mode != "pass" and chance.random() < 0.5:
        rig.proxy("pass")
        time.sleep(chance.uniform(0.0, 1.5))
    status = rig.agent_status()
    tally.while_offline += status is None or not status.uplink.connected
    os.kill(agent.pid, signal.SIGKILL)
    agent.wait()
    tally.kills += 1
    if rig.buffer.exists():
        try:
            tally.committed |= records_in_buffer(rig.buffer)
        except sqlite3.OperationalError:  # killed before the first migration was through
            tally.before_first_reading += 1


def drain(rig: Rig, config: Path) -> None:
    """Mend the network and run until the buffer holds nothing that is older than now."""
    rig.proxy("pass")
    agent = rig.start_agent(config)

    def empty() -> bool:
        status = rig.agent_status()
        is_its = status is not None and status.pid == agent.pid
        return is_its and status.uplink.connected and status.buffer.batches == 0

    wait_until(empty, DRAIN_S, "delivery of the backlog")
    agent.terminate()
    agent.wait(10)
    rig.start_agent(config)  # seals what the stop left open
    time.sleep(2)
    wait_until(empty_now(rig), DRAIN_S, "delivery of the last records")


def empty_now(rig: Rig) -> Callable[[], bool]:
    def empty() -> bool:
        status = rig.agent_status()
        return status is not None and status.buffer.batches == 0

    return empty


def check(rig: Rig, tally: Tally) -> list[str]:
    """What is wrong, in words; empty when the promise was kept."""
    stored: dict[Number, tuple[Any, ...]] = {}
    faults: list[str] = []
    for one in open_to_read(rig.folder / "store").batches.of(BOX):
        for number, said in records_of_batch(decode(one.data)).items():
            if number in stored:
                faults.append(f"stored twice: {number[0].hex()} {number[1]}")
            stored[number] = said
    missing = tally.committed.keys() - stored.keys()
    faults += [f"committed and not stored: {epoch.hex()} {seq}" for epoch, seq in sorted(missing)[:10]]
    differ = [number for number, said in tally.committed.items() if stored.get(number, said) != said]
    faults += [f"stored otherwise than committed: {epoch.hex()} {seq}" for epoch, seq in sorted(differ)[:10]]
    for epoch in {epoch for epoch, _ in stored}:
        numbers = sorted(seq for found, seq in stored if found == epoch)
        if numbers != list(range(1, numbers[-1] + 1)):
            faults.append(f"epoch {epoch.hex()}: numbers are missing between 1 and {numbers[-1]}")
    print(f"stored {len(stored)}, of which {len(tally.committed)} were seen in the buffer after a kill")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.kills} kills", flush=True)
    chance, tally = random.Random(options.seed), Tally()
    with tempfile.TemporaryDirectory(prefix="wattpost-torture-") as name:
        folder = Path(name)
        with Rig.open(folder, meters=METERS, interval=INTERVAL) as rig:
            config = rig.write_config(
                buffer_keys='durability = "400ms"',
                batch_keys='max_age = "1s"',
                uplink_keys='confirm_interval = "0s"',
                status_interval="1s",
            )
            for number in range(options.kills):
                cycle(rig, config, chance, tally)
                if number % 20 == 19:
                    print(f"  {number + 1} kills, {len(tally.committed)} records seen", flush=True)
            drain(rig, config)
            faults = check(rig, tally)
    for fault in faults:
        print(fault)
    verdict = "every committed record is stored once" if not faults else "THE PROMISE WAS BROKEN"
    print(f"{tally.kills} kills, {tally.while_offline} of them offline, seed {options.seed}: {verdict}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

"""The account of the slots over reboots, on a real buffer: a meter's last slot is known however short a boot was."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from recording_rig import Rig
from virtual_time import run_virtual

from agent.core.buffer.numbering import BoxIdentity
from agent.core.records import NewEvent, NewReading
from agent.services.buffer.restart import restart_records
from agent.services.metering.polled_meter import PolledMeter
from agent.settings import Settings, parse
from agent.tasks.metering import Metering

CONFIG = b"""
[box]
id = "apt-1"
[[bus]]
name = "lan"
port = "tcp://127.0.0.1:9"
[[meter]]
name = "main"
bus = "lan"
model = "eastron-sdm630"
interval = "15min"
[uplink]
endpoint = "localhost"
"""


class Boot(Rig):
    """A boot of the box that begins `at_ms` after the first one; the meter is configured but never answers."""

    def __init__(self, folder: Path, number: int, at_ms: int) -> None:
        super().__init__(folder / "buffer.db", identity=BoxIdentity("apt-1", "machine", b"boot---%d" % number))
        self.clock.shift_ms = at_ms
        self.metering = Metering(self.store, self.journal, self.clock, self.timekeeper, self.progress, self.watchdog)

    async def begin(self, settings: Settings) -> list[NewEvent]:
        """Until the first commit; returns the gaps in it."""
        events = self.timekeeper.observe(self.clock.look())
        assert self.timekeeper.anchor is not None
        self.buffer.note_anchor(self.timekeeper.anchor)
        self.journal.add([*restart_records(self.opening, self.clock.mono_ms(), "rev"), *events])
        await self.metering.start(settings, self.opening)
        gaps = [one for one in self.journal.pending if isinstance(one, NewEvent) and one.kind == "gap"]
        for task in self.metering.tasks:
            task.cancel()
        await asyncio.gather(*self.metering.tasks, return_exceptions=True)
        self.journal.meters = ()
        assert await self.recorder.flush()
        return gaps

    def cut_power(self) -> None:
        self.buffer.file.close()


def test_a_power_cut_soon_after_a_reboot_within_a_slot_leaves_nothing_unexplained(tmp_path: Path) -> None:
    """Power flickers, then stays away for an hour: the first reboot misses no slot, so that no gap tells of it."""
    settings = parse(CONFIG, tmp_path / "agent.toml")

    async def scenario() -> None:
        first = Boot(tmp_path, 1, 0)
        assert await first.begin(settings) == []
        layout = first.metering._watches["main"].meter.layout
        id_ = await first.store.layout_id(layout)
        first.journal.add([NewReading(id_, first.clock.mono_ms(), (1,) * len(layout.columns))])
        assert await first.recorder.flush()
        first.cut_power()
        second = Boot(tmp_path, 2, 60_000)
        assert await second.begin(settings) == []
        second.cut_power()
        third = Boot(tmp_path, 3, 3_660_000)
        (gap,) = await third.begin(settings)
        assert gap.data["slots"] in {3, 4}
        third.cut_power()

    run_virtual(scenario())


def test_utc_that_becomes_known_while_the_meters_are_set_up_moves_their_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a reload: nobody else would move the slots of meters that are not yet the recorder's."""
    settings = parse(CONFIG, tmp_path / "agent.toml")

    async def scenario() -> None:
        boot = Boot(tmp_path, 1, 0)
        polled = Metering._polled

        async def found_meanwhile(metering: Metering, *arguments: Any) -> PolledMeter:
            made = await polled(metering, *arguments)
            boot.timekeeper.observe(boot.clock.look())
            return made

        monkeypatch.setattr(Metering, "_polled", found_meanwhile)
        await boot.metering.start(settings, boot.opening)
        anchor = boot.timekeeper.anchor
        assert anchor is not None
        (slots,) = boot.journal.meters
        assert (slots.next_ms + anchor.boot_utc_ms) % slots.interval_ms == 0
        await boot.metering.stop()
        boot.cut_power()

    run_virtual(scenario())


def test_a_meter_that_was_never_read_before_the_power_cut_has_its_slots_explained(tmp_path: Path) -> None:
    """The box is put up, is cut before the first quarter of an hour has come, and stays off for a day."""
    settings = parse(CONFIG, tmp_path / "agent.toml")

    async def scenario() -> None:
        first = Boot(tmp_path, 1, 0)
        assert await first.begin(settings) == []
        first.cut_power()
        second = Boot(tmp_path, 2, 86_400_000)
        (gap,) = await second.begin(settings)
        assert gap.data["slots"] in {95, 96}
        second.cut_power()

    run_virtual(scenario())


@pytest.mark.parametrize("error", [None, "no answer"])
def test_after_a_reload_a_meter_that_was_well_goes_on_with_its_last_reading(tmp_path: Path, error: str | None) -> None:
    settings = parse(CONFIG, tmp_path / "agent.toml")

    async def scenario() -> None:
        boot = Boot(tmp_path, 1, 0)
        await boot.metering.start(settings, boot.opening)
        before = boot.progress.meters["main"]
        before.last_ms, before.readings, before.error = 1_234, 7, error
        await boot.metering.stop()
        await asyncio.sleep(3)
        await boot.metering.start(settings, None)
        after = boot.progress.meters["main"]
        assert (after.last_ms, after.readings, after.error) == ((None, 0, None) if error else (1_234, 7, None))
        assert boot.clock.mono_ms() - after.since_ms == (0 if error else 3_000)
        await boot.metering.stop()
        boot.cut_power()

    run_virtual(scenario())

"""What goes on beside the reading of a meter: judging its values, asking for its serial number, remembering both."""

from __future__ import annotations

import logging

from agent.adapters.system.clock import Clock
from agent.core.metering.meter_memory import MeterMemory, remembered
from agent.core.metering.slots import MeterSlots
from agent.core.records import NewEvent
from agent.core.truth.plausibility import MeterTruth
from agent.services.buffer.journal import Journal
from agent.services.buffer.thread import BufferThread
from agent.services.metering.meters import ConfiguredMeter
from agent.services.metering.polled_meter import PolledMeter
from agent.services.metering.serial_number import SerialNumber
from agent.services.progress import MeterProgress

log = logging.getLogger(__name__)


class Watch:
    """Of one meter, for as long as the configuration stays. `memory` is of an earlier run, `shift_ms` to our clock."""

    def __init__(
        self,
        meter: ConfiguredMeter,
        store: BufferThread,
        journal: Journal,
        clock: Clock,
        memory: MeterMemory | None = None,
        shift_ms: int = 0,
    ) -> None:
        self.meter = meter
        self._store = store
        self._journal = journal
        self._clock = clock
        self._truth = MeterTruth(meter.settings.name, meter.driver.columns, meter.ratings, meter.origins)
        if memory is not None:
            meter.serial_number = self._truth.serial_number = memory.serial_number
            if memory.terms == meter.counter_terms:
                self._truth.remember(memory.known(shift_ms))

    async def polled(self, slots: MeterSlots, progress: MeterProgress) -> PolledMeter:
        """The meter with its schedule, judged and asked from now on."""
        meter = self.meter
        layout = await self._store.layout_id(meter.layout)
        self._polled = PolledMeter(meter.driver, slots, layout, progress, self._truth)
        self._polled.serial_number = SerialNumber(
            meter.driver, slots.interval_ms, self._heard, number=meter.serial_number
        )
        return self._polled

    async def _heard(self, number: str) -> None:
        """The meter said its serial number: with another one, its values mean something else."""
        now_ms, meter = self._clock.mono_ms(), self.meter
        events = self._truth.identified(now_ms, number)
        for event in events:
            log.warning("meter %s: replaced: serial number %s, before %s", event.meter, number, event.data["old"])
        if meter.serial_number != number:
            meter.serial_number = number
            self._polled.layout = await self._store.layout_id(meter.layout)
            events.append(self.descriptor(now_ms))
        self._journal.add(events)

    def descriptor(self, now_ms: int) -> NewEvent:
        """What the meter's values mean."""
        ref = self.meter.layout.descriptor
        data = {"ref": ref.hex() if ref else None, **self.meter.descriptor}
        return NewEvent(now_ms, "descriptor", self.meter.settings.name, data)

    def memory(self) -> MeterMemory:
        """What the next run must know of the meter."""
        return MeterMemory(self.meter.counter_terms, self.meter.serial_number, remembered(self._truth.counters()))

"""One meter as a poller sees it: its schedule, its back-off, and what judges its values."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.core.metering.backoff import MeterBackoff
from agent.core.metering.slots import MeterSlots
from agent.core.truth.plausibility import MeterTruth
from agent.services.metering.serial_number import SerialNumber
from agent.services.progress import MeterProgress
from drivers.meter import Meter


@dataclass(slots=True)
class PolledMeter:
    """`layout` is the buffer's id of what its values are; `truth` judges them.

    `need_ms` is what a reading usually takes, by the meter's plan until it is known.
    """

    meter: Meter
    slots: MeterSlots
    layout: int
    progress: MeterProgress
    truth: MeterTruth | None = None
    serial_number: SerialNumber | None = None
    backoff: MeterBackoff = field(init=False)
    asked_ms: int = 0
    need_ms: int = field(init=False)

    def __post_init__(self) -> None:
        self.backoff = MeterBackoff(self.slots.interval_ms)
        self.need_ms = getattr(self.meter, "typical_ms", 0)  # a meter that sends by itself has no plan

"""Check the plausibility of readings in commands, as the daemon does with `agent.core.truth.plausibility`."""

from __future__ import annotations

from msgspec.structs import replace

from agent.core.truth.plausibility import MeterTruth
from agent.services.metering.origins import DriverOrigins
from agent.services.metering.ratings import ratings
from drivers.building import BuiltMeter
from drivers.meter import Sample


class Judges:
    """One check per meter. Kept between readings it finds counters that go back; the first reading shows less."""

    def __init__(self) -> None:
        self._truths: dict[int, MeterTruth] = {}

    def judged(self, meter: BuiltMeter, now_ms: int, sample: Sample) -> Sample:
        """The sample with its flags."""
        flags, _events = self._truth(meter).judge(now_ms, sample)
        return replace(sample, flags=flags)

    def _truth(self, meter: BuiltMeter) -> MeterTruth:
        if id(meter) not in self._truths:
            # The ratios in effect: 1 if the meter applies them itself.
            rated = ratings(meter.profile, getattr(meter, "ct_ratio", 1), getattr(meter, "vt_ratio", 1))
            self._truths[id(meter)] = MeterTruth(meter.name, meter.columns, rated, DriverOrigins(meter))
        return self._truths[id(meter)]

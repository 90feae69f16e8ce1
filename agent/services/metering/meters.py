"""From the configuration to lines and meters: which driver reads what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.core.metering.descriptor import descriptor_ref
from agent.core.records import Layout
from agent.core.truth.bounds import Ratings
from agent.core.truth.plausibility_events import Origins
from agent.services.metering.origins import DriverOrigins
from agent.services.metering.ratings import ratings
from agent.settings import BusSettings, MeterSettings, Settings
from drivers.building import BuiltMeter, Line, build_line, build_meter
from drivers.profile.files import find_profile
from drivers.profile.model import Profile

COUNTER_TERMS = ("model", "bus", "unit", "ct_ratio", "ct_applied_by", "vt_ratio", "vt_applied_by")


@dataclass(slots=True)
class ConfiguredMeter:
    """A meter ready to be read, with what its values mean. `serial_number` is what it last said."""

    settings: MeterSettings
    driver: BuiltMeter
    terms: Mapping[str, Any]
    ratings: Ratings
    origins: Origins
    serial_number: str | None = None

    @property
    def descriptor(self) -> Mapping[str, Any]:
        return {**self.terms, "serial_number": self.serial_number}

    @property
    def counter_terms(self) -> str:
        """What its counters depend on: with other ones, they are not comparable."""
        return " ".join(f"{key}={self.terms[key]}" for key in COUNTER_TERMS)

    @property
    def layout(self) -> Layout:
        return Layout(self.settings.name, self.driver.columns, descriptor_ref(self.descriptor))


@dataclass(frozen=True, slots=True)
class ConfiguredLine:
    """One line with its meters."""

    line: Line
    meters: Sequence[ConfiguredMeter]


def build_lines(settings: Settings) -> list[ConfiguredLine]:
    """Every bus that has meters. Port settings that the bus leaves open are those of its first meter's profile."""
    return [_line(bus, settings) for bus in settings.buses if any(m.bus == bus.name for m in settings.meters)]


def _line(bus: BusSettings, settings: Settings) -> ConfiguredLine:
    meters = [meter for meter in settings.meters if meter.bus == bus.name]
    profiles = [find_profile(meter.model, settings.profile_folders) for meter in meters]
    line = build_line(profiles[0], bus.name, bus.port, bus.baudrate, bus.parity, bus.stopbits, bus.rs485)
    return ConfiguredLine(line, [_meter(line, *pair, settings) for pair in zip(meters, profiles, strict=True)])


def _meter(line: Line, meter: MeterSettings, profile: Profile, settings: Settings) -> ConfiguredMeter:
    driver = build_meter(line, meter.unit, profile, meter.name, meter.measurands, meter.ct_ratio, meter.vt_ratio)
    terms = {
        "model": profile.model,
        "profile": profile.digest,
        "unit": meter.unit,
        "bus": meter.bus,
        "point": meter.point,
        "ct_ratio": meter.ct_ratio,
        "ct_applied_by": profile.ct,
        "vt_ratio": meter.vt_ratio,
        "vt_applied_by": profile.vt,
        "config_rev": settings.revision,
    }
    found = ratings(profile, meter.ct_ratio, meter.vt_ratio)
    return ConfiguredMeter(meter, driver, terms, found, DriverOrigins(driver))

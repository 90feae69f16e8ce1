"""Where a value comes from, by what the driver knows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.services.metering.origins import TEXT_MAX, DriverOrigins
from drivers.meter import Meter, RawBlock, Sample
from drivers.profile.model import Profile, Register
from wire.batch import Column
from wire.resolution import Resolution

STEP = Resolution(1, 0)
VOLTAGE = Register("voltage_l1_n", 4, 2, "uint16", STEP)
FREQUENCY = Register("frequency", 4, 3, "uint16", STEP, relative=True)
WORDS = (RawBlock(4, 0, bytes(range(16))),)


@dataclass
class Driver:
    profile: Profile
    columns: tuple[Column, ...] = (Column("frequency", STEP), Column("voltage_l1_n", STEP))
    name: str = "main"
    line: object = None
    unit: int = 1
    read_max_ms: int = 5_000

    read = Meter.read
    identify = Meter.identify


class Talker(Driver):
    """A meter with telegrams."""

    said = ("1-0:32.7.0", "230*V")

    def origin(self, measurand: str) -> tuple[str, str]:
        return self.said if measurand == "voltage_l1_n" else ("", "")


def profile(*registers: Register) -> Profile:
    return Profile("acme", "Acme", "one", registers, tuple(each.measurand for each in registers))


def test_registers_are_those_of_the_profile_that_the_driver_has_now() -> None:
    driver = Driver(profile(VOLTAGE, FREQUENCY))
    origins = DriverOrigins(driver)  # type: ignore[arg-type]
    assert (origins.text(0, WORDS), origins.text(1, WORDS)) == (None, "4:2:0405")
    assert (origins.block(0, WORDS), origins.block(1, WORDS)) == (None, WORDS[0])
    driver.profile = profile(VOLTAGE, replace(FREQUENCY, address=7, relative=False))
    assert origins.text(0, WORDS) == "4:7:0e0f"


def test_a_telegram_has_a_code_and_a_text() -> None:
    driver = Talker(profile())
    origins = DriverOrigins(driver)  # type: ignore[arg-type]
    assert origins.text(1, ()) == "1-0:32.7.0 230*V"
    assert (origins.text(0, ()), origins.block(1, ())) == (None, None)
    driver.said = ("0" * 100, "")
    assert origins.text(1, ()) == "0" * TEXT_MAX
    assert Sample((230,)).words == ()

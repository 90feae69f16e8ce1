"""What a driver knows of where its values come from, as `agent.core.truth.plausibility` wants it for its events."""

from __future__ import annotations

from collections.abc import Sequence

from agent.core.truth.plausibility_events import Place, Places
from drivers.building import BuiltMeter, HasOrigin
from drivers.meter import RawBlock
from drivers.profile.model import Profile

TEXT_MAX = 80


class DriverOrigins:
    """Of one meter. A SunSpec meter has its registers once it has found them, so the profile is looked at each time."""

    def __init__(self, driver: BuiltMeter) -> None:
        self._driver = driver
        self._profile: Profile | None = None
        self._places = Places(())

    def block(self, index: int, words: Sequence[RawBlock]) -> RawBlock | None:
        return self._now().block(index, words)

    def text(self, index: int, words: Sequence[RawBlock]) -> str | None:
        """The registers, or the code and the text of a telegram."""
        driver = self._driver
        if isinstance(driver, HasOrigin):
            said = " ".join(driver.origin(driver.columns[index].measurand)).strip()
            return said[:TEXT_MAX] or None
        return self._now().text(index, words)

    def _now(self) -> Places:
        driver = self._driver
        if driver.profile is not self._profile:
            self._profile = driver.profile
            known = {
                register.measurand: Place(register.function_code, register.address, register.count)
                for register in driver.profile.registers
                if not register.relative
            }
            self._places = Places([known.get(column.measurand) for column in driver.columns])
        return self._places

"""A SunSpec meter: finds its model before it reads, and again when it is not there any more; else a `ModbusMeter`.

Each reading begins with the two registers of the model's header, for a device that was exchanged or got other firmware
answers at the old addresses too, with other values.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from drivers.meter import MeterError, Sample
from drivers.modbus.block_plan import Block
from drivers.modbus.line import ModbusLine, ModbusRefusalError
from drivers.modbus.meter import ModbusMeter
from drivers.modbus.sunspec import (
    FoundModel,
    NotFoundError,
    Search,
    common_block,
    is_laid_out_as,
    nameplate,
    placed,
    search,
)
from drivers.profile.files import find_profile
from drivers.profile.model import Profile, SunSpec

ABSENT = (1, 2, 3)  # exceptions with which a device says that there is nothing at an address
SILENT = "silent"


def modbus_meter(
    line: ModbusLine,
    unit: int,
    profile: Profile,
    name: str,
    measurands: Sequence[str] | None = None,
    ct_ratio: float = 1,
    vt_ratio: float = 1,
) -> ModbusMeter:
    """The meter of a profile: at fixed addresses, or found by SunSpec's rule."""
    kind = ModbusMeter if profile.sunspec is None else SunSpecMeter
    return kind(line, unit, profile, name, measurands, ct_ratio, vt_ratio)


class SunSpecMeter(ModbusMeter):
    """Its columns are the profile's, whichever of the profile's models the device turns out to have."""

    def __init__(
        self,
        line: ModbusLine,
        unit: int,
        profile: Profile,
        name: str,
        measurands: Sequence[str] | None = None,
        ct_ratio: float = 1,
        vt_ratio: float = 1,
    ) -> None:
        super().__init__(line, unit, profile, name, measurands, ct_ratio, vt_ratio)
        if profile.sunspec is None:
            raise ValueError(f"{profile.model} is no profile of SunSpec")
        self._spec: SunSpec = profile.sunspec
        self._given = profile, tuple(column.measurand for column in self.columns), ct_ratio, vt_ratio
        self._reader: ModbusMeter | None = None
        self._found: FoundModel | None = None

    @property
    def found(self) -> FoundModel | None:
        """Where the model is, once it has been found."""
        return self._found

    @property
    def blocks(self) -> tuple[Block, ...]:
        return () if self._reader is None else self._reader.blocks

    async def read(self, budget_ms: int) -> Sample:
        """One reading; see `drivers.meter.Meter`."""
        deadline = asyncio.get_running_loop().time() + budget_ms / 1000
        self._set_pace(budget_ms)
        try:
            reader = await self._find(deadline)
        except MeterError as error:
            self._failing = error.reason == SILENT  # the next reading asks once, not twice
            raise
        self._failing = False
        return await reader.read(_left_ms(deadline))

    async def identify(self, budget_ms: int) -> Mapping[str, str]:
        """What the common model before the meter's says: manufacturer, model, version, serial_number."""
        deadline = asyncio.get_running_loop().time() + budget_ms / 1000
        self._pace = 1.0
        await self._find(deadline)
        if self._found is None or self._found.common is None:
            return {}
        async with self.line.claim(deadline):
            data = await self._registers_of(common_block(self._found.common), deadline)
        return {} if data is None else nameplate(data)

    async def _find(self, deadline: float) -> ModbusMeter:
        async with self.line.claim(deadline):
            if self._reader is not None and self._found is not None:
                if self._found.is_at(await self._registers_of(self._found.header, deadline)):
                    return self._reader
                self._reader = None
            found = await self._follow(search(self._spec), deadline)
        profile, measurands, ct_ratio, vt_ratio = self._given
        try:
            layout = profile if is_laid_out_as(profile, found.model) else find_profile(f"sunspec-{found.model}")
            self.profile = placed(profile, layout, found)
        except NotFoundError as error:
            raise self._not_found(error) from error
        self._found = found
        self._reader = ModbusMeter(self.line, self.unit, self.profile, self.name, measurands, ct_ratio, vt_ratio)
        return self._reader

    async def _follow(self, steps: Search, deadline: float) -> FoundModel:
        """Answer a search from the line. Who is silent at one base is asked at another the next time."""
        data: bytes | None = None
        try:
            block = next(steps)
            while True:
                data = await self._registers_of(block, deadline)
                block = steps.send(data)
        except StopIteration as done:
            found: FoundModel = done.value
            return found
        except NotFoundError as error:
            raise self._not_found(error) from error
        except MeterError as error:
            if error.reason == SILENT:
                bases = self._spec.bases
                self._spec = replace(self._spec, bases=(*bases[1:], bases[0]))
            raise

    async def _registers_of(self, block: Block, deadline: float) -> bytes | None:
        """None where the device says that there are none."""
        try:
            return await self._read_block(self._request(block), deadline)
        except ModbusRefusalError as refusal:
            if refusal.code not in ABSENT:
                raise
            return None

    def _not_found(self, error: NotFoundError) -> MeterError:
        step = (
            "check the unit number, that SunSpec is switched on in the device, and that the configured model is right"
        )
        subject = f"the SunSpec model of meter {self.name} (unit {self.unit} on {self.line.name})"
        return MeterError("exception", operation="find", subject=subject, cause=str(error), next_step=step)


def _left_ms(deadline: float) -> int:
    return max(int((deadline - asyncio.get_running_loop().time()) * 1000), 1)

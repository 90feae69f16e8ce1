"""A meter on a Modbus line: its profile's blocks read within a budget, decoded into a `Sample`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.stop import stop_base

from drivers.decode import Decoder
from drivers.meter import MeterError, RawBlock, Sample
from drivers.modbus import ModbusLine, ModbusRefusalError, Request
from drivers.nameplate import nameplate_text
from drivers.plan import Block, WireCost, plan_reads
from drivers.profile_model import ADDRESS_MAX, REGISTERS_MAX, Limits, Profile
from wire.batch import Column

READ_MAX_MS = 5000
RETRIES = 1
RETRIED = ("silent", "garbage", "line_lost")
NOT_READY = (5, 6)
REFUSED_BLOCK = (2, 3)
NOT_THERE = (1, 2, 3)
APART = 4  # shorter blocks, and longer ones, that tell answers apart by their length


class ModbusMeter:
    """`measurands` None means the profile's default set. `ct_ratio` counts where the profile leaves it to the box."""

    def __init__(
        self,
        line: ModbusLine,
        unit: int,
        profile: Profile,
        name: str,
        measurands: Sequence[str] | None = None,
        ct_ratio: float = 1,
    ) -> None:
        self.line = line
        self.unit = unit
        self.profile = profile
        self._name = name
        self._subject = f"meter {name} (unit {unit} on {line.name})"
        self._registers = profile.select(None if measurands is None else tuple(measurands))
        self._columns = tuple(Column(register.measurand, register.resolution) for register in self._registers)
        self.ct_ratio = ct_ratio if profile.ct == "box" else 1
        self._plan(profile.limits)

    @property
    def name(self) -> str:
        return self._name

    @property
    def columns(self) -> tuple[Column, ...]:
        return self._columns

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The requests of one reading."""
        return self._blocks

    @property
    def read_max_ms(self) -> int:
        return READ_MAX_MS

    def _plan(self, limits: Limits) -> None:
        timing, cost = self.profile.timing, self.line.cost
        meter_ms = timing.answer_typical_ms + timing.quiet_ms
        self._limits = limits
        self._blocks = plan_reads(self._registers, limits, WireCost(cost.character_ms, cost.silence_ms, meter_ms))
        self._decoder = Decoder(self._registers, self._blocks, self.ct_ratio)
        self._requests = [self._request(block) for block in self._blocks]

    def _request(self, block: Block) -> Request:
        timing, wire_ms = self.profile.timing, self.line.cost.block_ms(block.count)
        return Request(
            self.unit,
            block,
            typical_s=(timing.answer_typical_ms + wire_ms) / 1000,
            timeout_s=(timing.answer_timeout_ms + wire_ms) / 1000,
            quiet_s=timing.quiet_ms / 1000,
            subject=self._subject,
            apart=self._apart(block),
        )

    def _apart(self, block: Block) -> tuple[Block, ...]:
        """Blocks of other lengths that the meter answers: without its last values, or longer, which may be refused."""
        ends = sorted({each.end for each in self._registers if block.holds(each)}, reverse=True)[1:]
        grain = 2 if self._limits.even else 1
        shorter = [end - block.address for end in ends[:APART]]
        longer = [block.count + grain * more for more in range(1, APART + 1)]
        blocks = [Block(block.function_code, block.address, count + count % grain) for count in shorter + longer]
        return tuple(each for each in blocks if each.count != block.count and self._touches_nothing_forbidden(each))

    def _touches_nothing_forbidden(self, block: Block) -> bool:
        forbidden = any(block.address <= last and first < block.end for first, last in self._limits.forbidden)
        return not forbidden and block.count <= REGISTERS_MAX and block.end <= ADDRESS_MAX + 1

    async def identify(self, budget_ms: int) -> Mapping[str, str]:
        """The serial number, where the profile knows its registers and the meter has them."""
        register = self.profile.identity.serial_number
        if register is None:
            return {}
        request = self._request(Block(register.function_code, register.address, register.count))
        deadline = asyncio.get_running_loop().time() + budget_ms / 1000
        async with self.line.claim(deadline):
            try:
                data = await self._read_block(request, deadline)
            except ModbusRefusalError as refusal:
                if refusal.code not in NOT_THERE:
                    raise
                return {}
        text = nameplate_text(register.type, register.word_order, data)
        return {"serial_number": text} if text else {}

    async def read(self, budget_ms: int) -> Sample:
        """One reading; see `drivers.meter.Meter`."""
        deadline = asyncio.get_running_loop().time() + budget_ms / 1000
        async with self.line.claim(deadline):
            try:
                answers = await self._read_blocks(deadline)
            except ModbusRefusalError as refusal:
                tighter = self.profile.fallback
                if refusal.code not in REFUSED_BLOCK or tighter is None or self._limits == tighter:
                    raise
                self._plan(tighter)
                answers = await self._read_blocks(deadline)
        values, flags = self._decoder(answers)
        words = tuple(
            RawBlock(block.function_code, block.address, answer)
            for block, answer in zip(self._blocks, answers, strict=True)
        )
        return Sample(values, flags, words)

    async def _read_blocks(self, deadline: float) -> list[bytes]:
        return [await self._read_block(request, deadline) for request in self._requests]

    async def _read_block(self, request: Request, deadline: float) -> bytes:
        """Ask, and ask again after noise or silence while there is time; retrying costs CPU only when it happens."""
        loop = asyncio.get_running_loop()
        latest = deadline - request.typical_s
        try:
            return await self.line.ask(request, deadline)
        except MeterError as error:
            first = error
            if not _worth_retrying(error) or loop.time() > latest:
                raise
        again = AsyncRetrying(
            retry=retry_if_exception(_worth_retrying),
            stop=stop_after_attempt(RETRIES) | _StopAt(latest),
            reraise=True,
        )
        try:
            return await again(self.line.ask, request, deadline, again=True)
        except TimeoutError:
            raise first from None  # there was no time to ask again: what happened is the first error


class _StopAt(stop_base):
    """No further attempt after `latest` (loop time)."""

    def __init__(self, latest: float) -> None:
        self._latest = latest

    def __call__(self, retry_state: RetryCallState) -> bool:  # noqa: ARG002 - tenacity's signature
        return asyncio.get_running_loop().time() > self._latest


def _worth_retrying(error: BaseException) -> bool:
    """Noise, silence, a lost line and a meter that is busy may be over; a refusal or a missing port is not."""
    if isinstance(error, ModbusRefusalError):
        return error.code in NOT_READY
    return isinstance(error, MeterError) and error.reason in RETRIED

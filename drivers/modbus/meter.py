"""A meter on a Modbus line: its profile's blocks read within a budget, decoded into a `Sample`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.stop import stop_base

from drivers.meter import MeterError, Notice, RawBlock, Sample
from drivers.modbus.block_plan import Block, WireCost
from drivers.modbus.decode import NOT_AVAILABLE, Decoder
from drivers.modbus.line import EXCEPTIONS, ModbusLine, ModbusRefusalError, Request
from drivers.modbus.nameplate import nameplate_text
from drivers.modbus.read_plan import RETRY_FIRST_S, RETRY_GROWTH, RETRY_MAX_S, LeftOut, ReadPlan
from drivers.profile.model import Profile, Register
from wire.batch import Column

READ_MAX_MS = 5000
RETRIES = 1
RETRIED = ("silent", "garbage", "line_lost")
NOT_READY = (5, 6)
REFUSED_BLOCK = (2, 3)
NOT_THERE = (1, 2, 3)
MUTE_MAX = 3  # readings in which a block alone brought no answer, after which it counts as refused
BUDGETS_TYPICAL = 2  # of a budget below so many times what is typical, each request needs no more than its share
EARLY_S = 0.005  # a time-out that ends this much before the deadline was not cut short by it


class ModbusMeter:
    """`measurands` None means the profile's default set. Ratios count where the profile leaves them to the box."""

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
        self.line = line
        self.unit = unit
        self.profile = profile
        self._name = name
        self._subject = f"meter {name} (unit {unit} on {line.name})"
        self._registers = profile.select(None if measurands is None else tuple(measurands))
        self._columns = tuple(Column(register.measurand, register.resolution) for register in self._registers)
        self.ct_ratio = ct_ratio if profile.ct == "box" else 1
        self.vt_ratio = vt_ratio if profile.vt == "box" else 1
        self._failing = False
        self._pace = 1.0
        self._mute: dict[Block, int] = {}
        self._join_at, self._join_pause_s = inf, RETRY_FIRST_S
        self._notices: list[Notice] = []
        self._plan_for(self._registers)

    @property
    def name(self) -> str:
        return self._name

    @property
    def columns(self) -> tuple[Column, ...]:
        return self._columns

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The requests of one reading."""
        return self._plan.blocks

    @property
    def read_max_ms(self) -> int:
        return READ_MAX_MS

    @property
    def typical_ms(self) -> int:
        """What a reading takes of the line's time, by its plan."""
        return round(self._typical_s * 1000)

    def _plan_for(self, registers: Sequence[Register]) -> None:
        """Plan anew for these registers, in the order of the columns."""
        timing, cost = self.profile.timing, self.line.cost
        wire = WireCost(cost.character_ms, cost.silence_ms, timing.answer_typical_ms + timing.quiet_ms)
        self._plan = ReadPlan(registers, self.profile.limits, self.profile.fallback, wire)
        self._prepare()

    def _prepare(self) -> None:
        """After each change of the plan."""
        plan = self._plan
        self._decoder = Decoder(plan.read, plan.blocks, self.ct_ratio, self.vt_ratio)
        self._requests = [self._request(block, plan.apart(block)) for block in plan.blocks]
        self._typical_s = sum(request.typical_s for request in self._requests)
        places = {register: place for place, register in enumerate(plan.read)}
        self._places = [places.get(each) for each in plan.registers] if plan.left_out else None
        self._first = self._at = 0

    def _request(self, block: Block, apart: tuple[Block, ...] = ()) -> Request:
        timing, wire_ms = self.profile.timing, self.line.cost.block_ms(block.count)
        return Request(
            self.unit,
            block,
            typical_s=(timing.answer_typical_ms + wire_ms) / 1000,
            timeout_s=(timing.answer_timeout_ms + wire_ms) / 1000,
            quiet_s=timing.quiet_ms / 1000,
            subject=self._subject,
            apart=apart,
        )

    async def identify(self, budget_ms: int) -> Mapping[str, str]:
        """The serial number, where the profile knows its registers and the meter has them."""
        register = self.profile.identity.serial_number
        if register is None:
            return {}
        request = self._request(Block(register.function_code, register.address, register.count))
        deadline = asyncio.get_running_loop().time() + budget_ms / 1000
        self._pace = 1.0
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
        loop = asyncio.get_running_loop()
        started = loop.time()
        deadline = started + budget_ms / 1000
        self._set_pace(budget_ms)
        async with self.line.claim(deadline):
            while True:
                try:
                    answers = await self._read_blocks(deadline)
                    break
                except MeterError as error:
                    if isinstance(error, ModbusRefusalError) and await self._learn(error, deadline):
                        continue
                    self._failing = error.reason == "silent"
                    if self._failing and loop.time() < deadline - EARLY_S:
                        self._is_mute(started)
                    raise
            sample = self._sample(answers)
            if self._plan.left_out and (due := self._plan.due(loop.time())) is not None:
                await self._ask_again(due, deadline)
            elif loop.time() >= self._join_at:
                await self._join(deadline)
        return sample

    def _set_pace(self, budget_ms: int) -> None:
        """What is typical is the profile's word, and a budget may come of what the meter takes: it must be tried."""
        needed_s, budget_s = BUDGETS_TYPICAL * self._typical_s, budget_ms / 1000
        self._pace = 1.0 if budget_s >= needed_s else budget_s / needed_s

    async def _read_blocks(self, deadline: float) -> list[bytes]:
        """The answers in the order of the blocks, beginning with the one after that which failed last."""
        plan, requests = self._plan, self._requests
        answers = [b""] * len(requests)
        for step in range(len(requests)):
            self._at = at = (self._first + step) % len(requests)
            answers[at] = await self._read_block(requests[at], deadline)
            if plan.is_hunting or plan.hopeless:
                plan.answered()
        self._failing, self._first = False, 0
        if self._mute:
            self._mute.clear()
        if plan.is_hunting:
            plan.settled()
        return answers

    def _sample(self, answers: list[bytes]) -> Sample:
        values, flags = self._decoder(answers)
        words = tuple(
            RawBlock(block.function_code, block.address, answer)
            for block, answer in zip(self._plan.blocks, answers, strict=True)
        )
        if self._places is not None:
            flags = flags or (0,) * len(values)
            flags = tuple(NOT_AVAILABLE if place is None else flags[place] for place in self._places)
            values = tuple(None if place is None else values[place] for place in self._places)
        if not self._notices:
            return Sample(values, flags, words)
        notices, self._notices = tuple(self._notices), []
        return Sample(values, flags, words, notices=notices)

    async def _learn(self, refusal: ModbusRefusalError, deadline: float) -> bool:
        """Change the plan after a refusal that is certain; whether there is something to read and time for it."""
        request = self._requests[self._at]
        if refusal.code not in REFUSED_BLOCK or self._plan.is_hopeless(asyncio.get_running_loop().time()):
            return False
        try:
            await self.line.ask(request, deadline)
        except ModbusRefusalError as again:
            if again.code not in REFUSED_BLOCK:
                return False
            self._give_way(request.block, again.code)
        has_time = asyncio.get_running_loop().time() + self.typical_ms / 1000 < deadline
        return has_time and not self._plan.hopeless

    def _give_way(self, block: Block, code: int) -> None:
        """The meter does not answer `block`: split it, or leave out its value."""
        plan, at = self._plan, self._at
        before = plan.blocks
        left_out = plan.refused(block, code, asyncio.get_running_loop().time())
        self._prepare()
        if plan.blocks == before:
            self._first = (at + 1) % len(before)  # first see whether it answers anything else
        if left_out is not None:
            cause = f"exception {code}, {EXCEPTIONS[code]}" if code else "no answer"
            self._note(
                "register_refused", left_out, f"is refused ({cause}) and left out; it is asked for again now and then"
            )

    def _note(self, kind: str, left_out: LeftOut, text: str) -> None:
        register = left_out.register
        place = {"function_code": register.function_code, "address": register.address}
        data = {"measurand": register.measurand, **place, "code": left_out.code}
        name = f"{register.measurand} (register {register.address}, function {register.function_code})"
        self._notices.append(Notice(kind, data, f"{name} {text}"))

    def _is_mute(self, started: float) -> None:
        """A block brought no answer: if the meter answers others, it is this block, else begin with the others next."""
        block = self._requests[self._at].block
        self._first = (self._at + 1) % len(self._requests)
        if self.line.heard_at < started:
            return
        self._mute[block] = self._mute.get(block, 0) + 1
        if self._mute[block] >= MUTE_MAX and not self._plan.hopeless:
            self._mute.clear()
            self._plan.answered()
            self._give_way(block, 0)
            self._join_at = asyncio.get_running_loop().time() + self._join_pause_s

    async def _ask_again(self, left_out: LeftOut, deadline: float) -> None:
        """Whether the meter answers by now what it refused."""
        requests = [self._request(block) for block in self._plan.alone(left_out.register)]
        loop = asyncio.get_running_loop()
        if loop.time() + sum(request.typical_s for request in requests) > deadline:
            return
        try:
            for request in requests:
                await self.line.ask(request, deadline)
        except MeterError:
            self._plan.still_refused(left_out, loop.time())
            return
        self._plan.taken_back(left_out)
        self._prepare()
        self._note("register_back", left_out, "is answered again")

    def _hurried(self, request: Request) -> Request:
        cost = self.line.cost
        wire_s = (cost.block_ms(request.block.count) - 2 * cost.silence_ms) / 1000  # no answer is there before
        return replace(request, typical_s=max(self._pace * request.typical_s, wire_s))

    async def _join(self, deadline: float) -> None:
        """Whether the meter answers by now what was cut apart because it did not."""
        loop, requests = asyncio.get_running_loop(), [self._request(block) for block in self._plan.doubted()]
        if self._plan.is_hunting or loop.time() + sum(request.typical_s for request in requests) > deadline:
            return
        try:
            for request in requests:
                await self.line.ask(request, deadline)
        except MeterError:
            self._join_pause_s = min(self._join_pause_s * RETRY_GROWTH, RETRY_MAX_S)
            self._join_at = loop.time() + self._join_pause_s
            return
        self._join_at, self._join_pause_s = inf, RETRY_FIRST_S
        if requests:
            self._plan.joined()
            self._prepare()

    async def _read_block(self, request: Request, deadline: float) -> bytes:
        """Ask, and ask again after noise or silence while there is time; retrying costs CPU only when it happens."""
        loop = asyncio.get_running_loop()
        latest = deadline - request.typical_s
        try:
            return await self.line.ask(request if self._pace == 1 else self._hurried(request), deadline)
        except MeterError as error:
            first = error
            if not _worth_retrying(error) or loop.time() > latest or (self._failing and error.reason == "silent"):
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
    """Noise, silence, a lost line and a meter that is busy may be over; a refusal or a missing port is not.

    What an answer means counts, and not how it came: a gateway that reports a silent meter is silence, too.
    """
    if isinstance(error, ModbusRefusalError) and error.code in NOT_READY:
        return True
    return isinstance(error, MeterError) and error.reason in RETRIED

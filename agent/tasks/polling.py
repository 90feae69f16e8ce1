"""Reads the meters of one line, each in its slots, and accounts for every slot that brought no reading."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.adapters.system.clock import Clock
from agent.adapters.system.logs import Changes
from agent.core.metering.lease import Lease
from agent.core.metering.sharing import READ_MIN_MS, budget_ms, learnt_ms, turn
from agent.core.records import NewEvent, NewReading
from agent.core.system.watchdog import Watchdog
from agent.core.truth.plausibility_events import sentences
from agent.services.buffer.journal import Journal
from agent.services.metering.polled_meter import PolledMeter
from agent.tasks.lending import Loan
from drivers.meter import MeterError, Sample

log = logging.getLogger(__name__)

SLACK_MS = 120_000
NAP_MS = 60_000
_DIGITS = re.compile(r"\d+")
PENDING = "pending"
LINE_REASONS = frozenset({"line_missing", "line_busy", "line_lost", "lent"})  # no meter's fault: each slot tries again


@dataclass(slots=True)
class LinePoller:
    """One loop per line. Its meters are read one after another; `core.metering.sharing` says whose turn it is."""

    line: str
    meters: Sequence[PolledMeter]
    journal: Journal
    clock: Clock
    watchdog: Watchdog
    loan: Loan | None = None
    _changes: Changes = field(default_factory=lambda: Changes(log))

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            if self.loan is not None and self.loan.lease is not None:
                await self._lend(self.loan)
            now_ms = self.clock.mono_ms()
            polled = self._next(now_ms)
            wait_ms = min(polled.slots.next_ms - now_ms, NAP_MS)
            self.watchdog.beat(f"line {self.line}", now_ms + max(wait_ms, 0) + SLACK_MS)
            if wait_ms > 0:
                if not await self._ask_who(now_ms, wait_ms):
                    await (asyncio if self.loan is None else self.loan).sleep(wait_ms / 1000)
            elif polled.backoff.resting(now_ms):
                self._rest(polled, now_ms)
            else:
                await self._poll(polled, now_ms)

    def _next(self, now_ms: int) -> PolledMeter:
        return min(self.meters, key=lambda m: turn(m, now_ms)) if len(self.meters) > 1 else self.meters[0]

    async def _lend(self, loan: Loan) -> None:
        """Leave the line to another program until it is back; slots that begin meanwhile are explained."""
        async with loan.away():
            while (lease := loan.lease) is not None:
                polled = min(self.meters, key=lambda m: m.slots.next_ms)
                now_ms = self.clock.mono_ms()
                wait_ms = min(polled.slots.next_ms, lease.until_ms) - now_ms
                self.watchdog.beat(f"line {self.line}", now_ms + max(wait_ms, 0) + SLACK_MS)
                if polled.slots.next_ms <= now_ms:
                    self._leave_out(polled, now_ms, lease)
                else:
                    await loan.sleep(max(wait_ms, READ_MIN_MS) / 1000)
            for polled in self.meters:
                if polled.progress.state == "lent":
                    polled.progress.state, polled.progress.error = "line returned", None

    def _leave_out(self, polled: PolledMeter, now_ms: int, lease: Lease) -> None:
        start_ms, late = polled.slots.take(now_ms)
        self.journal.add(late + polled.slots.explain("lent", start_ms))
        progress = polled.progress
        progress.slots_missed += 1
        progress.state = "lent"
        left_s = max(lease.until_ms - now_ms, 0) // 1000
        progress.error = f"its line {self.line} is lent to process {lease.pid}, for {left_s} s at most; nothing to do"

    def _rest(self, polled: PolledMeter, now_ms: int) -> None:
        start_ms, late = polled.slots.take(now_ms)
        self.journal.add(late + polled.slots.explain(polled.backoff.reason, start_ms))
        polled.progress.slots_missed += 1

    async def _poll(self, polled: PolledMeter, now_ms: int) -> None:
        start_ms, late = polled.slots.take(now_ms)
        if late:
            self.journal.add(late)
        polled.asked_ms = now_ms
        try:
            sample = await polled.meter.read(self._budget_ms(polled, now_ms))
        except MeterError as error:
            self._failed(polled, start_ms, error)
        except asyncio.CancelledError:
            self.journal.add(polled.slots.explain("not_running", start_ms))
            raise
        else:
            if polled.need_ms:  # else it is a telegram that was waited for, which costs the line nothing
                polled.need_ms = learnt_ms(polled.need_ms, self.clock.mono_ms() - now_ms)
            number = polled.serial_number
            try:
                # Before its values are judged, where there is time: it may be another meter.
                if number is not None and number.answered(now_ms):
                    await number.ask(now_ms, min(each.slots.next_ms for each in self.meters) - self.clock.mono_ms())
            finally:
                self._answered(polled, start_ms, now_ms, sample)

    async def _ask_who(self, now_ms: int, slack_ms: int) -> bool:
        """Let a meter say which one it is while the line has nothing to do; False where nobody is to be asked."""
        for polled in self.meters:
            number = polled.serial_number
            if number is not None and not polled.backoff.failures and number.is_due(now_ms):
                return await number.ask(now_ms, slack_ms)
        return False

    def _budget_ms(self, polled: PolledMeter, now_ms: int) -> int:
        """A read that starts late in its slot is not cut short for it, but must leave the others their time."""
        others = [other for other in self.meters if other is not polled]
        return budget_ms(polled, others, now_ms, polled.meter.read_max_ms)

    def _answered(self, polled: PolledMeter, start_ms: int, asked_ms: int, sample: Sample) -> None:
        read_ms = asked_ms if sample.taken_s is None else self._arrived_ms(sample.taken_s)
        silent_ms = polled.backoff.answered(read_ms)
        if silent_ms is not None:
            self.journal.add([NewEvent(read_ms, "meter_back", polled.meter.name, {"silent_ms": silent_ms})])
        ended = polled.slots.read()
        flags, events = (sample.flags, ()) if polled.truth is None else polled.truth.judge(read_ms, sample)
        reading = NewReading(polled.layout, read_ms, sample.values, flags, start_ms)
        self.journal.add([*ended, reading, *events])
        self._changes.say(f"line {self.line}", "works", logging.DEBUG)
        self._changes.say(f"meter {polled.meter.name}", "answers")
        for notice in sample.notices:
            self.journal.add([NewEvent(read_ms, notice.kind, polled.meter.name, notice.data)])
            log.warning("meter %s: %s", polled.meter.name, notice.text)
        for event, text in sentences(events):
            level = logging.INFO if event.kind == "plausible" else logging.WARNING
            log.log(level, "meter %s: %s", polled.meter.name, text)
        progress = polled.progress
        progress.readings += 1
        progress.last_ms, progress.state, progress.error = read_ms, "ok", None
        progress.last_sample = sample
        progress.judged(flags, events)

    def _arrived_ms(self, taken_s: float) -> int:
        """The boot clock's time of a moment of the event loop's, which need not be the same clock; never ahead."""
        now_ms = self.clock.mono_ms()
        return now_ms - max(round((asyncio.get_running_loop().time() - taken_s) * 1000), 0)

    def _failed(self, polled: PolledMeter, start_ms: int, error: MeterError) -> None:
        now_ms = self.clock.mono_ms()
        self.journal.add(polled.slots.explain(error.reason, start_ms))
        polled.progress.slots_missed += 1
        if error.reason == PENDING:  # it works; one sentence on its interval is enough
            self._changes.say(f"interval of {polled.meter.name}", str(error), logging.WARNING, key=PENDING)
            return
        polled.progress.state, polled.progress.error = error.reason, str(error)
        if error.reason in LINE_REASONS:
            # What differs only in how long was waited, or in a process id, is no other state.
            key = f"{error.reason} {_DIGITS.sub('', error.cause)}"
            self._changes.say(f"line {self.line}", str(error), logging.WARNING, key=key)
            self._changes.say(f"meter {polled.meter.name}", f"not read: {error.reason}", logging.DEBUG)
            return
        self._changes.say(f"line {self.line}", "works", logging.DEBUG)
        if polled.backoff.failed(now_ms, error.reason):
            self._changes.say(f"meter {polled.meter.name}", str(error), logging.WARNING)
            self.journal.add([NewEvent(now_ms, "meter_silent", polled.meter.name, {"reason": error.reason})])

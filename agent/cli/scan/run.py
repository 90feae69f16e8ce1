"""Run a scan: several lines at the same time, each by its plan; a meter that answers is identified at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from agent.adapters.system.lending_fifo import Lender, LendError, find_lender
from agent.cli.scan.listen import recognise, setting_of, talkers
from agent.cli.shared.borrow import BORROW_S
from agent.core.metering.scan_plan import ScanStep, Setting, again, expected_ms, narrowed, promoted
from drivers.meter import MeterError
from drivers.modbus.identify import Identified, identify
from drivers.modbus.probe import Heard, SerialProbe, TcpProbe
from drivers.profile.model import Profile

PRESENCE = b"\x03\x00\x00\x00\x02"  # every meter knows function 3; a refusal is as good as registers
IDENTIFY_WAIT_MS = 600
TRIES_IN_NOISE = 4  # of a meter that is there; two where nothing at all is heard
AGAIN_MAX = 3  # second passes at one setting: a device that never stops sending must not hold up the scan
GATEWAY_SILENT = (10, 11)
REFUSED = 0x80
LEASE_S = 100.0  # the daemon takes its line back after 120 s
PAUSE_MIN_S, PAUSE_MAX_S = 5.0, 65.0  # between two leases the daemon has the line for one interval
CANARIES = (231, 142)  # a device that answers to these, too, answers to any unit id
ODDITIES_MAX = 3
CHECK_GATEWAY = (
    "check that the gateway speaks Modbus TCP by the standard: its mode (not RTU over TCP), and its firmware"
)
LISTEN_S = 0.5
LISTEN_LAST_S = 11.0  # the slowest meters that send unasked do so every 10 s


@dataclass(frozen=True, slots=True)
class FoundMeter:
    """A meter: where it is, and what it is. `setting` None is Modbus TCP."""

    port: str
    setting: Setting | None
    unit: int
    identified: Identified
    any_unit: bool = False
    sends: bool = False  # unasked


class ScanReport(Protocol):
    """Shows the progress of a line."""

    def planned(self, port: str, left_ms: float) -> None: ...
    def advanced(self, port: str, step: ScanStep, unit: int, left_ms: float) -> None: ...
    def found(self, found: FoundMeter) -> None: ...
    def said(self, port: str, text: str) -> None: ...


@dataclass(slots=True)
class ScannedLine:
    """A port to scan, and how. `steps` are those that are left."""

    port: str
    steps: Sequence[ScanStep]
    whole: bool = False  # go on at other settings after a meter answered
    listen_first_s: float = 0
    listen_last_s: float = 0  # if no meter answered
    found: list[FoundMeter] = field(default_factory=list)
    error: MeterError | None = None


class LineScan:
    """Scans one line. The meters are in `line.found`, also if the scan is interrupted."""

    def __init__(self, line: ScannedLine, profiles: Sequence[Profile], report: ScanReport, status_path: Path) -> None:
        self._line = line
        self._profiles = profiles
        self._report = report
        self._status_path = status_path
        self._probe: SerialProbe | TcpProbe | None = None
        self._setting: Setting | None = None
        self._lender: Lender | None = None
        self._lent_s = 0.0
        self._again: dict[Setting | None, int] = {}
        self._opened: set[Setting | None] = set()
        self._first = next((step.setting for step in line.steps), None)
        self._recognised = False
        self._oddities = 0

    async def run(self) -> None:
        """Take all steps; an error that stops the scan goes to `line.error`."""
        try:
            await self._borrow()
            async with self._closing():
                await self._listen(self._line.listen_first_s)
                while self._line.steps:
                    step, *self._line.steps = self._line.steps
                    try:
                        await self._step(step)
                    except MeterError as error:
                        self._cannot(step, error)
                if not self._line.found:
                    await self._listen(self._line.listen_last_s)
        except MeterError as error:
            self._line.error = error
        except LendError as error:
            self._line.error = _refused(self._line.port, error)

    def _cannot(self, step: ScanStep, error: MeterError) -> None:
        """Skip a setting that the port refuses, if others work; any other error ends the line."""
        known = {setting for setting in self._opened if setting != step.setting}
        if step.setting is None or not known or error.reason != "line_missing" or not Path(self._line.port).exists():
            raise error
        self._report.said(self._line.port, f"skipped {step.setting}: {error.cause}")
        self._line.steps = [each for each in self._line.steps if each.setting != step.setting]

    @asynccontextmanager
    async def _closing(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self._close()
            if self._lender is not None:
                self._lender.give_back()

    def _close(self) -> None:
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    async def _borrow(self) -> None:
        """Borrow the line from the daemon, if the daemon has it."""
        self._lender = await asyncio.to_thread(find_lender, self._status_path, self._line.port)
        if self._lender is not None:
            await asyncio.to_thread(self._lender.borrow, BORROW_S)
            self._lent_s = asyncio.get_running_loop().time()
            text = f"the daemon (pid {self._lender.pid}) lends line {self._lender.line} and reads on afterwards"
            self._report.said(self._line.port, text)

    async def _ready(self, setting: Setting | None) -> SerialProbe | TcpProbe:
        """The open port at `setting`. A borrowed line is given back for a while before its lease ends."""
        loop = asyncio.get_running_loop()
        if self._lender is not None and loop.time() - self._lent_s > LEASE_S:
            self._close()
            self._lender.give_back()
            pause_s = min(max(self._lender.interval_s + 2, PAUSE_MIN_S), PAUSE_MAX_S)
            self._report.said(
                self._line.port, f"the daemon reads its meters for {pause_s:.0f} s, then the scan goes on"
            )
            await asyncio.sleep(pause_s)
            await asyncio.to_thread(self._lender.borrow, BORROW_S)
            self._lent_s = loop.time()
        if self._probe is None or setting != self._setting:
            self._close()
            self._probe = self._made(setting)
            await self._probe.open()
            self._setting = setting
            self._opened.add(setting)
        return self._probe

    def _made(self, setting: Setting | None) -> SerialProbe | TcpProbe:
        if setting is None:
            return TcpProbe(self._line.port)
        return SerialProbe(self._line.port, setting.baudrate, setting.parity, setting.stopbits)

    async def _listen(self, seconds: float) -> None:
        """Listen for a meter that sends unasked, and recognise it."""
        if self._first is None or not seconds or self._recognised:
            return
        probe = await self._ready(self._first)
        heard = await probe.listen(seconds)
        if heard:
            text = f"a device on this line sends unasked ({len(heard)} bytes in {seconds:g} s)"
            self._report.said(self._line.port, text)
            await self._recognise()

    async def _recognise(self) -> None:
        """Try the settings of meters that send unasked, once."""
        self._recognised = True
        self._close()
        groups = talkers(self._profiles)
        for briefly, group in [(True, group) for group in groups] + [(False, group) for group in groups]:
            setting = setting_of(group[0])
            self._report.said(self._line.port, f"listening for {group[0].protocol} ({setting})")
            identified = await self._recognised_as(group, briefly=briefly)
            if identified is not None:
                found = FoundMeter(self._line.port, setting, group[0].serial.unit, identified, sends=True)
                self._line.found.append(found)
                self._report.found(found)
                if not self._line.whole:
                    self._line.steps = ()
                return

    async def _recognised_as(self, group: Sequence[Profile], *, briefly: bool) -> Identified | None:
        try:
            return await recognise(self._line.port, group, briefly=briefly)
        except MeterError:
            # A pseudo-terminal refuses to change the parity alone; any other error is raised again here.
            probe = SerialProbe(self._line.port, 300, "N", 1)
            await probe.open()
            probe.close()
            return await recognise(self._line.port, group, briefly=briefly)

    async def _step(self, step: ScanStep) -> None:
        """Ask each unit of the step; a meter that answers narrows down the steps that are left."""
        if not self._line.whole and self._line.found and step.setting != self._line.found[0].setting:
            return
        for at, unit in enumerate(step.units):
            left_ms = expected_ms(self._line.steps) + step.expected_ms * (len(step.units) - at) / len(step.units)
            self._report.advanced(self._line.port, step, unit, left_ms)
            heard = await self._ask(step, unit)
            if heard.noise and not heard.answers and step.setting is not None:
                heard = await self._second_pass(step, unit)
            for answered, body in heard.answers.items():
                await self._answered(step, answered, body)
            self._note_oddity(heard.oddity)
            if self._is_over():
                return

    def _note_oddity(self, oddity: str) -> None:
        """Report once that something answers as no meter does; if it always does, do not ask the other units."""
        if not oddity or self._line.found:
            return
        if not self._oddities:
            self._report.said(self._line.port, f"something answers, but {oddity}")
        self._oddities += 1
        if self._oddities >= ODDITIES_MAX:
            cause = f"something answers, but {oddity}"
            raise MeterError("garbage", operation="scan", subject=self._line.port, cause=cause, next_step=CHECK_GATEWAY)

    async def _ask(self, step: ScanStep, unit: int) -> Heard:
        probe = await self._ready(step.setting)
        return await probe.ask(unit, PRESENCE, step.wait_ms)

    async def _second_pass(self, step: ScanStep, unit: int) -> Heard:
        """Noise was heard: ask the units that may have sent it again, and wait longer."""
        assert step.setting is not None  # noqa: S101 - only a serial line has noise
        tried = self._again.get(step.setting, 0)
        if tried >= AGAIN_MAX:
            return Heard()
        self._again[step.setting] = tried + 1
        slow = again(step, unit)
        for each in slow.units:
            heard = await self._ask(slow, each)
            if heard.answers:
                return heard
        self._line.steps = promoted(self._line.steps, step.setting)
        if self._line.listen_first_s and not self._recognised and not self._line.found:
            self._report.said(self._line.port, f"heard noise at {step.setting} that is not an answer")
            await self._recognise()
        return Heard()

    async def _answered(self, step: ScanStep, unit: int, body: bytes) -> None:
        if any(found.unit == unit and found.setting == step.setting for found in self._line.found):
            return
        if step.setting is None and _is_lost(Heard({unit: body}), unit):
            return
        probe = await self._ready(step.setting)

        async def ask(request: bytes) -> bytes | None:
            for number in range(TRIES_IN_NOISE):
                heard = await probe.ask(unit, request, IDENTIFY_WAIT_MS)
                if not _is_lost(heard, unit) and (unit in heard.answers or (number and not heard.noise)):
                    break
            return heard.answers.get(unit)

        self._report.said(self._line.port, f"unit {unit} answers ({step.setting or 'Modbus TCP'})")
        identified = await identify(
            ask, sorted(self._profiles, key=lambda profile: not _is_usual(profile, step.setting))
        )
        twin = next((found for found in self._line.found if _same(found, unit, identified)), None)
        if twin is not None:
            self._report.said(self._line.port, f"unit {unit} answers at {step.setting} and at {twin.setting}")
            return
        any_unit = step.setting is None and await self._answers_to_any(probe, unit, body)
        found = FoundMeter(self._line.port, step.setting, unit, identified, any_unit)
        self._line.found.append(found)
        self._report.found(found)
        if not self._line.whole:
            self._line.steps = narrowed(self._line.steps, step.setting)

    async def _answers_to_any(self, probe: SerialProbe | TcpProbe, unit: int, body: bytes) -> bool:
        """Whether it answers to any unit id, as a single meter on a network may."""
        for canary in CANARIES:
            heard = await probe.ask(canary, PRESENCE, IDENTIFY_WAIT_MS)
            answer = heard.answers.get(canary)
            if canary == unit or answer is None or answer[0] != body[0]:
                return False
            if answer[0] & REFUSED and answer[1] in GATEWAY_SILENT:
                return False
        return True

    def _is_over(self) -> bool:
        if any(found.any_unit or (found.sends and not self._line.whole) for found in self._line.found):
            self._line.steps = ()
            return True
        return False


def _is_lost(heard: Heard, unit: int) -> bool:
    """Whether a gateway says that the meter did not answer: that counts as silence."""
    body = heard.answers.get(unit, b"")
    return len(body) > 1 and body[0] & REFUSED != 0 and body[1] in GATEWAY_SILENT


def _is_usual(profile: Profile, setting: Setting | None) -> bool:
    """Whether `setting` is the factory setting of this model."""
    serial = profile.serial
    return setting is not None and (serial.baudrate, serial.parity) == (setting.baudrate, setting.parity)


def _same(found: FoundMeter, unit: int, identified: Identified) -> bool:
    """Whether it is the same meter. Some ignore parity or stop bits: the first setting they answered at counts."""
    return (
        found.unit == unit
        and found.identified.serial_number == identified.serial_number
        and found.identified.candidates[:1] != ()
        and [each.model for each in found.identified.candidates] == [each.model for each in identified.candidates]
    )


def _refused(port: str, error: LendError) -> MeterError:
    subject = f"line {error.line} ({port})"
    return MeterError("line_busy", operation="borrow", subject=subject, cause=error.cause, next_step=error.next_step)


async def scan(
    lines: Sequence[ScannedLine], profiles: Sequence[Profile], report: ScanReport, status_path: Path
) -> None:
    """Scan all lines at the same time; results and errors are in them."""
    for line in lines:
        report.planned(line.port, expected_ms(line.steps))
    tasks = [asyncio.create_task(LineScan(line, profiles, report, status_path).run()) for line in lines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

"""A scan of scripted lines in virtual time: settings, slow meters, talkers, lines that vanish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from virtual_time import run_virtual

from agent.adapters.system.lending_fifo import LendError
from agent.cli.scan import run as scan_run
from agent.cli.scan.run import FoundMeter, ScannedLine, scan
from agent.core.metering.scan_plan import ALL_UNITS, COMMON, ScanStep, Setting, expected_ms, serial_steps, tcp_steps
from drivers.meter import MeterError
from drivers.modbus.identify import Identified, ModelCandidate
from drivers.modbus.probe import Heard

NINE_EVEN = Setting(9600, "E", 1)
REFUSAL = b"\x83\x02"


class ScriptedLine:
    """Meters by setting and unit, with the time that each takes to answer; costs what a real line costs."""

    def __init__(self, meters: Mapping[tuple[Setting, int], int]) -> None:
        self.meters = dict(meters)
        self.asked: list[tuple[Setting, int]] = []
        self.talks = False
        self.impossible: set[Setting] = set()
        self.lost_after: int | None = None
        self.who = Identified()


class ScriptedProbe:
    line: ScriptedLine

    def __init__(self, path: str, baudrate: int, parity: str, stopbits: int) -> None:
        self.setting = Setting(baudrate, parity, stopbits)  # type: ignore[arg-type]
        self.path = path
        self.pending: list[tuple[float, int]] = []

    async def open(self) -> None:
        if self.setting in self.line.impossible:
            raise error("line_missing", "cannot be set so")

    async def ask(self, unit: int, body: bytes, wait_ms: float) -> Heard:
        loop = asyncio.get_running_loop()
        line = self.line
        line.asked.append((self.setting, unit))
        if line.lost_after is not None and len(line.asked) > line.lost_after:
            raise error("line_lost", "unplugged")
        sent_s = 8 * self.setting.character_ms / 1000
        delay_ms = line.meters.get((self.setting, unit))
        if delay_ms is not None:
            self.pending.append((loop.time() + sent_s + delay_ms / 1000, unit))
        await asyncio.sleep(sent_s + 3.5 * self.setting.character_ms / 1000 + wait_ms / 1000)
        now = loop.time()
        answers = {one: REFUSAL for at, one in self.pending if at <= now}
        self.pending = [(at, one) for at, one in self.pending if at > now]
        return Heard(answers, b"\x55" if line.talks and not answers else b"")

    async def listen(self, seconds: float) -> bytes:
        await asyncio.sleep(seconds)
        return b"\x55\x55" if self.line.talks else b""

    def close(self) -> None:
        pass


def error(reason: str, cause: str) -> MeterError:
    return MeterError(reason, operation="use", subject="line", cause=cause, next_step="look")  # type: ignore[arg-type]


class Notes:
    def __init__(self) -> None:
        self.at_s: list[float] = []
        self.texts: list[str] = []
        self.left_ms: list[float] = []

    def planned(self, port: str, left_ms: float) -> None:
        self.left_ms.append(left_ms)

    def advanced(self, port: str, step: ScanStep, unit: int, left_ms: float) -> None:
        self.left_ms.append(left_ms)

    def found(self, found: FoundMeter) -> None:
        self.at_s.append(asyncio.get_running_loop().time())

    def said(self, port: str, text: str) -> None:
        self.texts.append(text)


class ScriptedHost:
    """A gateway, or a meter that answers to any unit id."""

    def __init__(self, line: ScriptedLine) -> None:
        self.line = line

    async def open(self) -> None:
        pass

    async def ask(self, unit: int, body: bytes, wait_ms: float) -> Heard:
        self.line.asked.append((COMMON[0], unit))
        await asyncio.sleep(0.01)
        there = self.line.talks or (COMMON[0], unit) in self.line.meters
        return Heard({unit: REFUSAL if there else b"\x83\x0b"})

    def close(self) -> None:
        pass


class FakeLender:
    line, pid, interval_s = "rs485", 17, 10.0

    def __init__(self, grants: int = 99) -> None:
        self.log: list[tuple[str, float]] = []
        self.grants = grants

    def borrow(self, _timeout_s: float) -> None:
        self.log.append(("borrow", asyncio.get_running_loop().time()))
        self.grants -= 1
        if self.grants < 0:
            raise LendError("rs485", "it is lent to process 18", "wait")

    def give_back(self) -> None:
        self.log.append(("return", asyncio.get_running_loop().time()))


Run = Callable[..., tuple[Notes, float]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Scans the line; returns what was said, and how long it took."""

    def scan_it(scripted: ScriptedLine, line: ScannedLine, lender: FakeLender | None = None) -> tuple[Notes, float]:
        notes = Notes()

        async def scenario() -> float:
            began = asyncio.get_running_loop().time()
            await scan([line], [], notes, tmp_path / "none.json")
            return asyncio.get_running_loop().time() - began

        async def nobody(_ask: object, _profiles: object) -> Identified:
            return scripted.who

        monkeypatch.setattr(scan_run, "SerialProbe", type("Probe", (ScriptedProbe,), {"line": scripted}))
        monkeypatch.setattr(scan_run, "find_lender", lambda _path, _port: lender)
        monkeypatch.setattr(scan_run, "TcpProbe", lambda _url: ScriptedHost(scripted))
        monkeypatch.setattr(scan_run, "identify", nobody)
        monkeypatch.setattr(asyncio, "to_thread", in_line)
        return notes, run_virtual(scenario())

    async def in_line(function: Callable[..., object], *arguments: object) -> object:
        return function(*arguments)

    return scan_it


def line_of(*settings: Setting, whole: bool = False, listen: bool = False) -> ScannedLine:
    steps = serial_steps(settings or COMMON, {}, ALL_UNITS)
    return ScannedLine("/dev/null", steps, whole=whole, listen_first_s=0.5 if listen else 0)


def test_a_meter_at_other_parity_is_found_at_its_own_settings(run: Run) -> None:
    scripted = ScriptedLine({(NINE_EVEN, 1): 40})
    line = line_of(listen=True)
    notes, took_s = run(scripted, line)
    assert [(found.setting, found.unit) for found in line.found] == [(NINE_EVEN, 1)]
    assert notes.at_s[0] < 3
    asked = {setting for setting, _ in scripted.asked}
    assert asked == {COMMON[0], NINE_EVEN}, "no other settings are tried once a meter has answered"
    assert {unit for setting, unit in scripted.asked if setting == NINE_EVEN} == set(ALL_UNITS)
    assert took_s < 25


def test_all_settings_and_units_are_asked_where_nobody_answers_in_the_time_that_was_said(run: Run) -> None:
    scripted = ScriptedLine({})
    line = line_of()
    expected_s = expected_ms(line.steps) / 1000
    _, took_s = run(scripted, line)
    assert line.found == []
    assert sorted(map(str, scripted.asked)) == sorted(str((setting, unit)) for setting in COMMON for unit in ALL_UNITS)
    assert took_s == pytest.approx(expected_s, rel=0.02)


@pytest.mark.parametrize("delay_ms", [10, 55, 70, 100, 150, 250])
def test_a_slow_meter_is_found_though_the_first_pass_waits_for_nobody(run: Run, delay_ms: int) -> None:
    line = line_of(COMMON[0])
    run(ScriptedLine({(COMMON[0], 100): delay_ms, (COMMON[0], 3): 20}), line)
    assert [found.unit for found in line.found] == [3, 100]


def test_a_line_with_somebody_who_never_stops_talking_is_scanned_nevertheless(run: Run) -> None:
    scripted = ScriptedLine({(COMMON[0], 100): 20})
    scripted.talks = True
    line = line_of(listen=True)
    notes, took_s = run(scripted, line)
    assert [found.unit for found in line.found] == [100]
    assert "a device on this line sends unasked (2 bytes in 0.5 s)" in notes.texts
    assert took_s < 150


def test_a_full_scan_goes_on_at_other_settings(run: Run) -> None:
    line = line_of(whole=True)
    run(ScriptedLine({(COMMON[0], 1): 20, (COMMON[3], 9): 20}), line)
    assert [(found.setting, found.unit) for found in line.found] == [(COMMON[0], 1), (COMMON[3], 9)]


def test_settings_that_the_port_does_not_know_are_left_out(run: Run) -> None:
    scripted = ScriptedLine({(COMMON[2], 1): 20})
    scripted.impossible = {NINE_EVEN}
    line = line_of()
    notes, _ = run(scripted, line)
    assert [found.setting for found in line.found] == [COMMON[2]]
    assert notes.texts[0] == "skipped 9600 8E1: cannot be set so"
    assert line.error is None


def test_what_was_found_is_kept_when_the_adapter_is_unplugged(run: Run) -> None:
    scripted = ScriptedLine({(COMMON[0], 1): 20})
    scripted.lost_after = 50
    line = line_of()
    run(scripted, line)
    assert [found.unit for found in line.found] == [1]
    assert line.error is not None
    assert line.error.reason == "line_lost"


def test_a_borrowed_line_is_returned_in_between(run: Run) -> None:
    lender = FakeLender()
    line = line_of(*COMMON, Setting(19200, "N", 2))
    _, took_s = run(ScriptedLine({}), line, lender)
    assert [what for what, _ in lender.log] == ["borrow", "return", "borrow", "return"]
    (_, first_s), (_, returned_s), (_, again_s), _ = lender.log
    assert 100 <= returned_s - first_s < 105, "the daemon would take it back after 120 s"
    assert again_s - returned_s == pytest.approx(12, abs=0.1)
    assert took_s < 200
    assert line.error is None


@pytest.mark.parametrize("granted", [0, 1])
def test_a_line_that_is_not_lent_at_first_or_not_again(run: Run, granted: int) -> None:
    line = line_of(*COMMON, Setting(19200, "N", 2))
    run(ScriptedLine({(COMMON[0], 1): 20}) if granted == 0 else ScriptedLine({}), line, FakeLender(granted))
    assert line.error is not None
    assert line.error.reason == "line_busy"
    assert "it is lent to process 18; wait" in str(line.error)
    assert line.found == []


def test_units_behind_a_gateway(run: Run) -> None:
    line = ScannedLine("tcp://127.0.0.1:502", tcp_steps((*ALL_UNITS, 0, 255)))
    run(ScriptedLine({(COMMON[0], 5): 0, (COMMON[0], 200): 0}), line)
    assert [(found.setting, found.unit, found.any_unit) for found in line.found] == [
        (None, 5, False),
        (None, 200, False),
    ]


def test_a_meter_that_answers_to_any_unit_id_is_listed_once(run: Run) -> None:
    scripted = ScriptedLine({})
    scripted.talks = True
    line = ScannedLine("tcp://127.0.0.1:502", tcp_steps((*ALL_UNITS, 0, 255)))
    run(scripted, line)
    assert [(found.unit, found.any_unit) for found in line.found] == [(1, True)]
    assert len(scripted.asked) == 3


def test_a_meter_that_does_not_look_at_the_parity_is_listed_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    line = line_of(whole=True)
    scripted = ScriptedLine({(COMMON[0], 1): 20, (NINE_EVEN, 1): 20})
    scripted.who = Identified((ModelCandidate("some-meter", "Some", 0.9, "its mark"),), "123")
    notes, _ = run(scripted, line)
    assert [str(found.setting) for found in line.found] == ["9600 8N1"]
    assert "unit 1 answers at 9600 8E1 and at 9600 8N1" in notes.texts


def test_the_time_that_is_left_falls(run: Run) -> None:
    notes, _ = run(ScriptedLine({}), line_of())
    assert notes.left_ms == sorted(notes.left_ms, reverse=True)
    assert notes.left_ms[-1] < 500

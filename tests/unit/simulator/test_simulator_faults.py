"""The simulator's faults: the language, the dice, the bytes that go out instead, and what is wrong with a meter."""

from __future__ import annotations

import asyncio
import io
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drivers.profile.files import find_profile
from meter_sim.control import Control
from meter_sim.faults.condition import Condition
from meter_sim.faults.schedule import DEFAULT_TIME_S, KINDS, METER, WIRE, Dice, Fault, parse_faults
from meter_sim.faults.spoil import RtuWire, Sent, TcpWire, spoil
from meter_sim.modbus.frames import Asked, crc16, rtu_frame, tcp_frame
from meter_sim.modbus.line import Line, SimulatedMeter
from meter_sim.modbus.registers import RegisterMap
from meter_sim.options import parser
from meter_sim.world.household import Household
from meter_sim.world.instrument import Instrument

ASKED = Asked(3, 4, 0, 4)
REQUEST = rtu_frame(3, bytes.fromhex("0400000004"))
BODY = bytes.fromhex("0408 43663333 42c80000")
RIGHT = rtu_frame(3, BODY)


def sent(*kinds: str, seed: int = 1, tcp: bool = False) -> Sent:
    faults = [Fault(kind, 1, DEFAULT_TIME_S.get(kind, 0.0)) for kind in kinds]
    return spoil(TcpWire() if tcp else RtuWire(), ASKED, REQUEST, BODY, faults, random.Random(seed))


def data(what: Sent) -> bytes:
    return b"".join(piece.data for piece in what.pieces)


def test_the_language() -> None:
    assert parse_faults("crc=2%, silence=0.01@3,stuck=1%:20s,unplug:500ms@255, late") == (
        Fault("crc", 0.02),
        Fault("silence", 0.01, 0, 3),
        Fault("stuck", 0.01, 20),
        Fault("unplug", 1, 0.5, 255),
        Fault("late"),
    )
    assert parse_faults(" , ") == ()
    assert [fault.time_s for fault in parse_faults("slow,babble,zeros:2min")] == [2, 1, 120]
    for fault in parse_faults("crc=2.5%@3, stuck=1%:20s"):
        assert parse_faults(str(fault)) == (fault,), "what `faults` prints can be typed again"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("crcs=1%", "did you mean crc?"),
        ("nothing", "there are silence, truncation"),
        ("crc=101%", "0%..100%"),
        ("crc=x", "share 'x'"),
        ("crc=nan", "share 'nan'"),
        ("crc:3s", "crc has no duration"),
        ("stuck:0s", "at most 24h"),
        ("stuck:3weeks", "3weeks"),
        ("crc@256", "0..255"),
        ("crc@x", "0..255"),
        ("5%", "expected KIND"),
    ],
)
def test_what_is_wrong_with_a_fault_is_said(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        parse_faults(text)


def test_dice_keep_to_the_shares_and_to_the_seed() -> None:
    faults = parse_faults("crc=10%, silence@2")
    drawn = [Dice(faults, seed).draw(1) for seed in map(str, range(2000))]
    assert 150 < sum(bool(kinds) for kinds in drawn) < 250
    one, same, other = (Dice(faults, seed) for seed in ("7", "7", "8"))
    rolls = [[dice.draw(unit) for unit in (1, 2) * 50] for dice in (one, same, other)]
    assert rolls[0] == rolls[1] != rolls[2]
    assert all("silence" in [fault.kind for fault in draw] for draw in rolls[0][1::2])
    assert not any("silence" in [fault.kind for fault in draw] for draw in rolls[0][::2])


def test_dice_change_while_running() -> None:
    dice = Dice(parse_faults("crc=1%, silence@2"))
    dice.set(parse_faults("crc=5%, silence=0%@2, lead"))
    assert dice.faults == parse_faults("crc=5%, lead")
    dice.clear()
    assert dice.draw(1) == ()


def test_without_faults_the_answer_goes_out_as_it_is() -> None:
    assert data(sent()) == RIGHT
    assert sent().good
    assert data(sent("stuck", "unplug")) == RIGHT, "those of others are not the wire's"


def whole(found: bytes) -> bool:
    """Whether the checksum is good."""
    return len(found) > 3 and crc16(found[:-2]) == found[-2:]


PROOF: dict[str, Callable[[Sent, bytes], bool]] = {
    "silence": lambda what, _: what == Sent((), good=False),
    "late": lambda what, _: (what.pieces, what.held) == ((), RIGHT),
    "slow": lambda what, found: 0.05 <= what.pieces[0].pause_s <= 2 and found == RIGHT,
    "truncation": lambda _, found: RIGHT.startswith(found) and len(found) < len(RIGHT),
    "crc": lambda _, found: len(found) == len(RIGHT) and not whole(found),
    "unit": lambda _, found: whole(found) and found[0] != 3 and found[1:-2] == RIGHT[1:-2],
    "function": lambda _, found: whole(found) and found[0] == 3 and found[1] & 0x7F != 4,
    "count": lambda _, found: whole(found) and found[2] == len(found) - 5 != 8,
    "exception": lambda _, found: whole(found) and found[:2] == b"\x03\x84",
    "lead": lambda _, found: found.endswith(RIGHT) and len(found) > len(RIGHT),
    "trail": lambda _, found: found.startswith(RIGHT) and len(found) > len(RIGHT),
    "hole": lambda what, found: found == RIGHT and 0 < what.pieces[1].pause_s <= 0.03,
    "babble": lambda _, found: len(found) > 50,
    "echo": lambda _, found: found == REQUEST + RIGHT,
}


@pytest.mark.parametrize("kind", WIRE)
def test_every_kind_does_what_it_says_and_only_good_bytes_are_called_good(kind: str) -> None:
    for seed in range(50):
        what = sent(kind, seed=seed)
        assert what == sent(kind, seed=seed), "same seed, same bytes"
        assert PROOF[kind](what, data(what)), seed
        assert what.good == (kind in ("hole", "lead", "trail", "echo"))


def test_faults_add_up() -> None:
    both = sent("lead", "crc")
    assert len(data(both)) > len(RIGHT)
    assert not both.good
    assert not sent("lead", "silence").pieces
    assert sent("late", "unit").held[0] != 3


def test_a_gateway_has_faults_of_its_own() -> None:
    assert data(sent("crc", tcp=True)) == tcp_frame(ASKED, bytes.fromhex("840b"))
    assert data(sent("echo", tcp=True)).endswith(tcp_frame(ASKED, BODY))
    assert data(sent("unit", tcp=True))[6] != 3


VALUES = {"voltage_l1_n": 230.0, "energy_active_import_total": 5000.0}
LATER = {"voltage_l1_n": 231.0, "energy_active_import_total": 5023.0}


def test_stuck_is_over_when_it_is_over() -> None:
    meter = Condition("1")
    meter.apply(Fault("stuck", 1, 30), VALUES, 100)
    assert meter.look(LATER, 129.9) == VALUES
    assert meter.healthy(LATER) == LATER
    assert meter.lasting(129.9) == ("stuck",)
    assert meter.look(LATER, 130) == LATER
    assert meter.lasting(130) == ()


def test_reset_rollover_and_swap_concern_counters_alone() -> None:
    meter = Condition("1", {"energy_active_import_total": 1e6})
    meter.apply(Fault("reset"), VALUES, 0)
    assert meter.look(LATER, 0) == {"voltage_l1_n": 231.0, "energy_active_import_total": 23.0}
    meter.apply(Fault("rollover"), VALUES, 0)
    assert meter.look(VALUES, 0)["energy_active_import_total"] == 999_980
    assert meter.look(LATER, 0)["energy_active_import_total"] == 3
    before = meter.serial_number
    meter.apply(Fault("swap"), VALUES, 0)
    assert meter.serial_number != before
    assert meter.serial_number >= 10_000_000
    swapped = meter.look(LATER, 0)["energy_active_import_total"] - meter.look(VALUES, 0)["energy_active_import_total"]
    assert swapped % 1e6 == 23
    assert meter.look(VALUES, 0)["voltage_l1_n"] == 230


class Bench:
    """A line with two meters whose time is set by the test."""

    def __init__(self, faults: str = "") -> None:
        self.now_s = 0.0
        self.log = io.StringIO()
        meters = {unit: self._meter(str(unit)) for unit in (1, 2)}
        self.line = Line(meters, lambda: self.now_s, lambda: 5.0, self.log, Dice(parse_faults(faults)))

    def _meter(self, seed: str) -> SimulatedMeter:
        registers = RegisterMap(find_profile("schneider-iem3155"))
        return SimulatedMeter(registers, Instrument(Household(seed, 3), seed, 1), Condition(seed, registers.wraps))

    def ask(self, unit: int = 1, address: int = 3027) -> dict[str, Any]:
        """What the log says of a request."""
        asked = Asked(unit, 3, address, 2)
        outcome = self.line.serve(RtuWire(), asked, b"")
        assert outcome is not None
        self.line.log(asked, outcome)
        entry: dict[str, Any] = json.loads(self.log.getvalue().splitlines()[-1])
        return entry


def test_the_log_says_what_went_out_and_what_would_have_been_true() -> None:
    bench = Bench("stuck:10s@1, crc@2")
    first = bench.ask()
    assert first["good"]
    assert first["faults"] == ["stuck"]
    assert "true" not in first
    bench.now_s = 5
    bench.line.dice.clear()
    second = bench.ask()
    assert second["values"] == first["values"]
    assert second["true"]["voltage_l1_n"] != first["values"]["voltage_l1_n"]
    bench.now_s = 10
    assert bench.ask()["values"] != first["values"]
    bench.line.dice.set(parse_faults("crc@2"))
    assert bench.ask(2) == {
        "t_ms": 5, "unit": 2, "fc": 3, "address": 3027, "count": 2, "values": {}, "good": False, "faults": ["crc"]
    }  # fmt: skip
    refused = bench.ask(1, 60000)
    assert not refused["good"]
    assert refused["refused"] == 2


def test_zeros_are_zeros_to_the_last_register() -> None:
    bench = Bench("zeros:1s")
    entry = bench.ask()
    assert entry["values"] == {"voltage_l1_n": 0}
    assert entry["true"]["voltage_l1_n"] > 200
    reply = bench.line.answer(Asked(1, 3, 3027, 2))
    assert reply is not None
    assert reply.body == bytes.fromhex("030400000000")


def test_unplugging_is_left_to_the_port() -> None:
    outcome = Bench("unplug:2s").line.serve(RtuWire(), Asked(1, 3, 3027, 2), b"")
    assert outcome is not None
    assert outcome.unplug_s == 2
    assert not outcome.sent.pieces


class Plug:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def unplug(self, seconds: float) -> None:
        self.seconds.append(seconds)


def test_commands() -> None:
    bench, plug = Bench(), Plug()
    control = Control(bench.line, [plug])

    def say(text: str) -> str:
        return asyncio.run(control.command(text))

    assert say("fault crc=5%, lead@2") == "ok faults crc=5%, lead=100%@2"
    assert say("faults") == "ok faults crc=5%, lead=100%@2"
    assert say("fault off") == "ok faults none"
    assert say("unplug 500ms") == "ok unplugged for 0.5s"
    assert say("unplug") == "ok unplugged for 3s"
    assert plug.seconds == [0.5, 3]
    before = bench.line.meters[2].condition.serial_number
    assert say("swap 2") == "ok swap 2"
    assert bench.line.meters[2].condition.serial_number != before
    assert say("zeros 1 1s") == "ok zeros 1 1s"
    assert bench.ask()["faults"] == ["zeros"]
    assert say("help").startswith("ok fault ENTRY")
    assert say("swap 9") == "error: swap which meter? expected one of the units 1, 2"
    assert say("swap").startswith("error: swap which meter?")
    assert say("explode").startswith("error: no command 'explode'; there are: fault")
    assert say("fault").startswith("error: no command 'fault'")
    assert say("fault crcs").startswith("error: fault 'crcs'")
    assert say("").startswith("error: an empty line")
    refused = "error: fault 'silence=100%@3': no meter has unit 3; there are units 1, 2"
    assert say("fault crc=5%, silence@3") == refused
    assert say("faults") == "ok faults none", "nothing of a line that is refused is in force"


def test_the_help_and_the_manual_name_every_kind() -> None:
    manual = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text()
    text = parser().format_help()
    for kind in KINDS:
        assert f"  {kind} " in text
        assert f"`{kind}`" in manual
    assert METER.keys() | WIRE.keys() < KINDS.keys()
    for option in (word for action in parser()._actions for word in action.option_strings if word.startswith("--")):
        assert f"`{option}" in manual or option == "--help"

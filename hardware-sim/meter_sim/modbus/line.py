"""The meters of one line: requests in, what goes out (faults included), and a log of what was served."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from meter_sim.faults.condition import Condition
from meter_sim.faults.schedule import LINE, METER, Dice, Fault
from meter_sim.faults.spoil import Sent, Wire, spoil
from meter_sim.modbus.frames import READ_DEVICE_ID, Asked, answer_body, refusal_body
from meter_sim.modbus.registers import Refusal, RegisterMap, Served
from meter_sim.world.instrument import Instrument

Clock = Callable[[], float]


@dataclass(slots=True)
class SimulatedMeter:
    """One unit on the line. `delay_s` is how long it takes to answer; None is what the port's pace says."""

    registers: RegisterMap
    instrument: Instrument
    condition: Condition = field(default_factory=lambda: Condition("1"))
    delay_s: float | None = None

    def suffer(self, fault: Fault, elapsed_s: float) -> None:
        """Let a fault of the meter itself begin."""
        self.condition.apply(fault, self.instrument.at(elapsed_s), elapsed_s)
        self.registers.name_it(self.condition.serial_number)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a meter answers, and what that tells (nothing for a refusal).

    `faults` are those of the meter itself; `true` is what it would have told without them, where that differs.
    """

    body: bytes
    values: Mapping[str, float]
    refused: int = 0
    faults: tuple[str, ...] = ()
    true: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happens upon a request: what goes out, which faults made it so, and for how long the adapter is gone."""

    sent: Sent
    reply: Reply
    faults: tuple[str, ...] = ()
    unplug_s: float = 0.0


class Line:
    """`serve` is what a port calls; `answer` is the same without faults of the wire and of the adapter."""

    def __init__(
        self,
        meters: Mapping[int, SimulatedMeter],
        elapsed_s: Clock,
        unix_ms: Clock,
        served: TextIO | None,
        dice: Dice | None = None,
    ) -> None:
        self.meters = meters
        self.dice = Dice() if dice is None else dice
        self.elapsed_s = elapsed_s
        self._unix_ms = unix_ms
        self._served = served

    def delay_s(self, unit: int, default_s: float) -> float:
        """How long the unit takes before it answers."""
        meter = self.meters.get(unit)
        return default_s if meter is None or meter.delay_s is None else meter.delay_s

    def serve(self, wire: Wire, asked: Asked, request: bytes) -> Outcome | None:
        """What goes out upon `request`; None where no meter has this number."""
        meter = self.meters.get(asked.unit)
        if meter is None:
            return None
        faults = self.dice.draw(asked.unit)
        for fault in faults:
            if fault.kind in METER:
                meter.suffer(fault, self.elapsed_s())
        reply = self._reply(meter, asked)
        away_s = max((fault.time_s for fault in faults if fault.kind in LINE), default=0.0)
        kinds = dict.fromkeys([*(fault.kind for fault in faults), *reply.faults])
        if away_s:
            return Outcome(Sent((), good=False), reply, tuple(kinds), away_s)
        sent = spoil(wire, asked, request, reply.body, faults, self.dice.random)
        return Outcome(sent, reply, tuple(kinds))

    def answer(self, asked: Asked) -> Reply | None:
        """The reply of the unit that is asked; None where no meter has this number."""
        meter = self.meters.get(asked.unit)
        return None if meter is None else self._reply(meter, asked)

    def _reply(self, meter: SimulatedMeter, asked: Asked) -> Reply:
        elapsed_s = self.elapsed_s()
        values = meter.instrument.at(elapsed_s)
        lasting = meter.condition.lasting(elapsed_s)
        try:
            if asked.function_code == READ_DEVICE_ID:
                data = meter.registers.identification(asked.address & 0xFF, asked.count)
                return Reply(bytes((READ_DEVICE_ID,)) + data, {})
            told = self._read(meter, asked, meter.condition.look(values, elapsed_s), zeros="zeros" in lasting)
            healthy = told if not lasting else self._read(meter, asked, meter.condition.healthy(values))
        except Refusal as refusal:
            return Reply(refusal_body(asked, refusal.code), {}, refusal.code)
        true = {} if healthy.values == told.values else healthy.values
        return Reply(answer_body(asked, told.data), told.values, 0, lasting, true)

    def _read(self, meter: SimulatedMeter, asked: Asked, values: Mapping[str, float], *, zeros: bool = False) -> Served:
        return meter.registers.read(asked.function_code, asked.address, asked.count, values, zeros=zeros)

    def log(self, asked: Asked, outcome: Outcome) -> None:
        """Note what goes out: one JSON object per request that was heard. docs/simulator.md describes it."""
        if self._served is None:
            return
        reply, good = outcome.reply, outcome.sent.good
        entry: dict[str, Any] = {
            "t_ms": int(self._unix_ms()),
            "unit": asked.unit,
            "fc": asked.function_code,
            "address": asked.address,
            "count": asked.count,
            "values": reply.values if good else {},
            "good": good and not reply.refused,
        }
        if reply.refused:
            entry["refused"] = reply.refused
        if outcome.faults:
            entry["faults"] = outcome.faults
        if outcome.sent.late:
            entry["late"] = reply.values
        if good and reply.true:
            entry["true"] = reply.true
        self._served.write(json.dumps(entry) + "\n")

"""The meters of one line: requests in, answer bodies out, and a log of what was served."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TextIO

from meter_sim.frames import Asked, answer_body, refusal_body
from meter_sim.instrument import Instrument
from meter_sim.registers import Refusal, RegisterMap

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class SimulatedMeter:
    """One unit on the line."""

    registers: RegisterMap
    instrument: Instrument


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back, and what it told (empty for a refusal)."""

    body: bytes
    values: Mapping[str, float]


class Line:
    """Faults of a line (issue 3) belong between `answer` and the port, in a module of their own."""

    def __init__(
        self, meters: Mapping[int, SimulatedMeter], elapsed_s: Clock, unix_ms: Clock, served: TextIO | None
    ) -> None:
        self._meters = meters
        self._elapsed_s = elapsed_s
        self._unix_ms = unix_ms
        self._served = served

    def answer(self, asked: Asked) -> Reply | None:
        """The reply of the unit that is asked; None where no meter has this number."""
        meter = self._meters.get(asked.unit)
        if meter is None:
            return None
        values = meter.instrument.at(self._elapsed_s())
        try:
            told = meter.registers.read(asked.function_code, asked.address, asked.count, values)
        except Refusal as refusal:
            return Reply(refusal_body(asked, refusal.code), {})
        return Reply(answer_body(asked, told.data), told.values)

    def log(self, asked: Asked, reply: Reply) -> None:
        """Note what goes out; one JSON object per answered request."""
        if self._served is None or not reply.values:
            return
        entry = {
            "t_ms": int(self._unix_ms()),
            "unit": asked.unit,
            "fc": asked.function_code,
            "address": asked.address,
            "count": asked.count,
            "values": reply.values,
        }
        self._served.write(json.dumps(entry) + "\n")

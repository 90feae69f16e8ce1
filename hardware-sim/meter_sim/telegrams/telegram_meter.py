"""A meter with telegrams instead of registers, and the faults that a telegram can have."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TextIO

from drivers.profile.parse import Profile
from meter_sim.faults.condition import Condition
from meter_sim.faults.schedule import LINE, METER, Dice, Fault
from meter_sim.faults.spoil import Piece, babble, noise
from meter_sim.telegrams.tellers import MBUS_RECORDS, TELLERS, Numbers, tell_mbus, told_values
from meter_sim.world.instrument import Instrument

CHECKED = {"dsmr-p1-v3": False, "iec62056-21-push": False}  # without a check sum a wrong bit is a wrong value
Clock = Callable[[], float]


def telegram_models() -> tuple[str, ...]:
    """The profiles of which there are telegrams."""
    return (*TELLERS, *MBUS_RECORDS)


def interval_of(model: str) -> float:
    """Seconds between telegrams; 0 where the meter is asked."""
    return TELLERS[model][0] if model in TELLERS else 0.0


@dataclass(frozen=True, slots=True)
class Telling:
    """What a meter tells at one moment: bytes, what a reader learns of them, and what it would without its faults."""

    telegram: bytes
    values: Mapping[str, float]
    true: Mapping[str, float]
    faults: tuple[str, ...]


class TelegramMeter:
    """One meter of a profile with fields. `unit` is the primary address on an M-Bus, and 1 elsewhere."""

    def __init__(self, profile: Profile, unit: int, instrument: Instrument, condition: Condition) -> None:
        self.profile = profile
        self.unit = unit
        self.instrument = instrument
        self.condition = condition
        self.delay_s: float | None = None
        self._number = 0

    def suffer(self, fault: Fault, elapsed_s: float) -> None:
        """Let a fault of the meter itself begin."""
        self.condition.apply(fault, self.instrument.at(elapsed_s), elapsed_s)

    def tell(self, elapsed_s: float, unix_s: float) -> Telling:
        """The next telegram."""
        values, lasting = self.instrument.at(elapsed_s), self.condition.lasting(elapsed_s)
        shown = self.condition.look(values, elapsed_s)
        if "zeros" in lasting:
            shown = dict.fromkeys(shown, 0.0)
        telegram, told = self._word(shown, unix_s)
        true = told if not lasting else self._word(self.condition.healthy(values), unix_s)[1]
        self._number += 1
        return Telling(telegram, told, {} if true == told else true, lasting)

    def _word(self, values: Mapping[str, float], unix_s: float) -> tuple[bytes, dict[str, float]]:
        numbers, serial, model = Numbers(values), self.condition.serial_number, self.profile.model
        if model in MBUS_RECORDS:
            telegram = tell_mbus(model, self.unit, numbers, serial, self._number)
        else:
            telegram = TELLERS[model][1](numbers, serial, unix_s, self._number)
        codes: Mapping[str, Fraction] = numbers.codes
        return telegram, told_values(self.profile, codes)

    @property
    def checked(self) -> bool:
        """Whether a wrong bit can be told from a right one."""
        return CHECKED.get(self.profile.model, True)


def spoil_telegram(
    data: bytes, faults: Sequence[Fault], dice: random.Random, *, checked: bool
) -> tuple[list[Piece], bool]:
    """What goes out instead of `data`, and whether a right telegram is in it; others do nothing."""
    kinds = {fault.kind: fault for fault in faults}
    if "silence" in kinds:
        return [], False
    if "babble" in kinds:
        return list(babble(kinds["babble"].time_s, dice)), False
    right = data
    if "crc" in kinds and checked:
        at = dice.randrange(8 * len(data))
        data = bytes(byte ^ (1 << at % 8 if index == at // 8 else 0) for index, byte in enumerate(data))
    if "truncation" in kinds:
        data = data[: dice.randrange(len(data))]
    good = data == right
    data = (noise(dice) if "lead" in kinds else b"") + data + (noise(dice) if "trail" in kinds else b"")
    if "hole" in kinds and len(data) > 1:
        at = dice.randrange(1, len(data))
        return [Piece(0, data[:at]), Piece(kinds["hole"].time_s * dice.uniform(0.1, 1), data[at:])], good
    return [Piece(0, data)], good


class TelegramLine:
    """The meters of a line that is no Modbus, their faults, and the log of what they told."""

    def __init__(
        self,
        meters: Mapping[int, TelegramMeter],
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

    def serve(self, unit: int) -> tuple[list[Piece], float, Callable[[], None]]:
        """What goes out, for how long the adapter is gone, and what writes the log when it has gone out."""
        meter = self.meters[unit]
        faults = self.dice.draw(unit)
        for fault in faults:
            if fault.kind in METER:
                meter.suffer(fault, self.elapsed_s())
        telling = meter.tell(self.elapsed_s(), self._unix_ms() / 1000)
        away_s = max((fault.time_s for fault in faults if fault.kind in LINE), default=0.0)
        pieces, good = spoil_telegram(telling.telegram, faults, self.dice.random, checked=meter.checked)
        if away_s:
            pieces, good = [], False
        kinds = list(dict.fromkeys([*(fault.kind for fault in faults), *telling.faults]))
        return pieces, away_s, lambda: self._log(meter, telling, kinds, good=good)

    def _log(self, meter: TelegramMeter, telling: Telling, faults: Sequence[str], *, good: bool) -> None:
        if self._served is None:
            return
        entry = {"t_ms": int(self._unix_ms()), "unit": meter.unit, "model": meter.profile.model}
        more = {"values": telling.values if good else {}, "good": good}
        kinds = {"faults": faults} if faults else {}
        true = {"true": telling.true} if good and telling.true else {}
        self._served.write(json.dumps({**entry, **more, **kinds, **true}) + "\n")

# ruff: noqa: T201 - a script that prints
"""Spoiled telegrams in any pieces against every framer and decoder: no foreign error, no hang, no value not sent.

    python tests/property/fuzz_telegrams.py [--telegrams 200000] [--seed 1] [--stream N]

Three quarters have the simulator's faults, which a check sum shows for certain: of those every value that is read must
be of one telegram that was sent. The others are mutated at will and must be read or refused, nothing else. A stream
ends with good telegrams, which must be found. Prints telegrams, values read, refusals by reason.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(root), str(root / "hardware-sim")]

from drivers.telegrams.dlms import decode_dlms
from drivers.telegrams.hdlc import HdlcFramer
from drivers.telegrams.mbus import ACK, MbusFramer, long_frame
from drivers.telegrams.mbus_records import decode_mbus
from drivers.telegrams.obis_text import decode_iec62056, decode_p1
from drivers.telegrams.sml import SmlFramer, decode_sml
from drivers.telegrams.telegram import TELEGRAM_REASONS, Decode, StreamFramer, Telegram, TelegramError
from drivers.telegrams.text_framer import TextFramer
from meter_sim.faults.schedule import DEFAULT_TIME_S, Fault
from meter_sim.telegrams.encoders import mode_c
from meter_sim.telegrams.telegram_meter import CHECKED, spoil_telegram
from meter_sim.telegrams.tellers import MBUS_RECORDS, TELLERS, Numbers, tell_mbus
from meter_sim.world.household import Household
from meter_sim.world.instrument import Instrument
from meter_sim.world.scenarios import Solar

SPOILED, CLEAN = 20, 3
WILD_SHARE = 0.25
KINDS = ("crc", "truncation", "lead", "trail", "hole", "babble", "silence")
SECONDS_PER_STREAM_MAX = 5.0
SERIAL = 12_345_678


def _mbus(frame: bytes) -> Telegram:
    return decode_mbus(long_frame(frame).data)


DECODERS: dict[str, tuple[type[StreamFramer], Decode]] = {
    "dsmr-p1": (TextFramer, decode_p1),
    "dsmr-p1-v3": (TextFramer, decode_p1),
    "sml": (SmlFramer, decode_sml),
    "iec62056-21": (TextFramer, decode_iec62056),
    "iec62056-21-push": (TextFramer, decode_iec62056),
    "han-aidon": (HdlcFramer, decode_dlms),
    "han-kaifa": (HdlcFramer, decode_dlms),
    "han-kamstrup": (HdlcFramer, decode_dlms),
    **dict.fromkeys(MBUS_RECORDS, (MbusFramer, _mbus)),
}
ASKED = ("iec62056-21", *MBUS_RECORDS)  # each answer is read by itself: what came before it is forgotten


class WrongError(AssertionError):
    """What must not happen, with how to see it again."""


@dataclass
class Stream:
    """One meter's telegrams; everything follows from `seed`."""

    seed: str
    telegrams: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def play(self) -> None:
        dice = self.dice = random.Random(self.seed)
        self.model = model = dice.choice(list(DECODERS))
        framing, self.decode = DECODERS[model]
        load = dice.choice((Household, Solar))(self.seed, dice.choice((1, 3)) if "kaifa" not in model else 3)
        self.instrument = Instrument(load, self.seed, 60)
        self.sent: list[dict[str, Fraction]] = []
        framer, wild = framing(), dice.random() < WILD_SHARE
        self.pauses = dice.random() < 0.5  # between telegrams, as drivers.telegrams.push notices them
        for number in range(SPOILED + CLEAN):
            good = self._telegram(number)
            framer = framing() if model in ASKED else framer
            data = good if number >= SPOILED else self._mutated(good) if wild else self._spoiled(good)
            before = self.outcomes["read"]
            greeting = mode_c([])[0] if model == "iec62056-21" else b""
            for piece in self._pieces(greeting + data):
                self._take(framer.feed(piece), wild=wild and number < SPOILED)
            if (model in ASKED or self.pauses) and (left := framer.end()):
                self._take([left], wild=wild)
        if self.outcomes["read"] == before:
            raise WrongError("the last good telegram was not found")

    def _telegram(self, number: int) -> bytes:
        self.telegrams += 1
        numbers = Numbers(self.instrument.at(60.0 * number))
        if self.model in MBUS_RECORDS:
            data = tell_mbus(self.model, 1, numbers, SERIAL, number)
        else:
            data = TELLERS[self.model][1](numbers, SERIAL, 1.79e9, number)
        self.sent.append(numbers.codes)
        return data

    def _spoiled(self, data: bytes) -> bytes:
        kinds = self.dice.sample(KINDS, self.dice.choice((0, 1, 1, 2)))
        if "truncation" in kinds and "trail" in kinds:
            kinds.remove("trail")  # a check sum of eight bits may happen to fit
        faults = [Fault(kind, 1, DEFAULT_TIME_S.get(kind, 0)) for kind in kinds]
        pieces, _ = spoil_telegram(data, faults, self.dice, checked=CHECKED.get(self.model, True))
        return b"".join(piece.data for piece in pieces)

    def _mutated(self, data: bytes) -> bytes:
        out, dice = bytearray(data), self.dice
        for _ in range(dice.randint(1, 6)):
            at = dice.randrange(len(out) + 1)
            match dice.randrange(6):
                case 0:
                    out[at : at + 1] = dice.randbytes(1)
                case 1:
                    out[at : at + dice.randint(1, 8)] = b""
                case 2:
                    out[at:at] = dice.randbytes(dice.randint(1, 8))
                case 3:
                    out[at:at] = out[at : at + 40]
                case 4:
                    out[at : at + 1] = dice.choice(
                        (b"\0", b"\xff", b"\x7e", b"\x1b\x1b\x1b\x1b", b"/", b"!", b"\x68", b"(")
                    )
                case _:
                    out[at:at] = dice.choice((data, dice.randbytes(200)))
        return bytes(out)

    def _pieces(self, data: bytes) -> list[bytes]:
        """All at once, byte by byte, or in any pieces."""
        size = self.dice.choice((len(data) or 1, 1, 7, 64))
        return [data[at : at + size] for at in range(0, len(data), size)]

    def _take(self, found: Sequence[bytes | TelegramError], *, wild: bool) -> None:
        for frame in found:
            try:
                if isinstance(frame, TelegramError):
                    raise frame
                if frame == ACK:
                    continue
                telegram = self.decode(frame)
            except TelegramError as error:
                if error.reason not in TELEGRAM_REASONS or "\n" in str(error):
                    raise WrongError(f"an error that says too little or too much: {error.reason} {error}") from error
                self.outcomes[error.reason] += 1
            else:
                self.outcomes["read"] += 1
                if not wild:
                    self._check(telegram)

    def _check(self, telegram: Telegram) -> None:
        told = {item.code: item.number for item in telegram.items if item.number is not None}
        candidates = self.sent[-1:] if self.pauses or self.model in ASKED else self.sent
        for sent in candidates:
            if all(told.get(code) == value for code, value in sent.items()):
                return
        if not CHECKED.get(self.model, True):
            known = {(code, value) for sent in candidates for code, value in sent.items()}
            if all(pair in known for pair in told.items() if any(pair[0] in sent for sent in candidates)):
                return  # without a check sum a cut telegram is a shorter one
        raise WrongError(f"{self.model} was read as {told}, sent was {candidates[-1]}")


def play(seed: str) -> Stream:
    """One stream; whatever goes wrong names it."""
    stream, ended, started = Stream(seed), False, time.monotonic()
    try:
        stream.play()
        ended = True
    finally:
        if not ended:
            sys.stderr.write(f"failed; see it again: fuzz_telegrams.py --stream {seed}\n")
    if time.monotonic() - started > SECONDS_PER_STREAM_MAX:
        raise WrongError(f"stream {seed} took {time.monotonic() - started:.1f} s")
    return stream


def run(telegrams: int, seed: str) -> tuple[int, Counter[str]]:
    """Play streams until there were so many telegrams; how many, and what became of them."""
    count, number, outcomes = 0, 0, Counter[str]()
    while count < telegrams:
        stream = play(f"{seed}/{number}")
        count, number = count + stream.telegrams, number + 1
        outcomes += stream.outcomes
    return count, outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description="Spoiled telegrams against every framer and decoder.")
    parser.add_argument("--telegrams", type=int, default=200_000)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--stream", help="play this one alone, such as 1/17")
    options = parser.parse_args()
    started = time.monotonic()
    if options.stream:
        stream = play(options.stream)
        count, outcomes = stream.telegrams, stream.outcomes
    else:
        count, outcomes = run(options.telegrams, options.seed)
    print(f"{count} telegrams, seed {options.seed}, {time.monotonic() - started:.0f} s")
    print(", ".join(f"{name} {number}" for name, number in outcomes.most_common()))


if __name__ == "__main__":
    main()

"""Meters made of a table of registers, independent of drivers and simulator: the table's own columns encode the values.

The table is `registers.csv` of the meter facts beside the checkout. Nothing here knows profiles.
"""

from __future__ import annotations

import asyncio
import csv
import random
import re
import struct
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

TABLE = Path(__file__).parents[2].parent / "shared/meters/registers.csv"
FORMAT = {
    "uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "uint64": "Q", "int64": "q", "float32": "f",
    "float64": "d",
}  # fmt: skip
USUAL = {"V": 400.0, "A": 100.0, "W": 20e3, "VA": 20e3, "var": 20e3, "1": 1.0, "Hz": 60.0, "deg": 180.0, "%": 100.0}
ILLEGAL_ADDRESS, ILLEGAL_VALUE = 2, 3
SUNS_BASES = (40000, 50000, 0)


@dataclass(frozen=True)
class Row:
    """A row of the table; `scale` gives the unit without its kilo."""

    measurand: str
    function_code: int
    address: int
    data_type: str
    is_little: bool
    unit: str
    scale: Fraction
    scale_at: int | None
    notes: str

    @property
    def count(self) -> int:
        return struct.calcsize(FORMAT[self.data_type]) // 2

    def words(self, raw: float) -> tuple[int, ...]:
        words = struct.unpack(f">{self.count}H", struct.pack(">" + FORMAT[self.data_type], raw))
        return words[::-1] if self.is_little else words


def read_table() -> dict[tuple[str, str], list[Row]]:
    """Vendor and model -> rows."""
    found: dict[tuple[str, str], list[Row]] = {}
    with TABLE.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            found.setdefault((line["vendor"], line["model"]), []).append(_row(line))
    return found


def _row(line: Mapping[str, str]) -> Row:
    power = re.fullmatch(r"10\^sf\(\w+@\+(\d+)\)(/1000)?", line["scale_factor"])
    scale = Fraction(1, 1000 if power[2] else 1) if power else Fraction(line["scale_factor"])
    kilo = line["unit"].startswith("k")
    return Row(
        line["measurand"],
        int(line["function_code"][0]),  # "3/4": both answer
        int(line["address"]),
        line["data_type"],
        line["word_order"] == "little",
        line["unit"][kilo:],
        scale * (1000 if kilo else 1),
        int(power[1]) if power else None,
        line["sign_notes"],
    )


def some_raw(row: Row, dice: random.Random) -> float:
    """A raw value that means something: usual, extreme or negative, and never a code for "no value"."""
    if "float" in row.data_type:
        top = 1e9 if row.unit.endswith("h") else float(USUAL.get(row.unit, 100.0) / row.scale)
        raw = dice.choice([0.0, top, dice.uniform(0, top), dice.uniform(0, top / 1000)])
        raw = raw if row.unit in {"V", "A", "Hz", "%"} or row.unit.endswith("h") else dice.choice([raw, -raw])
        return float(struct.unpack(">f", struct.pack(">f", raw))[0]) if row.data_type == "float32" else raw
    bits = 16 * row.count
    signed = row.data_type.startswith("int")
    if row.unit == "1" and row.scale_at is not None:
        return dice.randint(-100, 100)  # a power factor in hundredths
    low, high = (1 - (1 << (bits - 1)), (1 << (bits - 1)) - 2) if signed else (1, (1 << bits) - 2)
    high = min(high, 1 << 59)  # 6 EWh in steps of 10 Wh: more is beyond what 64 bits count
    return dice.choice([low, high, dice.randint(low, high), dice.randint(max(low, -9999), min(high, 9999))])


@dataclass
class Registers:
    """The registers of one meter and what it refuses. Others than its own answer junk, or nothing if it is `strict`."""

    words: dict[int, int]
    dice: random.Random
    function_codes: frozenset[int]
    starts: frozenset[int] = frozenset()  # where a value begins
    count_max: int = 125
    is_even: bool = False
    strict: bool = False
    whole_values: bool = False
    absent: frozenset[int] = frozenset()
    silent: frozenset[int] = frozenset()
    requests: list[tuple[int, int, int]] = field(default_factory=list)

    def answer(self, function_code: int, address: int, count: int) -> bytes | int | None:
        """The data, or the code of an exception; None is silence."""
        self.requests.append((function_code, address, count))
        asked = range(address, address + count)
        if not self.silent.isdisjoint(asked):
            return None
        if function_code not in self.function_codes:
            return 1
        if count > self.count_max or (self.is_even and (address % 2 or count % 2)):
            return ILLEGAL_VALUE
        if not self.absent.isdisjoint(asked) or (self.strict and any(at not in self.words for at in asked)):
            return ILLEGAL_ADDRESS
        if self.whole_values and address in self.words and address not in self.starts:
            return ILLEGAL_ADDRESS
        return struct.pack(f">{count}H", *[self.words.get(at, self.dice.getrandbits(16)) for at in asked])


@asynccontextmanager
async def serving(registers: Registers) -> AsyncIterator[str]:
    """A Modbus TCP server with these registers, whatever the unit; yields its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                header = await reader.readexactly(6)
                unit, function_code, address, count = struct.unpack(">BBHH", await reader.readexactly(6))
                data = registers.answer(function_code, address, count)
                if data is None:
                    continue
                body = bytes((function_code | 0x80, data)) if isinstance(data, int) else _body(function_code, data)
                writer.write(header[:4] + struct.pack(">HB", len(body) + 1, unit) + body)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


def _body(function_code: int, data: bytes) -> bytes:
    return bytes((function_code, len(data))) + data


def put(rows: Iterable[Row], raws: Mapping[str, float], offset: int = 0) -> dict[int, int]:
    """Address -> word of all values."""
    words: dict[int, int] = {}
    for row in rows:
        for at, word in enumerate(row.words(raws[row.measurand]), row.address + offset):
            assert at not in words
            words[at] = word
    return words


def sunspec_device(model: int, length: int, base: int, common: str) -> tuple[dict[int, int], int]:
    """The words of a device up to the meter's model, and the address of its header."""
    text = common.encode().ljust(132, b"\0")
    parts = [b"SunS", struct.pack(">HH", 1, 66), text, struct.pack(">HH", 103, 50), bytes(100)]
    parts.append(struct.pack(">HH", model, length))
    data = b"".join(parts)
    words = dict(enumerate(struct.unpack(f">{len(data) // 2}H", data), base))
    header = base + len(data) // 2 - 2
    words |= {header + 2 + length: 0xFFFF, header + 3 + length: 0}
    return words, header

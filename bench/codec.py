"""Bytes and CPU time per value of the wire format, beside JSON and CBOR, on a household's load.

    python bench/codec.py [CSV]        default: ../shared/meters/load/uci_fr_household_1min_V_I_P_Q.csv

The CSV has the columns time_local, power_active_w, power_reactive_var, voltage_v, current_a; energy is summed from the
power. Without it a household is generated (always the same one), and said so. The time counts as a value; header and
CRC are included, and so are the names that make a message understood alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import time
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cbor2

from wire.batch import Anchor, Batch, BatchKey, Column, Reading, Series, Slots
from wire.codec import decode, encode
from wire.resolution import Resolution

DEFAULT_CSV = Path(__file__).parents[2] / "shared/meters/load/uci_fr_household_1min_V_I_P_Q.csv"
DEVICE, METER = "apt-0123", "main"
EPOCH, BOOT = bytes.fromhex("8c3f0a5d1e9b7246"), bytes.fromhex("5be1f94d22a7c038")
BOOT_UTC_MS = 1_166_289_000_123
NAMES = ("power_active_total", "power_reactive_total", "voltage_l1_n", "current_l1", "energy_active_import_total")
STEPS = ("1", "1", "0.01", "0.1", "1")
COLUMNS = tuple(Column(name, Resolution.parse(step)) for name, step in zip(NAMES, STEPS, strict=True))
SIZES = (60, 1440)
MINUTE_MS = 60_000

Row = tuple[int | None, ...]  # in steps of COLUMNS


def read_household(path: Path) -> list[Row]:
    rows: list[Row] = []
    energy = 0.0
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            power = line["power_active_w"]
            if not power:
                rows.append((None,) * len(COLUMNS))
                continue
            energy += float(power) / 60
            numbers = (power, line["power_reactive_var"], line["voltage_v"], line["current_a"], energy)
            rows.append(tuple(c.resolution.to_steps(float(n)) for c, n in zip(COLUMNS, numbers, strict=True)))
    return rows


def generate_household(minutes: int = 11 * 1440, seed: int = 1) -> list[Row]:
    """A base load, a fridge, a heater in the evening, cooking at random; voltage sags with the load."""
    chance = random.Random(seed)
    rows: list[Row] = []
    energy, cooking, mains = 0.0, 0, 236.0
    for minute in range(minutes):
        hour = minute / 60 % 24
        cooking = chance.randint(5, 40) if not cooking and chance.random() < 0.004 else max(0, cooking - 1)
        power = 180 + 90 * (minute % 47 < 16) + 2400 * (18 < hour < 22 and minute % 9 < 5) + (1900 if cooking else 0)
        power = 2 * round((power + chance.gauss(0, 4 + power / 150)) / 2)
        reactive = 2 * round((60 * (minute % 47 < 16) + abs(chance.gauss(40, 12))) / 2)
        mains += chance.gauss(0, 0.25) + (236 - mains) * 0.02
        voltage = mains - power / 900
        energy += power / 60
        current = round(power / voltage * 5) * 2
        rows.append((power, reactive, round(voltage * 100), current, round(energy)))
    return rows


def to_batch(rows: Sequence[Row], start: int) -> Batch:
    readings = tuple(Reading(start + i + 1, 777_000 + MINUTE_MS * (start + i), row) for i, row in enumerate(rows))
    series = Series(METER, COLUMNS, readings, Slots(len(rows), len(rows)), b"\x5a\x12\xc4\x07")
    key = BatchKey(DEVICE, EPOCH, start + 1, start + len(rows))
    return Batch(key, BOOT, Anchor(BOOT_UTC_MS, 25), False, (series,))


def plain(batch: Batch) -> list[dict[str, Any]]:
    """One object per reading, as most senders of today write it."""
    series = batch.series[0]
    return [
        {
            "device": DEVICE,
            "meter": METER,
            "ts": _iso(reading.mono_ms),
            **{
                column.measurand: None if steps is None else column.resolution.to_number(steps)
                for column, steps in zip(series.columns, reading.values, strict=True)
            },
        }
        for reading in series.readings
    ]


def _iso(mono_ms: int) -> str:
    moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=BOOT_UTC_MS + mono_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_rows(objects: list[dict[str, Any]]) -> dict[str, Any]:
    names = [name for name in objects[0] if name not in {"device", "meter"}]
    return {"device": DEVICE, "meter": METER, "names": names, "rows": [[o[name] for name in names] for o in objects]}


def as_columns(batch: Batch, objects: list[dict[str, Any]]) -> dict[str, Any]:
    times = [BOOT_UTC_MS + reading.mono_ms for reading in batch.series[0].readings]
    return {"device": DEVICE, "meter": METER, "ts": times, **{name: [o[name] for o in objects] for name in NAMES}}


def as_differences(batch: Batch) -> dict[str, Any]:
    """Columns of whole steps, each the difference from the one before: what JSON can do at its best."""
    readings = batch.series[0].readings
    columns = [
        [BOOT_UTC_MS + reading.mono_ms for reading in readings],
        *zip(*(r.values for r in readings), strict=True),
    ]
    return {
        "device": DEVICE,
        "meter": METER,
        "resolution": [1, *map(float, STEPS)],
        **{name: _differences(column) for name, column in zip(("ts", *NAMES), columns, strict=True)},
    }


def _differences(column: Sequence[int | None]) -> list[int | None]:
    out: list[int | None] = []
    before = 0
    for number in column:
        out.append(None if number is None else number - before)
        before = before if number is None else number
    return out


def to_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def pack(data: bytes) -> bytes:
    return zlib.compress(data, 9)


def formats() -> list[tuple[str, Callable[[Batch], Any], Callable[[Any], Any], Callable[[Any], Any]]]:
    """Name, what is prepared outside the time measured, write, read. Several messages are a list."""

    def rows(batch: Batch) -> Any:
        return as_rows(plain(batch))

    def columns(batch: Batch) -> Any:
        return as_columns(batch, plain(batch))

    def each(write: Callable[[Any], bytes]) -> Callable[[Any], list[bytes]]:
        return lambda objects: [write(one) for one in objects]

    unpack = zlib.decompress
    return [
        ("wattpost wire version 1", lambda batch: batch, encode, decode),
        ("JSON per reading", plain, each(to_json), lambda data: [json.loads(one) for one in data]),
        ("JSON rows", rows, to_json, json.loads),
        ("JSON rows + zlib", rows, lambda v: pack(to_json(v)), lambda data: json.loads(unpack(data))),
        ("JSON columns + zlib", columns, lambda v: pack(to_json(v)), lambda data: json.loads(unpack(data))),
        ("JSON differences + zlib", as_differences, lambda v: pack(to_json(v)), lambda data: json.loads(unpack(data))),
        ("CBOR per reading", plain, each(cbor2.dumps), lambda data: [cbor2.loads(one) for one in data]),
        ("CBOR rows", rows, cbor2.dumps, cbor2.loads),
        ("CBOR rows + zlib", rows, lambda v: pack(cbor2.dumps(v)), lambda data: cbor2.loads(unpack(data))),
        ("CBOR columns + zlib", columns, lambda v: pack(cbor2.dumps(v)), lambda data: cbor2.loads(unpack(data))),
        ("CBOR differences + zlib", as_differences, lambda v: pack(cbor2.dumps(v)), lambda d: cbor2.loads(unpack(d))),
    ]


def measure(batches: list[Batch]) -> list[tuple[str, float, float, float]]:
    """Per format: bytes per value, and CPU milliseconds per batch to write and to read."""
    values = sum(len(batch.series[0].readings) for batch in batches) * (len(COLUMNS) + 1)
    table = []
    for name, prepare, write, read in formats():
        prepared = [prepare(batch) for batch in batches]
        start = time.process_time()
        written = [write(one) for one in prepared]
        between = time.process_time()
        found = [read(data) for data in written]
        end = time.process_time()
        if found != prepared:
            raise SystemExit(f"{name}: what was read is not what was written")
        size = sum(len(data) if isinstance(data, bytes) else sum(map(len, data)) for data in written)
        to_ms = 1000 / len(batches)
        table.append((name, size / values, (between - start) * to_ms, (end - between) * to_ms))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", nargs="?", type=Path, default=DEFAULT_CSV)
    path = parser.parse_args().csv
    if path.exists():
        rows = read_household(path)
        print(f"{len(rows)} minutes of {path.name}, {len(COLUMNS)} measurands and the time")
    else:
        rows = generate_household()
        print(f"{path} is not there: {len(rows)} minutes of a generated household (bytes differ from a real one's)")
    results = [
        measure([to_batch(rows[i : i + size], i) for i in range(0, len(rows) - size + 1, size)]) for size in SIZES
    ]
    print(f"\n{'':26}" + "".join(f"{f'--- {size} rows a batch ---':>34}" for size in SIZES))
    print(f"{'format':26}" + f"{'B/value':>12}{'write ms':>11}{'read ms':>11}" * len(SIZES))
    for lines in zip(*results, strict=True):
        print(f"{lines[0][0]:26}" + "".join(f"{line[1]:12.3f}{line[2]:11.2f}{line[3]:11.2f}" for line in lines))
    print("\nmilliseconds of CPU per batch, of this Python on this machine")


if __name__ == "__main__":
    main()

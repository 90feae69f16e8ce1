"""A second reader, written from docs/wire-format.md alone: it uses nothing of `wire`, and must say the same."""

from __future__ import annotations

import json
import zlib
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from wire.codec import decode

BATCHES = sorted((Path(__file__).parent / "batches_v1").glob("*.wpb"))
TABLE = (Path(__file__).parents[2] / "docs/measurands.md").read_text(encoding="utf-8")
NAMES = {
    int(cells[1]): cells[2].strip(" `")
    for cells in (line.split("|") for line in TABLE.splitlines())
    if len(cells) > 2 and cells[1].strip().isdigit()
}


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]

    def unsigned(self) -> int:
        number = shift = 0
        while True:
            byte = self.take(1)[0]
            number += (byte % 128) << shift
            shift += 7
            if byte < 128:
                return number

    def signed(self) -> int:
        number = self.unsigned()
        return -(number + 1) // 2 if number % 2 else number // 2

    def text(self) -> str:
        return self.take(self.unsigned()).decode()


def read_batch(data: bytes) -> dict[str, Any]:
    assert data[:3] == b"WP\x01"
    assert zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little")
    head = Bytes(data[3:-4])
    flags = head.take(1)[0]
    batch: dict[str, Any] = {"device": head.text(), "epoch": head.take(8), "boot": head.take(8)}
    batch["first"] = head.unsigned()
    batch["last"] = batch["first"] + head.unsigned()
    batch["rev"] = head.unsigned()
    batch["anchor"] = (head.unsigned(), head.unsigned()) if flags & 2 else None
    batch["confirm_wanted"] = bool(flags & 1)
    body = Bytes(zlib.decompress(head.data[head.at :], wbits=-15))
    base = body.unsigned()
    batch["series"] = [read_series(body, batch["first"], base) for _ in range(body.unsigned())]
    batch["events"] = read_events(body, batch["first"], base)
    assert body.at == len(body.data)
    return batch


def read_series(body: Bytes, first: int, base: int) -> dict[str, Any]:
    meter = body.text()
    descriptor = body.take(4) if body.take(1)[0] else None
    slots = (body.unsigned(), body.unsigned(), body.unsigned())
    width, rows = body.unsigned(), body.unsigned()
    columns = []
    for _ in range(width):
        number = body.unsigned()
        columns.append((NAMES[number] if number else body.text(), body.unsigned(), body.signed()))
    heads = [read_head(body, rows) for _ in range(width + 2)]
    numbers, times, *values = [read_planes(body, rows, head) for head in heads]
    flags = [spread(head["flags"], rows) for head in heads[2:]]
    readings = [
        (
            first + numbers[i],
            base + times[i],
            tuple(column[i] for column in values),
            tuple(column[i] for column in flags),
        )
        for i in range(rows)
    ]
    return {"meter": meter, "descriptor": descriptor, "slots": slots, "columns": columns, "readings": readings}


def read_head(body: Bytes, rows: int) -> dict[str, Any]:
    how = body.take(1)[0]
    missing = read_runs(body, flagged=False) if how & 4 else []
    flags = read_runs(body, flagged=True) if how & 8 else []
    present = rows - sum(length for _, length, _ in missing)
    leading = [body.signed() for _ in range(min(how & 3, present))]
    divisor = body.unsigned() if how & 32 else 1
    residuals = 0 if how & 16 else present - len(leading)
    return {
        "missing": missing,
        "flags": flags,
        "present": present,
        "leading": leading,
        "divisor": divisor,
        "coded": residuals,
    }


def read_runs(body: Bytes, *, flagged: bool) -> list[tuple[int, int, int]]:
    runs, place = [], 0
    for _ in range(body.unsigned()):
        start = place + body.unsigned()
        length = 1 + body.unsigned()
        runs.append((start, length, body.unsigned() if flagged else 1))
        place = start + length
    return runs


def spread(runs: list[tuple[int, int, int]], rows: int) -> list[int]:
    out = [0] * rows
    for start, length, mark in runs:
        out[start : start + length] = [mark] * length
    return out


def read_planes(body: Bytes, rows: int, head: dict[str, Any]) -> list[Any]:
    codes = [0] * head["coded"]
    going_on, shift = list(range(head["coded"])), 0
    while going_on:
        plane = body.take(len(going_on))
        for i, byte in zip(going_on, plane, strict=True):
            codes[i] += (byte % 128) << shift
        going_on = [i for i, byte in zip(going_on, plane, strict=True) if byte >= 128]
        shift += 7
    residuals = [(-(code + 1) // 2 if code % 2 else code // 2) * head["divisor"] for code in codes]
    residuals = residuals or [0] * (head["present"] - len(head["leading"]))
    for start in reversed(head["leading"]):
        residuals = list(accumulate([start, *residuals]))
    present = iter(residuals)
    return [None if missing else next(present) for missing in spread(head["missing"], rows)]


def read_events(body: Bytes, seq: int, mono_ms: int) -> list[Any]:
    events = []
    for _ in range(body.unsigned()):
        seq += body.unsigned()
        mono_ms += body.signed()
        events.append((seq, mono_ms, body.text(), body.text() or None, json.loads(body.text() or "{}")))
    return events


@pytest.mark.parametrize("path", BATCHES, ids=lambda path: path.stem)
def test_both_readers_say_the_same(path: Path) -> None:
    data = path.read_bytes()
    ours, theirs = decode(data), read_batch(data)
    key, anchor = ours.key, ours.anchor
    assert theirs == {
        "device": key.device,
        "epoch": key.epoch,
        "boot": ours.boot,
        "first": key.first,
        "last": key.last,
        "rev": key.rev,
        "anchor": anchor and (anchor.boot_utc_ms, anchor.uncertainty_ms),
        "confirm_wanted": ours.confirm_wanted,
        "series": [
            {
                "meter": series.meter,
                "descriptor": series.descriptor,
                "slots": (series.slots.due, series.slots.read, series.slots.explained),
                "columns": [(c.measurand, c.resolution.mantissa, c.resolution.exponent) for c in series.columns],
                "readings": [
                    (r.seq, r.mono_ms, r.values, tuple(r.flags) or (0,) * len(r.values)) for r in series.readings
                ],
            }
            for series in ours.series
        ],
        "events": [(e.seq, e.mono_ms, e.kind, e.meter, e.data) for e in ours.events],
    }

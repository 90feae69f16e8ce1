"""Convert the readings of a batch document to and from CSV: one line per reading, one column per measurand."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from io import StringIO
from typing import Any, TextIO

from wire.errors import WireError

FIXED = ("seq", "meter", "at", "mono_ms", "quality")


def write_csv(document: Mapping[str, Any], out: TextIO) -> None:
    """Measurands in the order of the document; a missing value is empty; quality is `name=flag+flag` with spaces."""
    names = list(dict.fromkeys(name for meter in document["meters"] for name in meter["resolution"]))
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["seq", "meter", "at", "mono_ms", *names, "quality"])
    for reading in document["readings"]:
        values = [reading["values"].get(name) for name in names]
        quality = " ".join(f"{name}={'+'.join(flags)}" for name, flags in reading["quality"].items())
        writer.writerow([reading["seq"], reading["meter"], reading["at"], reading["mono_ms"], *values, quality])


def read_csv(text: str, device: str, epoch: str) -> dict[str, Any]:
    """A batch document from CSV in the form of `write_csv`. `meter` and `at` are required; mono_ms is ignored."""
    rows = csv.DictReader(StringIO(text), strict=True)
    try:
        absent = [name for name in ("meter", "at") if name not in (rows.fieldnames or ())]
        if absent:
            raise WireError(f"line 1: no column {' and no column '.join(absent)}")
        readings = [_reading(row, rows.line_num) for row in rows]
    except csv.Error as error:
        raise WireError(f"line {rows.line_num + 1}: {error}") from error
    if not readings:
        raise WireError("no reading in it")
    return {"device": device, "epoch": epoch, "readings": readings}


def _reading(row: dict[str | None, Any], line: int) -> dict[str, Any]:
    if None in row:
        raise WireError(f"line {line}: more fields than the first line names")
    missing = [name for name in ("meter", "at") if not row.get(name)]
    if missing:
        raise WireError(f"line {line}: {' and '.join(missing)} missing")
    values = {str(name): text or None for name, text in row.items() if name not in FIXED}
    reading = {"meter": row["meter"], "at": row["at"], "values": values, "quality": _quality(row.get("quality"), line)}
    if row.get("seq"):
        reading["seq"] = _seq(row["seq"], line)
    return reading


def _seq(text: str, line: int) -> int:
    if not text.isascii() or not text.isdigit():
        raise WireError(f"line {line}: seq {text[:60]!r} is not a whole number")
    return int(text[:20])


def _quality(text: str | None, line: int) -> dict[str, list[str]]:
    quality = {}
    for item in (text or "").split():
        name, equals, flags = item.partition("=")
        if not equals:
            raise WireError(f"line {line}: quality {item[:60]!r} is not measurand=flag+flag")
        quality[name] = flags.split("+")
    return quality

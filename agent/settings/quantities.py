"""Durations and sizes as people write them: `"500ms"`, `"5min"`, `"512MB"`."""

from __future__ import annotations

import re

DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)?(ms|s|min|h|d)$"
SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)?(B|kB|KB|MB|GB|KiB|MiB|GiB)$"

_MS_PER_UNIT = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_BYTES_PER_UNIT = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]+)")


def parse_duration_ms(text: str) -> int:
    """`"1.5s"` -> 1500; raises `ValueError` for anything that is not a number with a unit of `DURATION_PATTERN`."""
    return _parse(text, _MS_PER_UNIT)


def parse_size_bytes(text: str) -> int:
    """`"512MB"` -> 512000000; raises `ValueError` for anything that is not a number with a unit of `SIZE_PATTERN`."""
    return _parse(text, _BYTES_PER_UNIT)


def format_duration(duration_ms: int) -> str:
    """300000 -> `"5min"`: the largest unit that divides it."""
    return _format(duration_ms, _MS_PER_UNIT, "0s")


def format_size(size_bytes: int) -> str:
    """512000000 -> `"512MB"`: the largest unit that divides it."""
    return _format(size_bytes, {unit: _BYTES_PER_UNIT[unit] for unit in ("B", "kB", "MB", "GB")}, "0B")


def _parse(text: str, units: dict[str, int]) -> int:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in units:
        raise ValueError(f"{text!r} is not a number followed by one of {', '.join(units)}")
    return round(float(match[1]) * units[match[2]])


def _format(quantity: int, units: dict[str, int], zero: str) -> str:
    if quantity == 0:
        return zero
    unit, factor = max(((unit, factor) for unit, factor in units.items() if quantity % factor == 0), key=lambda u: u[1])
    return f"{quantity // factor}{unit}"

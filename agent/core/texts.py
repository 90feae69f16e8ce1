"""Times, sizes and counts as people read them. Pure."""

from __future__ import annotations

from agent.core.time_units import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from wire.measurand import BY_NAME

SIZE_UNITS = ("B", "kB", "MB", "GB", "TB")


def count(number: int, one: str, many: str = "") -> str:
    """(1, "batch", "batches") -> `1 batch`; `many` is `one` with an s unless given."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def span(duration_ms: int) -> str:
    """34_000 -> `34 s`: two units at most, each no finer than is worth knowing at that age."""
    if duration_ms < 10 * SECOND_MS:
        return f"{max(duration_ms, 0) / SECOND_MS:.1f} s"
    if duration_ms < 2 * MINUTE_MS:
        return f"{duration_ms // SECOND_MS} s"
    if duration_ms < 2 * HOUR_MS:
        return f"{duration_ms // MINUTE_MS} min"
    if duration_ms < 2 * DAY_MS:
        return f"{duration_ms // HOUR_MS} h {duration_ms % HOUR_MS // MINUTE_MS} min"
    return f"{duration_ms // DAY_MS} d {duration_ms % DAY_MS // HOUR_MS} h"


def size(size_bytes: int) -> str:
    """7680 -> `7.7 kB`, 512_000_000 -> `512 MB`."""
    number, unit = float(size_bytes), 0
    while number >= 999.5 and unit < len(SIZE_UNITS) - 1:  # noqa: PLR2004 - what would print as 1000
        number, unit = number / 1000, unit + 1
    digits = 1 if unit and number < 99.95 else 0  # noqa: PLR2004 - what would print as 100.0
    return f"{number:.{digits}f} {SIZE_UNITS[unit]}".replace(".0 ", " ")


def cause_of(error: OSError | UnicodeDecodeError) -> str:
    """Why a file cannot be read or written, without number and name, which stand beside it."""
    if isinstance(error, UnicodeDecodeError):
        return f"not text in UTF-8 (byte {error.start + 1})"
    return error.strerror or str(error)


def unit_of(measurand: str) -> str:
    """What stands after a value; nothing for factors and for measurands that are not in the vocabulary."""
    known = BY_NAME.get(measurand)
    return "" if known is None or known.unit == "1" else known.unit

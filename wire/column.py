"""One column of a series: differences of order 0, 1 or 2, divided by what they have in common.

A column is a head (how it is coded, what is missing or flagged, where it starts) and residuals in byte planes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from math import gcd
from operator import sub

from wire.errors import WireError
from wire.limits import FLAGS_MAX, INT64_MAX, INT64_MIN
from wire.varint import Reader, pack_planes, svarint, uvarint

ORDER_MASK = 3
ORDER_MAX = 2
HAS_MISSING = 4
HAS_FLAGS = 8
ALL_ZERO = 16
HAS_DIVISOR = 32
SPAN_MAX = 1 << 61  # wider columns are not differenced, so that every difference fits 64 bits
_BITS_MAX = ORDER_MASK | HAS_MISSING | HAS_FLAGS | ALL_ZERO | HAS_DIVISOR


def encode_column(values: Sequence[int | None], flags: Sequence[int] = (), what: str = "column") -> tuple[bytes, bytes]:
    """Head and planes of a column; `flags` is empty or one per value."""
    bits = 0
    sparse = b""
    present: Sequence[int]
    if None in values:
        bits |= HAS_MISSING
        sparse += _pack_runs((int(value is None) for value in values), with_value=False)
        present = [value for value in values if value is not None]
    else:
        present = values  # type: ignore[assignment]  # no None in it
    if any(flags):
        if not 0 <= min(flags) <= max(flags) <= FLAGS_MAX:
            raise WireError(f"{what}: quality flags are not in 0..{FLAGS_MAX}")
        bits |= HAS_FLAGS
        sparse += _pack_runs(flags, with_value=True)
    if not present:
        return bytes([bits | ALL_ZERO]) + sparse, b""
    low, high = min(present), max(present)
    if low < INT64_MIN or high > INT64_MAX:
        raise WireError(f"{what}: a value does not fit 64 bits")
    order, leading, residuals = _difference(present, low, high)
    tail = b"".join(map(svarint, leading))
    common = gcd(*residuals)
    if common == 0:
        return bytes([bits | ALL_ZERO | order]) + sparse + tail, b""
    packed = uvarint(common)
    if common <= INT64_MAX and len(residuals) * (common.bit_length() - 1) > 8 * len(packed):
        bits |= HAS_DIVISOR
        tail += packed
        residuals = [residual // common for residual in residuals]
    return bytes([bits | order]) + sparse + tail, pack_planes([n + n if n >= 0 else -n - n - 1 for n in residuals])


def _difference(values: Sequence[int], low: int, high: int) -> tuple[int, Sequence[int], Sequence[int]]:
    """Order, leading values and residuals of the order whose numbers have the fewest bits in all."""
    if low == high:
        return 1, values[:1], ()
    if high - low > SPAN_MAX:
        return 0, (), values
    first = list(map(sub, islice(values, 1, None), values))
    second = list(map(sub, islice(first, 1, None), first))
    start_bits = values[0].bit_length()
    costs = (
        sum(map(int.bit_length, values)),
        start_bits + sum(map(int.bit_length, first)),
        start_bits + first[0].bit_length() + sum(map(int.bit_length, second)),
    )
    order = costs.index(min(costs))
    if order == 0:
        return 0, (), values
    if order == 1:
        return 1, values[:1], first
    return ORDER_MAX, (values[0], first[0]), second


def _pack_runs(marks: Iterable[int], *, with_value: bool) -> bytes:
    """Runs of equal non-zero marks: their number; each the unmarked places before it, its length less 1, the mark."""
    runs: list[tuple[int, int, int]] = []
    gap = length = current = 0
    for mark in (*marks, 0):
        if mark == current:
            length += 1
            continue
        if current:
            runs.append((gap, length - 1, current))
            gap = 0
        else:
            gap = length
        current, length = mark, 1
    out = bytearray(uvarint(len(runs)))
    for gap, more, mark in runs:
        out += uvarint(gap) + uvarint(more)
        if with_value:
            out += uvarint(mark)
    return bytes(out)


@dataclass(frozen=True, slots=True)
class ColumnHead:
    """A head that was read: all that `read_values` needs beside the planes."""

    what: str
    rows: int
    order: int
    all_zero: bool
    missing: Sequence[tuple[int, int, int]]  # start, end, mark
    flags: Sequence[tuple[int, int, int]]
    leading: Sequence[int]
    divisor: int

    @property
    def present(self) -> int:
        return self.rows - sum(end - start for start, end, _ in self.missing)


def read_head(reader: Reader, rows: int, what: str) -> ColumnHead:
    """The head of a column of `rows` rows; `what` names the column in errors."""
    bits = reader.byte(what)
    order = bits & ORDER_MASK
    if bits > _BITS_MAX or order > ORDER_MAX or (bits & ALL_ZERO and bits & HAS_DIVISOR):
        raise WireError(f"{what}: head {bits:#04x} is not known to version 1")
    missing = _read_runs(reader, rows, what, with_value=False) if bits & HAS_MISSING else []
    flags = _read_runs(reader, rows, what, with_value=True) if bits & HAS_FLAGS else []
    if (bits & HAS_MISSING and not missing) or (bits & HAS_FLAGS and not flags):
        raise WireError(f"{what}: head {bits:#04x} announces runs, and there are none")
    present = rows - sum(end - start for start, end, _ in missing)
    leading = [reader.svarint(what) for _ in range(min(order, present))]
    divisor = reader.uvarint(what, INT64_MAX) if bits & HAS_DIVISOR else 1
    if divisor == 0:
        raise WireError(f"{what}: divisor 0")
    return ColumnHead(what, rows, order, bool(bits & ALL_ZERO), missing, flags, leading, divisor)


def _read_runs(reader: Reader, rows: int, what: str, *, with_value: bool) -> list[tuple[int, int, int]]:
    runs = []
    place = 0
    for _ in range(reader.uvarint(f"runs of {what}", rows)):
        start = place + reader.uvarint(f"runs of {what}", rows)
        place = start + 1 + reader.uvarint(f"runs of {what}", rows)
        mark = reader.uvarint(f"flags of {what}", FLAGS_MAX) if with_value else 1
        if place > rows:
            raise WireError(f"{what}: a run ends at row {place} of {rows}")
        if mark == 0:
            raise WireError(f"{what}: a run of flags says 0")
        runs.append((start, place, mark))
    return runs


def read_values(reader: Reader, head: ColumnHead) -> list[int | None]:
    """The values of a column, None where missing; takes the planes from `reader`."""
    count = head.present - len(head.leading)
    if head.all_zero:
        residuals = [0] * count
    else:
        zigzagged = reader.planes(count, head.what)
        divisor = head.divisor
        residuals = [((z >> 1) ^ -(z & 1)) * divisor for z in zigzagged]
        _check_int64(residuals, head.what)
    values = residuals
    for start in reversed(head.leading):
        values = list(accumulate(values, initial=start))
        _check_int64(values, head.what)
    if not head.missing:
        return values  # type: ignore[return-value]  # a list of int, not aliased
    out: list[int | None] = []
    source = iter(values)
    for start, end, _ in head.missing:
        out.extend(islice(source, start - len(out)))
        out.extend([None] * (end - start))
    out.extend(source)
    return out


def _check_int64(numbers: Sequence[int], what: str) -> None:
    if numbers and (min(numbers) < INT64_MIN or max(numbers) > INT64_MAX):
        raise WireError(f"{what}: a number does not fit 64 bits")

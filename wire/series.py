"""The readings of one meter as bytes: names, slots, column heads, then the planes of all columns."""

from __future__ import annotations

from collections.abc import Sequence

from wire.batch import DESCRIPTOR_BYTES, Column, Reading, Series, Slots
from wire.column import ColumnHead, encode_column, read_head, read_values
from wire.errors import WireError
from wire.limits import (
    COLUMNS_MAX,
    COUNT_MAX,
    METER_BYTES_MAX,
    READINGS_MAX,
    VALUES_MAX,
    check_measurand,
    check_meter,
    check_range,
)
from wire.measurand import BY_NAME, BY_NUMBER
from wire.resolution import EXPONENT_MIN, MANTISSA_MAX, Resolution
from wire.varint import Reader, svarint, uvarint

HAS_DESCRIPTOR = 1
MEASURAND_CHARS_MAX = 64


class Budget:
    """What a batch may still hold: the limits count over all its series."""

    __slots__ = ("readings", "values")

    def __init__(self) -> None:
        self.readings = READINGS_MAX
        self.values = VALUES_MAX

    def spend(self, meter: str, rows: int, columns: int) -> None:
        self.readings -= rows
        self.values -= rows * columns
        if self.readings < 0:
            raise WireError(f"meter {meter!r}: {rows} readings bring the batch over {READINGS_MAX}")
        if self.values < 0:
            raise WireError(f"meter {meter!r}: {rows} x {columns} values bring the batch over {VALUES_MAX}")


def encode_series(series: Series, first: int, base_ms: int, budget: Budget) -> list[bytes]:
    """The head of a series and the planes of each column, to be joined."""
    readings, columns = series.readings, series.columns
    name = check_meter(series.meter).encode()
    check_range(f"columns of meter {series.meter!r}", len(columns), 0, COLUMNS_MAX)
    _check_distinct(series.meter, columns)
    budget.spend(series.meter, len(readings), len(columns))
    head = bytearray(uvarint(len(name)) + name)
    head += _encode_descriptor(series.descriptor)
    for count in (series.slots.due, series.slots.read, series.slots.explained):
        head += uvarint(check_range(f"slots of meter {series.meter!r}", count, 0, COUNT_MAX))
    head += uvarint(len(columns)) + uvarint(len(readings))
    for column in columns:
        head += _encode_column_name(column)
    planes = []
    for what, values, flags in _columns_of(series, first, base_ms):
        column_head, column_planes = encode_column(values, flags, what)
        head += column_head
        planes.append(column_planes)
    return [bytes(head), *planes]


def _columns_of(series: Series, first: int, base_ms: int) -> list[tuple[str, Sequence[int | None], Sequence[int]]]:
    """Record numbers, times and measurands, each as one column with its name and flags."""
    readings, width = series.readings, len(series.columns)
    if any(len(reading.values) != width for reading in readings):
        raise WireError(f"meter {series.meter!r}: a reading has not one value for each of the {width} columns")
    flagged = any(reading.flags for reading in readings)
    if flagged and any(len(reading.flags) not in {0, width} for reading in readings):
        raise WireError(f"meter {series.meter!r}: a reading has not one quality for each of the {width} columns")
    good = (0,) * width
    values = list(zip(*(reading.values for reading in readings), strict=True)) or [()] * width
    flags = list(zip(*(reading.flags or good for reading in readings), strict=True)) if flagged else [()] * width
    prefix = f"meter {series.meter!r}: "
    return [
        (prefix + "seq", [reading.seq - first for reading in readings], ()),
        (prefix + "mono_ms", [reading.mono_ms - base_ms for reading in readings], ()),
        *((prefix + column.measurand, values[i], flags[i]) for i, column in enumerate(series.columns)),
    ]


def _check_distinct(meter: str, columns: Sequence[Column]) -> None:
    if len({column.measurand for column in columns}) != len(columns):
        raise WireError(f"meter {meter!r}: two columns have the same measurand")


def _encode_descriptor(descriptor: bytes | None) -> bytes:
    if descriptor is None:
        return bytes([0])
    if len(descriptor) != DESCRIPTOR_BYTES:
        raise WireError(f"descriptor has {len(descriptor)} bytes instead of {DESCRIPTOR_BYTES}")
    return bytes([HAS_DESCRIPTOR]) + descriptor


def _encode_column_name(column: Column) -> bytes:
    known = BY_NAME.get(column.measurand)
    if known:
        name = uvarint(known.number)
    else:
        text = check_measurand(column.measurand).encode()
        name = bytes([0]) + uvarint(len(text)) + text
    return name + uvarint(column.resolution.mantissa) + svarint(column.resolution.exponent)


def read_series(reader: Reader, first: int, base_ms: int, budget: Budget) -> Series:
    """A series as `encode_series` wrote it; the caller checks its numbers and times."""
    meter = check_meter(reader.text("meter name", METER_BYTES_MAX))
    bits = reader.byte("series flags")
    if bits & ~HAS_DESCRIPTOR:
        raise WireError(f"meter {meter!r}: series flags {bits:#04x} are not known to version 1")
    descriptor = reader.take(DESCRIPTOR_BYTES, "descriptor") if bits & HAS_DESCRIPTOR else None
    slots = Slots(*(reader.uvarint("slots", COUNT_MAX) for _ in range(3)))
    width = reader.uvarint("number of columns", COLUMNS_MAX)
    rows = reader.uvarint("number of readings", READINGS_MAX)
    budget.spend(meter, rows, width)
    columns = tuple(_read_column_name(reader) for _ in range(width))
    _check_distinct(meter, columns)
    names = ["seq", "mono_ms", *(column.measurand for column in columns)]
    heads = [read_head(reader, rows, f"meter {meter!r}: {name}") for name in names]
    if heads[0].missing or heads[0].flags or heads[1].missing or heads[1].flags:
        raise WireError(f"meter {meter!r}: record numbers and times cannot be missing or flagged")
    numbers, times, *values = [read_values(reader, head) for head in heads]
    readings = _to_readings(
        [first + n for n in numbers if n is not None],
        [base_ms + t for t in times if t is not None],
        list(zip(*values, strict=True)) if width else [()] * rows,
        _flag_rows(heads[2:]),
    )
    return Series(meter, columns, readings, slots, descriptor)


def _read_column_name(reader: Reader) -> Column:
    number = reader.uvarint("measurand number")
    if number == 0:
        name = check_measurand(reader.text("measurand name", MEASURAND_CHARS_MAX))
    elif number in BY_NUMBER:
        name = BY_NUMBER[number].name
    else:
        raise WireError(f"measurand number {number} is not registered in this version of the vocabulary")
    mantissa = reader.uvarint("resolution", MANTISSA_MAX)
    exponent = reader.svarint("resolution")
    check_range("resolution exponent", exponent, EXPONENT_MIN, -EXPONENT_MIN)
    return Column(name, Resolution(mantissa, exponent))


def _flag_rows(heads: Sequence[ColumnHead]) -> dict[int, list[int]]:
    """Row -> flags of all columns, for rows that have any."""
    marked: dict[int, list[int]] = {}
    for i, head in enumerate(heads):
        for start, end, mark in head.flags:
            for row in range(start, end):
                marked.setdefault(row, [0] * len(heads))[i] = mark
    return marked


def _to_readings(
    numbers: Sequence[int],
    times: Sequence[int],
    values: Sequence[tuple[int | None, ...]],
    flags: dict[int, list[int]],
) -> tuple[Reading, ...]:
    if not flags:
        return tuple(map(Reading, numbers, times, values))
    return tuple(
        Reading(seq, mono_ms, row, tuple(flags.get(i, ())))
        for i, (seq, mono_ms, row) in enumerate(zip(numbers, times, values, strict=True))
    )

"""What a batch may hold at most, and how its names may look: checked when writing and when reading."""

from __future__ import annotations

import re

from wire.errors import WireError

BATCH_BYTES_MAX = 1 << 20
BODY_BYTES_MAX = 4 << 20  # inflated
SERIES_MAX = 256
COLUMNS_MAX = 256  # of one series
READINGS_MAX = 1 << 16  # of a batch
VALUES_MAX = 1 << 18  # of a batch
EVENTS_MAX = 4096
EVENT_BYTES_MAX = 512 << 10  # JSON of all events of a batch
EVENT_DEPTH_MAX = 16
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
SEQ_MAX = INT64_MAX
REV_MAX = (1 << 31) - 1
TIME_MS_MAX = (1 << 46) - 1  # 2,229 years: the sum of two is still a date that ISO 8601 can write
COUNT_MAX = (1 << 31) - 1  # slots
FLAGS_MAX = (1 << 31) - 1
DEVICE_CHARS_MAX = 128
METER_BYTES_MAX = 64
BITS_SHOWN_MAX = 128  # of a wrong number, in the error

_DEVICE = re.compile(r"[A-Za-z0-9:_-]{1,128}")
_METER = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_MEASURAND = re.compile(r"[a-z0-9_]{1,64}")
_KIND = re.compile(r"[a-z][a-z0-9_]{0,63}")


def check_device(name: str) -> str:
    """The name itself, when AWS IoT accepts it as a thing name."""
    if not _DEVICE.fullmatch(name):
        raise WireError(f"device name {name[:140]!r} is not 1 to {DEVICE_CHARS_MAX} of A-Z a-z 0-9 : _ -")
    return name


def check_meter(name: str) -> str:
    """The name itself, when it can name a meter."""
    if not _METER.fullmatch(name) or len(name.encode()) > METER_BYTES_MAX:
        raise WireError(f"meter name {name[:70]!r} is not 1 to {METER_BYTES_MAX} bytes without control characters")
    return name


def check_measurand(name: str) -> str:
    """The name itself, when it can name a measurand, registered or not."""
    if not _MEASURAND.fullmatch(name):
        raise WireError(f"measurand name {name[:70]!r} is not 1 to 64 of a-z 0-9 _")
    return name


def check_kind(kind: str) -> str:
    """The kind itself, when it can name a kind of event."""
    if not _KIND.fullmatch(kind):
        raise WireError(f"event kind {kind[:70]!r} is not a letter and up to 63 of a-z 0-9 _")
    return kind


def check_range(what: str, number: int, least: int, most: int) -> int:
    """The number itself, when within `least..most`."""
    if not least <= number <= most:
        raise WireError(f"{what} {_short(number)} is not in {least}..{most}")
    return number


def _short(number: int) -> str:
    return str(number) if number.bit_length() <= BITS_SHOWN_MAX else f"of {number.bit_length()} bits"

"""UTC as text: ISO 8601 with milliseconds and Z, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from wire.errors import WireError

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def format_utc(utc_ms: int) -> str:
    """Unix milliseconds as `2026-01-31T12:00:00.000Z`."""
    return (_UNIX_EPOCH + timedelta(milliseconds=utc_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_utc(text: str) -> int:
    """Unix milliseconds of ISO 8601 with Z or an offset; parts of a millisecond are cut off."""
    try:
        moment = datetime.fromisoformat(text.upper())  # RFC 3339 allows a small t and z
    except ValueError as error:
        raise WireError(f"{text[:60]!r} is not ISO 8601, such as 2026-01-31T12:00:00.000Z") from error
    if moment.tzinfo is None:
        raise WireError(f"{text[:60]!r} has no Z and no offset from UTC")
    return (moment - _UNIX_EPOCH) // timedelta(milliseconds=1)

"""Durations and sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.settings.quantities import format_duration, format_size, parse_duration_ms, parse_size_bytes


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [
        ("500ms", 500),
        ("10s", 10_000),
        ("1.5s", 1500),
        ("5min", 300_000),
        ("1h", 3_600_000),
        ("1d", 86_400_000),
        ("0s", 0),
    ],
)
def test_durations(text: str, duration_ms: int) -> None:
    assert parse_duration_ms(text) == duration_ms


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("512MB", 512_000_000), ("1KiB", 1024), ("2GB", 2_000_000_000), ("100B", 100)]
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "10", "s", "10 s", "-1s", "10m", "10S", "1e3s", "\u0661s", "10s\n"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="followed by one of"):
        parse_duration_ms(text)


@given(st.integers(0, 10**12))
def test_what_is_printed_is_read_back(number: int) -> None:
    assert parse_duration_ms(format_duration(number)) == number
    assert parse_size_bytes(format_size(number)) == number

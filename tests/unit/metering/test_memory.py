"""What is remembered of meters, and how old it is when it is read again."""

from __future__ import annotations

import pytest

from agent.core.metering.meter_memory import UNKNOWN_MS, Memory, MeterMemory, pack_memory, remembered, unpack_memory
from wire.batch import Anchor, Column
from wire.resolution import Resolution

BOOT, LATER = b"boot---1", b"boot---2"
ENERGY = Column("energy_active_import_total", Resolution(1, 2))
COUNTERS = {ENERGY: (50_000, 90_000)}
HOUR_MS = 3_600_000
UTC_MS = 1_790_000_000_000


def memory(boot_utc_ms: int | None = UTC_MS) -> Memory:
    meter = MeterMemory("eastron-sdm630 ct 1", "1234", remembered(COUNTERS))
    return Memory("apt-1", BOOT.hex(), boot_utc_ms, 500, {"main": meter})


def test_it_comes_back_as_it_was() -> None:
    found = unpack_memory(pack_memory(memory()), "apt-1")
    assert found == memory()
    assert found is not None
    assert found.meters["main"].known(0) == COUNTERS
    assert found.meters["main"].known(-100_000) == {ENERGY: (50_000, -10_000)}


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"\xff\x00",
        b"[]",
        b'{"box": "apt-1"}',
        pack_memory(memory()).replace(b'"1E+2"', b'"-3"'),
        pack_memory(memory()).replace(b"50000", b'"many"'),
    ],
)
def test_what_cannot_be_read_is_as_good_as_none(body: bytes | None) -> None:
    assert unpack_memory(body, "apt-1") is None


def test_another_box_has_other_meters_of_the_same_name() -> None:
    assert unpack_memory(pack_memory(memory()), "apt-2") is None


def test_in_the_same_boot_the_clock_is_the_same() -> None:
    assert memory().shift_ms(BOOT, None, 99_999_999) == 0


def test_across_boots_utc_tells_how_long_it_was_within_what_both_clocks_were_sure_of() -> None:
    """The later boot began an hour after the earlier one."""
    assert memory().shift_ms(LATER, Anchor(UTC_MS + HOUR_MS, 250), 5_000) == -HOUR_MS - 750


@pytest.mark.parametrize(
    ("before_ms", "anchor"),
    [
        pytest.param(None, Anchor(UTC_MS, 1), id="unknown before"),
        pytest.param(UTC_MS, None, id="unknown now"),
        pytest.param(UTC_MS, Anchor(UTC_MS - 30 * HOUR_MS, 1), id="a clock that was set back"),
    ],
)
def test_where_utc_does_not_tell_it_may_have_been_a_month(before_ms: int | None, anchor: Anchor | None) -> None:
    found = memory(before_ms)
    shift_ms = found.shift_ms(LATER, anchor, 5_000)
    assert found.meters["main"].known(shift_ms) == {ENERGY: (50_000, 5_000 - UNKNOWN_MS)}


def test_nothing_remembered_has_no_age() -> None:
    assert Memory("apt-1", BOOT.hex(), None, 0, {}).shift_ms(LATER, None, 5_000) == 5_000 - UNKNOWN_MS

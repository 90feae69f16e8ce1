"""The read planner: golden cases, named after what they pin."""

from __future__ import annotations

import pytest

from drivers.modbus.block_plan import DEFAULT_COST, Block, WireCost, plan_reads
from drivers.profile.files import find_profile
from drivers.profile.model import DataType, ReadLimits, Register
from wire.resolution import Resolution

TCP = WireCost.tcp()
STEP = Resolution(1, 0)


def registers(*addresses: int, function_code: int = 4, data_type: DataType = "float32") -> list[Register]:
    return [Register("frequency", function_code, address, data_type, STEP) for address in addresses]


def spans(blocks: tuple[Block, ...]) -> list[tuple[int, int]]:
    return [(block.address, block.count) for block in blocks]


@pytest.mark.parametrize(
    ("addresses", "limits", "cost", "expected"),
    [
        ((), ReadLimits(), TCP, []),
        ((0,), ReadLimits(), TCP, [(0, 2)]),
        ((4, 0, 2), ReadLimits(), TCP, [(0, 6)]),
        # Another request costs 13 characters, two silences and 40 ms: as much as 29 registers at 9600 8N1.
        ((0, 30), ReadLimits(), DEFAULT_COST, [(0, 32)]),
        ((0, 32), ReadLimits(), DEFAULT_COST, [(0, 2), (32, 2)]),
        # At 115200 a character costs little beside the meter's answer time.
        ((0, 100), ReadLimits(), WireCost.serial(115200), [(0, 102)]),
        ((0, 124), ReadLimits(), TCP, [(0, 2), (124, 2)]),
        ((0, 123), ReadLimits(), TCP, [(0, 125)]),
        ((0, 2, 4), ReadLimits(registers_max=4), TCP, [(0, 4), (4, 2)]),
        ((1,), ReadLimits(even=True), TCP, [(0, 4)]),
        ((0, 8), ReadLimits(gaps=False), TCP, [(0, 2), (8, 2)]),
        ((0, 2, 8), ReadLimits(gaps=False), TCP, [(0, 4), (8, 2)]),
        ((0, 8), ReadLimits(forbidden=((5, 5),)), TCP, [(0, 2), (8, 2)]),
        ((0, 8), ReadLimits(forbidden=((10, 12),)), TCP, [(0, 10)]),
        # A gap is read along even though a forbidden register is near.
        ((0, 4, 9), ReadLimits(forbidden=((7, 8),)), TCP, [(0, 6), (9, 2)]),
    ],
)
def test_golden(
    addresses: tuple[int, ...], limits: ReadLimits, cost: WireCost, expected: list[tuple[int, int]]
) -> None:
    assert spans(plan_reads(registers(*addresses), limits, cost)) == expected


def test_functions_are_never_mixed() -> None:
    both = [*registers(0), *registers(2, function_code=3)]
    assert plan_reads(both, ReadLimits(), TCP) == (Block(3, 2, 2), Block(4, 0, 2))


def test_splitting_where_the_limit_cuts_is_chosen_for_least_time() -> None:
    """Greedy filling from the left would read 0..59 and 60..61; the gap in the middle is the better place."""
    blocks = plan_reads(registers(0, 2, 40, 58, 60), ReadLimits(registers_max=60), WireCost.serial(9600))
    assert spans(blocks) == [(0, 4), (40, 22)]


def test_a_value_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ValueError, match="frequency at 5 cannot be read"):
        plan_reads(registers(5), ReadLimits(registers_max=2, even=True), TCP)
    with pytest.raises(ValueError, match="frequency at 0 cannot be read"):
        plan_reads(registers(0), ReadLimits(registers_max=1), TCP)


def test_overlapping_registers_share_a_block() -> None:
    inside = [*registers(0, data_type="uint64"), *registers(1, data_type="uint16")]
    assert spans(plan_reads(inside, ReadLimits(gaps=False), TCP)) == [(0, 4)]


def test_sdm630_on_tcp_is_one_request_and_within_the_fallback_two() -> None:
    profile = find_profile("eastron-sdm630")
    assert profile.fallback is not None
    assert spans(plan_reads(profile.select(), profile.limits, TCP)) == [(0, 78)]
    assert len(plan_reads(profile.select(), profile.fallback, TCP)) == 2


@pytest.mark.parametrize(
    ("cost", "count", "expected_ms"),
    [  # ideal reads of the published wire-time table: 9600 8N1 2 registers 25.0 ms, 80 registers 187.5 ms ...
        (WireCost.serial(9600, meter_ms=0), 2, 25.0),
        (WireCost.serial(9600, meter_ms=0), 80, 187.5),
        (WireCost.serial(9600, "E", meter_ms=0), 60, 160.4),
        (WireCost.serial(9600, "N", 2, meter_ms=0), 60, 160.4),
        (WireCost.serial(115200, meter_ms=0), 2, 5.0),
        (WireCost.tcp(40), 80, 40.0),
    ],
)
def test_the_time_of_a_request(cost: WireCost, count: int, expected_ms: float) -> None:
    assert cost.block_ms(count) == pytest.approx(expected_ms, abs=0.06)

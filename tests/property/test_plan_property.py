"""The read planner on any registers and limits: every value whole, nothing forbidden, never dearer than naive."""

from __future__ import annotations

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from drivers.modbus.block_plan import Block, Taught, WireCost, plan_reads
from drivers.profile.model import DATA_TYPES, WORDS, ReadLimits, Register
from wire.resolution import Resolution

COSTS = st.one_of(
    st.just(WireCost.tcp()),
    st.builds(WireCost.serial, st.sampled_from((300, 2400, 9600, 19200, 115200)), st.sampled_from(("N", "E"))),
)


@st.composite
def register_sets(draw: st.DrawFn) -> list[Register]:
    """Registers that do not overlap, in any order, of both functions."""
    found = []
    for function_code in (3, 4):
        address = draw(st.integers(0, 60_000))
        for data_type in draw(st.lists(st.sampled_from(DATA_TYPES), max_size=12)):
            address += draw(st.one_of(st.just(0), st.integers(0, 150)))
            found.append(Register("frequency", function_code, address, data_type, Resolution(1, 0)))
            address += WORDS[data_type]
    return draw(st.permutations(found))


@st.composite
def limit_sets(draw: st.DrawFn) -> ReadLimits:
    starts = draw(st.lists(st.integers(0, 62_000), max_size=4))
    forbidden = tuple((start, start + draw(st.integers(0, 20))) for start in starts)
    return ReadLimits(draw(st.integers(6, 125)), draw(st.booleans()), draw(st.booleans()), forbidden)


def alone(register: Register, limits: ReadLimits) -> Block:
    start, end = register.address, register.end
    if limits.even:
        start, end = start & ~1, end + (end & 1)
    return Block(register.function_code, start, end - start)


def allowed(block: Block, limits: ReadLimits) -> bool:
    return block.count <= limits.registers_max and not any(
        block.address <= last and first < block.end for first, last in limits.forbidden
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the plans take time, not the examples
@given(register_sets(), limit_sets(), COSTS)
def test_every_plan_keeps_the_limits_and_loses_no_value(
    registers: list[Register], limits: ReadLimits, cost: WireCost
) -> None:
    singles = [alone(register, limits) for register in registers]
    assume(all(allowed(block, limits) for block in singles))
    blocks = plan_reads(registers, limits, cost)
    for register in registers:
        assert [block.holds(register) for block in blocks].count(True) >= 1
    for block in blocks:
        assert allowed(block, limits)
        assert any(block.holds(register) for register in registers)
        if limits.even:
            assert block.address % 2 == block.count % 2 == 0
    assert sum(cost.block_ms(block.count) for block in blocks) <= sum(
        cost.block_ms(block.count) for block in singles
    ) + 1e-3 * len(singles)
    if not limits.even:  # odd neighbours may share the register that rounding adds
        taken = [(block.function_code, at) for block in blocks for at in range(block.address, block.end)]
        assert len(taken) == len(set(taken))
        for register in registers:
            assert [block.holds(register) for block in blocks].count(True) == 1
    if not (limits.gaps or limits.even):
        listed = {(each.function_code, at) for each in registers for at in range(each.address, each.end)}
        assert all((block.function_code, at) in listed for block in blocks for at in range(block.address, block.end))


@settings(deadline=None)
@given(register_sets(), COSTS)
def test_the_plan_does_not_depend_on_the_order(registers: list[Register], cost: WireCost) -> None:
    assert plan_reads(registers, ReadLimits(), cost) == plan_reads(registers[::-1], ReadLimits(), cost)


@settings(deadline=None)
@given(register_sets(), COSTS, st.data())
def test_what_a_meter_has_taught_is_kept(registers: list[Register], cost: WireCost, data: st.DataObject) -> None:
    """No block over a wall, none that touches what was refused, and every other value whole."""
    assume(len(registers) > 1)
    gone = data.draw(st.lists(st.sampled_from(registers), max_size=3, unique=True))
    walls = data.draw(st.lists(st.sampled_from(registers), max_size=3, unique=True))
    refused = tuple(Block(each.function_code, each.address, each.count) for each in gone)
    taught = Taught(frozenset((each.function_code, each.address) for each in walls), refused)
    asked = [each for each in registers if each not in gone]
    blocks = plan_reads(asked, ReadLimits(), cost, taught)
    for register in asked:
        assert [block.holds(register) for block in blocks].count(True) == 1
    for block in blocks:
        inside = [each.address for each in asked if block.holds(each)]
        for code, wall in taught.walls:
            assert code != block.function_code or not min(inside) < wall <= max(inside)
        for span in refused:
            apart = span.end <= block.address or block.end <= span.address
            assert apart or span.function_code != block.function_code

"""A meter that refused everything for a while is given another chance, also where its plan is what it refuses."""

from __future__ import annotations

from drivers.modbus.read_plan import RETRY_FIRST_S, ReadPlan
from drivers.profile.model import ReadLimits, Register
from wire.resolution import Resolution

REGISTERS = [Register(name, 3, 4 * index, "uint32", Resolution(1, 0)) for index, name in enumerate(("a", "b", "c"))]


def test_what_is_hopeless_is_tried_anew_after_a_minute() -> None:
    plan = ReadPlan(REGISTERS, ReadLimits())
    whole = plan.blocks
    for _ in range(10):
        plan.refused(plan.blocks[0], 2, 100.0)
        if plan.is_hopeless(100.0):
            break
    assert plan.is_hopeless(100.0 + RETRY_FIRST_S - 1)
    assert plan.blocks == whole
    assert not plan.is_hopeless(100.0 + RETRY_FIRST_S)
    plan.refused(plan.blocks[0], 3, 200.0)
    assert len(plan.blocks) > len(whole), "it is cut again, which may be all that the meter wants"

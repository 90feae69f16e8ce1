"""The blocks in which one meter is read, and what its refusals teach. Pure: times are arguments, in seconds.

A refused block is halved, at its largest gap first, until the halves are answered or a single value is refused alone.
That one is then left out, and asked for again after a minute, then ever more rarely, at last hourly. What was learnt is
kept as long as the object lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from drivers.modbus.block_plan import UNTAUGHT, Block, Taught, WireCost, plan_reads
from drivers.profile.model import ADDRESS_MAX, REGISTERS_MAX, ReadLimits, Register, scale_registers

RETRY_FIRST_S = 60.0
RETRY_GROWTH = 4
RETRY_MAX_S = 3600.0
LONELY_MAX = 2  # values refused alone while nothing else was answered: it is not the value that is wrong
APART = 4  # shorter blocks, and longer ones, that tell answers apart by their length


@dataclass(slots=True)
class LeftOut:
    """A value that the meter refuses, and when to ask for it again."""

    register: Register
    code: int  # Modbus's exception, 0 for silence
    again_at: float
    pause_s: float = RETRY_FIRST_S


class ReadPlan:
    """Plans `registers` within `limits`, within `fallback` once the meter has refused a block of the former."""

    def __init__(
        self,
        registers: Sequence[Register],
        limits: ReadLimits,
        fallback: ReadLimits | None = None,
        cost: WireCost | None = None,
    ) -> None:
        self.registers = tuple(registers)
        self.limits = limits
        self.left_out: list[LeftOut] = []
        self.hopeless = False
        self._hope_at = 0.0
        self._fallback = fallback
        self._cost = cost or WireCost.serial(9600)
        self._taught = UNTAUGHT
        self._in_silence: frozenset[tuple[int, int]] = frozenset()  # the walls put up for silence, which noise is, too
        self._hunt: set[tuple[int, int]] = set()  # the walls put up since a block was refused
        self._answered = False  # anything, during the hunt
        self._lonely = 0
        self.blocks: tuple[Block, ...] = ()
        self.read: tuple[Register, ...] = self.registers  # those that are not left out
        self._plan()

    def _plan(self) -> None:
        missing = [each.register for each in self.left_out]
        self.read = tuple(each for each in self.registers if each not in missing)
        spans = [_span(each) for each in missing]
        refused = tuple(span for span in spans if not any(_overlaps(span, each) for each in self.read))
        walls = self._taught.walls
        self._taught = Taught(walls, refused) if walls or refused else UNTAUGHT
        self.blocks = plan_reads(self.read, self.limits, self._cost, self._taught)

    def values_in(self, block: Block) -> list[Register]:
        """The registers that `block` holds, exponents included, by address."""
        known = (*self.read, *scale_registers(self.read))
        return sorted((each for each in known if block.holds(each)), key=lambda each: (each.address, each.end))

    def refused(self, block: Block, code: int, now: float) -> LeftOut | None:
        """The meter refused `block`, for certain: plan anew. Returns the value that is left out from now on, if any."""
        if code and self._fallback is not None and self.limits != self._fallback:  # for good, so not for silence
            self.limits = self._fallback
            self._plan()
            return None
        inside = self.values_in(block)
        wall = _best_cut(inside)
        if wall is not None:
            self._build((block.function_code, wall), in_silence=not code)
            return None
        return self._leave_out(inside, code, now)

    def _build(self, wall: tuple[int, int], *, in_silence: bool) -> None:
        if not self._hunt:
            self._answered, self._lonely = False, 0
        self._hunt.add(wall)
        self._in_silence |= {wall} if in_silence else set()
        self._taught = Taught(self._taught.walls | {wall}, self._taught.refused)
        self._plan()

    def _leave_out(self, inside: list[Register], code: int, now: float) -> LeftOut | None:
        """A block that cannot be cut is refused: its value is, if the meter answers anything else."""
        if not self._answered and self._hunt:
            self._lonely += 1
            if self._lonely >= LONELY_MAX:
                self._give_up(now)
            return None
        found = [LeftOut(each, code, now + RETRY_FIRST_S) for each in self.read if _needs(each, inside)]
        if len(found) == len(self.read):
            self._give_up(now)
            return None
        self.left_out += found
        self._tear_down()
        return found[0]

    def _give_up(self, now: float) -> None:
        """The meter refuses whatever is asked, which teaches nothing: start anew once it answers, or after a while."""
        self.hopeless, self._hope_at = True, now + RETRY_FIRST_S
        self.left_out.clear()
        self._tear_down()

    def _tear_down(self) -> None:
        """The hunt has its prey: what it cut apart may be read together again."""
        self._pull_down(self._hunt)
        self._hunt = set()
        self._plan()

    def _pull_down(self, walls: AbstractSet[tuple[int, int]]) -> None:
        self._taught = Taught(self._taught.walls - walls, self._taught.refused)
        self._in_silence -= walls

    def doubted(self) -> tuple[Block, ...]:
        """The blocks that were cut because they brought no answer: a noisy line does that to any."""
        if not self._in_silence or self._hunt:
            return ()
        taught = Taught(self._taught.walls - self._in_silence, self._taught.refused)
        whole = plan_reads(self.read, self.limits, self._cost, taught)
        return tuple(block for block in whole if block not in self.blocks)

    def joined(self) -> None:
        """They were answered."""
        self._pull_down(self._in_silence)
        self._plan()

    def is_hopeless(self, now: float) -> bool:
        """Whether refusals teach nothing yet. Not for ever: the meter may be well, and refuse the plan alone."""
        if self.hopeless and now >= self._hope_at:
            self.hopeless = False
        return self.hopeless

    def answered(self) -> None:
        """The meter answered a block."""
        self._answered = True
        self.hopeless = False

    def settled(self) -> None:
        """All blocks were answered: what was cut apart on the way stays so."""
        self._hunt = set()

    @property
    def is_hunting(self) -> bool:
        return bool(self._hunt)

    def due(self, now: float) -> LeftOut | None:
        """A value to be asked for again."""
        return next((each for each in self.left_out if now >= each.again_at), None)

    def still_refused(self, left_out: LeftOut, now: float) -> None:
        """It was asked for again, in vain."""
        left_out.pause_s = min(left_out.pause_s * RETRY_GROWTH, RETRY_MAX_S)
        left_out.again_at = now + left_out.pause_s

    def taken_back(self, left_out: LeftOut) -> None:
        """The meter answers it now."""
        self.left_out.remove(left_out)
        self._plan()

    def alone(self, register: Register) -> tuple[Block, ...]:
        """What to ask for one value: its block, and that of its exponent where that lies apart."""
        return plan_reads([register], self.limits, self._cost)

    def apart(self, block: Block) -> tuple[Block, ...]:
        """Blocks of other lengths that the meter answers: without its last values, or longer, which it may refuse."""
        ends = sorted({each.end for each in self.values_in(block)}, reverse=True)[1:]
        grain = 2 if self.limits.even else 1
        shorter = [end - block.address for end in ends[:APART]]
        longer = [block.count + grain * more for more in range(1, APART + 1)]
        blocks = [Block(block.function_code, block.address, count + count % grain) for count in shorter + longer]
        return tuple(each for each in blocks if each.count != block.count and self._may_be_touched(each))

    def _may_be_touched(self, block: Block) -> bool:
        forbidden = any(block.address <= last and first < block.end for first, last in self.limits.forbidden)
        return not forbidden and block.count <= REGISTERS_MAX and block.end <= ADDRESS_MAX + 1


def _best_cut(inside: list[Register]) -> int | None:
    """Where to halve: behind the largest gap, else in the middle; None where it cannot be."""
    cuts = []
    end = inside[0].end
    for number, register in enumerate(inside[1:], start=1):
        if register.address >= end:
            cuts.append((register.address - end, -abs(number - len(inside) / 2), register.address))
        end = max(end, register.end)
    return max(cuts)[2] if cuts else None


def _needs(register: Register, refused: list[Register]) -> bool:
    """Whether `register` is one of those refused, or its exponent is."""
    exponent = (register.function_code, register.scale_register)
    return register in refused or any((each.function_code, each.address) == exponent for each in refused)


def _span(register: Register) -> Block:
    return Block(register.function_code, register.address, register.count)


def _overlaps(span: Block, register: Register) -> bool:
    return span.function_code == register.function_code and span.address < register.end and register.address < span.end

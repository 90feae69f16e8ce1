"""Registers -> the cheapest block reads that a meter allows. Pure; the cost is time on the wire.

A Modbus RTU request for N registers takes `(13 + 2N)` characters, twice 3.5 characters of silence, the meter's answer
time and its pause (Modbus serial line V1.02). So reading a gap along costs 2 characters a register, and another request
13 characters, the silences and the meter's time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from drivers.profile.model import ReadLimits, Register, scale_registers

CHARACTERS_BESIDE_DATA = 13  # request 8, answer 5
CHARACTERS_PER_REGISTER = 2
SILENCE_CHARACTERS = 3.5
SILENCE_FAST_MS = 1.75  # above 19200 baud
FAST_BAUDRATE = 19200


@dataclass(frozen=True, slots=True)
class Block:
    """One request: `count` registers from `address`."""

    function_code: int
    address: int
    count: int

    @property
    def end(self) -> int:
        """The address after the last register."""
        return self.address + self.count

    def holds(self, register: Register) -> bool:
        """Whether the whole value lies in this block."""
        return (
            self.function_code == register.function_code
            and self.address <= register.address
            and register.end <= self.end
        )


@dataclass(frozen=True, slots=True)
class WireCost:
    """What a request costs. `character_ms` is 0 on TCP, where only the number of requests counts."""

    character_ms: float
    silence_ms: float
    meter_ms: float  # answer time and pause

    @classmethod
    def serial(cls, baudrate: int, parity: str = "N", stopbits: int = 1, meter_ms: float = 40) -> WireCost:
        """Of a serial line: 1 start bit, 8 data bits, parity, stop bits."""
        bits = 9 + (parity != "N") + stopbits
        character_ms = bits * 1000 / baudrate
        silence_ms = SILENCE_CHARACTERS * character_ms if baudrate <= FAST_BAUDRATE else SILENCE_FAST_MS
        return cls(character_ms, silence_ms, meter_ms)

    @classmethod
    def tcp(cls, meter_ms: float = 40) -> WireCost:
        """Of a network, where characters cost nothing that matters."""
        return cls(0, 0, meter_ms)

    def block_ms(self, count: int) -> float:
        """The time of one request for `count` registers, T(N)."""
        characters = CHARACTERS_BESIDE_DATA + CHARACTERS_PER_REGISTER * count
        return characters * self.character_ms + 2 * self.silence_ms + self.meter_ms


DEFAULT_COST = WireCost.serial(9600)


@dataclass(frozen=True, slots=True)
class Taught:
    """What a meter's refusals have taught: `walls` are (function, address) that no block may hold registers on both
    sides of; `refused` may not be touched at all.
    """

    walls: frozenset[tuple[int, int]] = frozenset()
    refused: tuple[Block, ...] = ()

    def forbids(self, function_code: int, first: int, last: int, start: int, end: int) -> bool:
        """Whether there may be no block `start..end` with values beginning at `first` to `last`."""
        return any(code == function_code and first < wall <= last for code, wall in self.walls) or any(
            block.function_code == function_code and start < block.end and block.address < end for block in self.refused
        )


UNTAUGHT = Taught()


def plan_reads(
    registers: Iterable[Register], limits: ReadLimits, cost: WireCost = DEFAULT_COST, taught: Taught = UNTAUGHT
) -> tuple[Block, ...]:
    """The blocks that hold every register whole, cheapest in time, then fewest; `ValueError` if there are none.

    No block is longer than the limits, touches what is forbidden, or (without `gaps`) what is not asked for.
    """
    asked = tuple(registers)
    everything = (*asked, *scale_registers(asked))
    ordered = sorted(everything, key=lambda register: (register.function_code, register.address, register.end))
    groups = groupby(ordered, key=lambda register: register.function_code)
    return tuple(block for _code, group in groups for block in _plan_one_function(list(group), limits, cost, taught))


@dataclass(frozen=True, slots=True, order=True)
class _Plan:
    """The best plan of the first registers; ordered by cost, then by number of blocks."""

    cost_us: int
    blocks: tuple[Block, ...] = field(compare=False)
    requests: int = 0


def _plan_one_function(
    registers: Sequence[Register], limits: ReadLimits, cost: WireCost, taught: Taught
) -> tuple[Block, ...]:
    """Dynamic programme over the sorted registers: the best plan of n of them ends with one block of the last k."""
    best = [_Plan(0, ())]
    for last, register in enumerate(registers):
        choices = []
        end = 0
        for first in range(last, -1, -1):
            end = max(end, registers[first].end)
            if end - registers[first].address > limits.registers_max:
                break
            block = _block(registers[first : last + 1], end, limits, taught)
            if block is not None:
                before = best[first]
                spent_us = before.cost_us + round(1000 * cost.block_ms(block.count))
                choices.append(_Plan(spent_us, (*before.blocks, block), before.requests + 1))
        if not choices:
            text = f"{register.measurand} at {register.address} cannot be read within the limits of the meter"
            raise ValueError(text)
        best.append(min(choices))
    return best[-1].blocks


def _block(registers: Sequence[Register], end: int, limits: ReadLimits, taught: Taught) -> Block | None:
    """The block around `registers` (sorted by address), or None where the limits, or what was taught, forbid it."""
    start, code = registers[0].address, registers[0].function_code
    if not limits.gaps and _has_gap(registers):
        return None
    if limits.even:
        start, end = start & ~1, end + (end & 1)
    if end - start > limits.registers_max:
        return None
    if any(start <= last and first < end for first, last in limits.forbidden):
        return None
    if taught is not UNTAUGHT and taught.forbids(code, registers[0].address, registers[-1].address, start, end):
        return None
    return Block(code, start, end - start)


def _has_gap(registers: Sequence[Register]) -> bool:
    reached = registers[0].address
    for register in registers:
        if register.address > reached:
            return True
        reached = max(reached, register.end)
    return False

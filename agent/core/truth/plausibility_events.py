"""Events about values that cannot be true: one where it begins, one where it ends, and not more than a meter may cost.

Each names the measurand and the flag; one that begins carries the registers that the value was made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.core.records import NewEvent
from agent.core.time_units import MINUTE_MS
from agent.core.truth.counter import Ruling
from drivers.meter import RawBlock
from wire.batch import Column, Quality
from wire.resolution import INTEGER_MAX, INTEGER_MIN

EVENTS_AT_ONCE = 40  # some more than the values of a meter: a frame of garbage begins an event for each
EVENT_EVERY_MS = MINUTE_MS  # after that
SAID_ONE_BY_ONE = 3
ALL = -1  # stands for the column of what is said of the reading as a whole
BITS = tuple(int(flag) for flag in Quality)
FLAG_NAMES = {int(flag): str(flag.name).lower() for flag in Quality}
MISSING = int(Quality.NOT_AVAILABLE | Quality.OVERFLOW)
OUT_OF_RANGE, STALE = int(Quality.OUT_OF_RANGE), int(Quality.STALE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the registers of a value lie."""

    function_code: int
    address: int
    count: int

    def block(self, words: Sequence[RawBlock]) -> RawBlock | None:
        """The answer that holds them."""
        for block in words:
            end = block.address + len(block.data) // 2
            if block.function_code == self.function_code and block.address <= self.address <= end - self.count:
                return block
        return None

    def text(self, words: Sequence[RawBlock]) -> str | None:
        """`function:address:hexwords`; None where the answer is not there."""
        block = self.block(words)
        if block is None:
            return None
        start = 2 * (self.address - block.address)
        return f"{self.function_code}:{self.address}:{block.data[start : start + 2 * self.count].hex()}"


class Origins(Protocol):
    """Where the values of a meter's columns come from."""

    def block(self, index: int, words: Sequence[RawBlock]) -> RawBlock | None:
        """The answer that column `index` was in."""

    def text(self, index: int, words: Sequence[RawBlock]) -> str | None:
        """What the meter said for it, for an event; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Places:
    """Of a meter whose registers never move; None stands for a column whose registers nobody knows."""

    places: Sequence[Place | None]

    def block(self, index: int, words: Sequence[RawBlock]) -> RawBlock | None:
        place = self.places[index]
        return None if place is None else place.block(words)

    def text(self, index: int, words: Sequence[RawBlock]) -> str | None:
        place = self.places[index]
        return None if place is None else place.text(words)


def sentence(event: NewEvent) -> str:
    """The event for a log: what is wrong with which value, or what became of it."""
    data = event.data
    name = data["measurand"] or "all registers"
    if event.kind == "rollover":
        return f"{name} turned over from {data['from']} to {data['to']}"
    if event.kind == "counter_reset":
        return f"{name} was reset from {data['from']} to {data['to']}, and goes on from there"
    if event.kind == "plausible":
        return f"{name} is plausible again ({data['flag'].replace('_', ' ')} for {data['readings']} readings)"
    value = "" if data["value"] is None else f" = {data['value']}"
    parts = [data["flag"].replace("_", " ")]
    parts += [f"last good {data['last']}"] if "last" in data else []
    parts += [f"it contradicts {data['against']}"] if "against" in data else []
    parts += [f"registers {data['raw']}"] if "raw" in data else []
    parts += ["found out afterwards"] if "retracted" in data else []
    return f"{name}{value} cannot be true: {', '.join(parts)}"


def sentences(events: Sequence[NewEvent]) -> Iterator[tuple[NewEvent, str]]:
    """The events of one reading for a log, each with the first that it stands for: many of one kind are one line."""
    for kind in dict.fromkeys(event.kind for event in events):
        first, *others = [event for event in events if event.kind == kind]
        if len(others) < SAID_ONE_BY_ONE:
            yield from ((event, sentence(event)) for event in (first, *others))
        else:
            names = ", ".join(event.data["measurand"] or "all registers" for event in others)
            yield first, f"{sentence(first)}; likewise {names}"


@dataclass(slots=True)
class Spell:
    """A flag that a measurand has had since a reading. `said` is False where there were too many events."""

    since_ms: int
    said: bool
    readings: int = 0


@dataclass(frozen=True, slots=True)
class Flagged:
    """A reading with its flags. `last[i]`: the good value of a counter before; `stale_since_ms`: where it is stale.

    `against`: by column, the values that it contradicts.
    """

    values: Sequence[int | None]
    flags: Sequence[int]
    last: Sequence[int | None]
    words: Sequence[RawBlock] = ()
    stale_since_ms: int | None = None
    against: Mapping[int, str] = field(default_factory=dict)

    def active(self) -> set[tuple[int, int]]:
        """(column, flag) of all that is set; staleness is of the whole reading."""
        found = {(index, bit) for index, flags in enumerate(self.flags) if flags for bit in BITS if flags & bit}
        if self.stale_since_ms is not None:
            found = {key for key in found if key[1] != STALE} | {(ALL, STALE)}
        return found


class TruthEvents:
    """The events of one meter."""

    def __init__(self, meter: str, columns: Sequence[Column], origins: Origins) -> None:
        self._meter = meter
        self._columns = columns
        self._origins = origins
        self._spells: dict[tuple[int, int], Spell] = {}
        self._room = EVENTS_AT_ONCE
        self._room_ms = 0
        self._suppressed = 0

    @property
    def quiet(self) -> bool:
        """Whether nothing is flagged, so that nothing can end."""
        return not self._spells

    def update(self, now_ms: int, reading: Flagged) -> list[NewEvent]:
        """What begins and what ends with this reading."""
        active = reading.active()
        events = [self._begins(now_ms, key, reading) for key in sorted(active - self._spells.keys())]
        for key in active:
            self._spells[key].readings += 1
        events += [self._ends(now_ms, key, reading) for key in sorted(self._spells.keys() - active)]
        return [event for event in events if event is not None]

    def ruled(self, now_ms: int, index: int, ruling: Ruling, value: int) -> NewEvent | None:
        """What became of a counter. `since_ms` of a value taken back is when it was read: its reading had no flag."""
        known: dict[str, Any] = {"measurand": self._columns[index].measurand}
        if ruling.found in {"rollover", "reset"}:
            known |= {"from": self._number(index, ruling.old), "to": self._number(index, value)}
            return NewEvent(now_ms, "rollover" if ruling.found == "rollover" else "counter_reset", self._meter, known)
        if not self._may_say(now_ms):
            return None
        known["flag"] = "jump" if ruling.old > value else "backwards"
        known |= {"value": self._number(index, ruling.old), "since_ms": ruling.old_ms, "retracted": True}
        return NewEvent(now_ms, "implausible", self._meter, known | self._take_suppressed())

    def _begins(self, now_ms: int, key: tuple[int, int], reading: Flagged) -> NewEvent | None:
        index, bit = key
        since_ms = reading.stale_since_ms if index == ALL and reading.stale_since_ms is not None else now_ms
        spell = self._spells[key] = Spell(since_ms, said=self._may_say(now_ms))
        if not spell.said:
            return None
        data: dict[str, Any] = {"measurand": None, "flag": FLAG_NAMES[bit], "value": None}
        if index == ALL:
            data["since_ms"] = since_ms
        else:
            data |= {"measurand": self._columns[index].measurand, "value": self._number(index, reading.values[index])}
            last, raw = self._number(index, reading.last[index]), self._origins.text(index, reading.words)
            against = reading.against.get(index) if bit == OUT_OF_RANGE else None
            more = {"last": last, "raw": raw, "against": against}
            data |= {name: value for name, value in more.items() if value is not None}
        return NewEvent(now_ms, "implausible", self._meter, data | self._take_suppressed())

    def _ends(self, now_ms: int, key: tuple[int, int], reading: Flagged) -> NewEvent | None:
        index, bit = key
        if index != ALL and reading.values[index] is None and not bit & MISSING:
            return None  # a value that is missing says nothing of what the next will be
        spell = self._spells.pop(key)
        if not spell.said:
            return None
        data: dict[str, Any] = {"measurand": None, "flag": FLAG_NAMES[bit]}
        if index != ALL:
            data |= {"measurand": self._columns[index].measurand, "value": self._number(index, reading.values[index])}
        data |= {"since_ms": spell.since_ms, "readings": spell.readings}
        return NewEvent(now_ms, "plausible", self._meter, data)

    def _number(self, index: int, steps: int | None) -> float | int | None:
        """In the measurand's unit; beyond what an event's integers can be, as a float."""
        number = None if steps is None else self._columns[index].resolution.to_number(steps)
        return number if number is None or INTEGER_MIN <= number <= INTEGER_MAX else float(number)

    def _may_say(self, now_ms: int) -> bool:
        """Whether there is room for a beginning, and with it for its end; else it is counted."""
        gained = (now_ms - self._room_ms) // EVENT_EVERY_MS
        self._room = min(self._room + gained, EVENTS_AT_ONCE)
        self._room_ms += gained * EVENT_EVERY_MS
        if self._room <= 0:
            self._suppressed += 1
            return False
        self._room -= 1
        return True

    def _take_suppressed(self) -> dict[str, int]:
        suppressed, self._suppressed = self._suppressed, 0
        return {"suppressed": suppressed} if suppressed else {}

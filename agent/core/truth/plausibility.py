"""Whether what a meter says can be true: flags on its values, and events about them. Nothing is ever corrected.

Counters never go back and never grow faster than the meter's maximum current allows (`counter`); voltages, frequency,
currents and powers are within the rating (`bounds`) and agree with each other (`relations`); registers move. See
docs/quality.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from agent.core.records import NewEvent
from agent.core.time_units import MINUTE_MS
from agent.core.truth.bounds import TRANSFORMED_MIN_V, Ratings, bounds, counter_bounds, is_counter
from agent.core.truth.counter import Counter, Ruling
from agent.core.truth.plausibility_events import STALE, Flagged, Origins, Places, TruthEvents
from agent.core.truth.relations import NOTHING, Relations
from drivers.meter import RawBlock, Sample
from wire.batch import Column, Quality
from wire.measurand import BY_NAME

OUT_OF_RANGE = int(Quality.OUT_OF_RANGE)
STALE_AFTER_MS = 10 * MINUTE_MS
STALE_READINGS = 20
MOVING_STEP = {"V": 0.1, "Hz": 0.01}  # so finely measured, it is never the same for long
FLAGS_GOOD: tuple[int, ...] = ()
NO_EVENTS: tuple[NewEvent, ...] = ()


@dataclass(slots=True)
class Same:
    """The registers that a meter answers again and again: since when, and how often."""

    values: tuple[int | None, ...] = ()
    words: Sequence[RawBlock] = ()
    since_ms: int = 0
    readings: int = 0

    def note(self, now_ms: int, sample: Sample) -> None:
        """One reading more that is bit for bit the same, or the first of others.

        What is read in other blocks, or not at all for a while, has not moved.
        """
        if self._has(sample.values) and _agree(sample.words, self.words):
            self.readings += 1
            self.words = sample.words
        else:
            self.begin(now_ms, sample)

    def _has(self, values: tuple[int | None, ...]) -> bool:
        """Whether `values` are the same as far as they are there; remembers what was missing so far."""
        if values == self.values:
            return True
        pairs = list(zip(values, self.values, strict=False))
        if not pairs or any(new != old for new, old in pairs if new is not None and old is not None):
            return False
        self.values = tuple(old if new is None else new for new, old in pairs)
        return True

    def begin(self, now_ms: int, sample: Sample) -> None:
        """The first of others."""
        self.values, self.words, self.since_ms, self.readings = sample.values, sample.words, now_ms, 1

    def is_stale(self, now_ms: int) -> bool:
        return self.readings >= STALE_READINGS and now_ms - self.since_ms >= STALE_AFTER_MS


def _agree(new: Sequence[RawBlock], old: Sequence[RawBlock]) -> bool:
    """Whether the registers that are in both have the same bits."""
    if [block.data for block in new] == [block.data for block in old]:
        return True
    known = _registers(old)
    both = [(word, known[place]) for place, word in _registers(new).items() if place in known]
    return bool(both) and all(word == before for word, before in both)


def _registers(blocks: Sequence[RawBlock]) -> dict[tuple[int, int], int]:
    return {
        (block.function_code, block.address + index): word for block in blocks for index, word in enumerate(block.words)
    }


class MeterTruth:
    """The judge of one meter. `origins` say what a value was made of."""

    def __init__(self, meter: str, columns: Sequence[Column], ratings: Ratings, origins: Origins | None = None) -> None:
        self.meter = meter
        self._columns = tuple(columns)
        self._origins = origins or Places((None,) * len(self._columns))
        self._ratings = ratings
        self._bind_ranges(ratings)
        self._counters = {
            index: Counter(counter_bounds(column, ratings))
            for index, column in enumerate(self._columns)
            if is_counter(column)
        }
        self._pairs = tuple(self._counters.items())
        self._voltages = [index for index, column in enumerate(self._columns) if _unit(column) == "V"]
        self._moving = [index for index, column in enumerate(self._columns) if _moves(column)]
        self._relations = Relations(self._columns, ratings, self._origins)
        self._same = Same()
        self._events = TruthEvents(meter, self._columns, self._origins)
        self._quiet = True
        self.serial_number: str | None = None

    def _bind_ranges(self, ratings: Ratings) -> None:
        self._bounds = [bounds(column, ratings) for column in self._columns]
        self._lows = [bound.low for bound in self._bounds]
        self._highs = [bound.high for bound in self._bounds]

    def judge(self, now_ms: int, sample: Sample) -> tuple[tuple[int, ...], Sequence[NewEvent]]:
        """The flags of a reading taken at `now_ms`, empty when all are good, and the events that go with them."""
        values, same = sample.values, self._same
        broken = self._relations.broken(values, sample.words) if self._relations else NOTHING
        if self._quiet and not sample.flags and not broken and not (self._moving and values == same.values):
            for value, low, high in zip(values, self._lows, self._highs, strict=True):
                if value is None or not low <= value <= high:
                    break
            else:
                for index, counter in self._pairs:
                    value = values[index]
                    if value is None or not counter.goes_on(value, now_ms):
                        break
                else:
                    same.begin(now_ms, sample)
                    return FLAGS_GOOD, NO_EVENTS
        return self._judge_closely(now_ms, sample, broken)

    # Which meter it is

    def identified(self, now_ms: int, serial_number: str) -> list[NewEvent]:
        """The meter said its serial number: another one than before is another meter, whose counters begin anew."""
        old, self.serial_number = self.serial_number, serial_number
        if old in {None, serial_number}:
            return []
        for counter in self._counters.values():
            counter.forget()
        self._same = Same()
        return [NewEvent(now_ms, "meter_replaced", self.meter, {"old": old, "new": serial_number})]

    def counters(self) -> dict[Column, tuple[int, int]]:
        """The last good value of each counter and when it was read, to be remembered."""
        known = {self._columns[index]: (counter.value, counter.ms) for index, counter in self._pairs}
        return {column: (value, ms) for column, (value, ms) in known.items() if value is not None}

    def remember(self, counters: Mapping[Column, tuple[int, int]]) -> None:
        """What `counters` said in an earlier run; the times are on the clock of this boot, or before it."""
        for index, counter in self._pairs:
            if self._columns[index] in counters:
                counter.remember(*counters[self._columns[index]])

    # Where something is wrong, or was

    def _judge_closely(
        self, now_ms: int, sample: Sample, broken: Mapping[int, str]
    ) -> tuple[tuple[int, ...], Sequence[NewEvent]]:
        values, words = sample.values, sample.words
        if self._ratings.vt_unknown:
            self._learn_transformer(values)
        flags = list(sample.flags) or [0] * len(values)
        for index, (value, bound) in enumerate(zip(values, self._bounds, strict=True)):
            if value is not None and not bound.low <= value <= bound.high:
                flags[index] |= OUT_OF_RANGE
        self._forgive_dead_phases(values, flags)
        for index in broken:
            flags[index] |= OUT_OF_RANGE
        last = [self._counters[index].value if index in self._counters else None for index in range(len(values))]
        events = self._judge_counters(now_ms, values, flags, self._hollow(values, flags, words))
        for index in self._hollow(values, flags, words):
            flags[index] |= 0 if index in self._counters or values[index] is None else OUT_OF_RANGE
        stale_since_ms = self._stale_since_ms(now_ms, sample, flags)
        if stale_since_ms is not None:
            flags = [flag if value is None else flag | STALE for flag, value in zip(flags, values, strict=True)]
        events += self._events.update(now_ms, Flagged(values, flags, last, words, stale_since_ms, broken))
        self._quiet = self._events.quiet
        return (tuple(flags) if any(flags) else FLAGS_GOOD), events

    def _learn_transformer(self, values: Sequence[int | None]) -> None:
        """The first reading with a voltage tells whether the meter, which alone knows, has a voltage transformer."""
        before, now = self._is_transformed(self._same.values), self._is_transformed(values)
        if before is None and now:
            ratings = self._ratings = self._ratings.transformed()
            self._bind_ranges(ratings)
            for index, counter in self._pairs:
                counter.bind(counter_bounds(self._columns[index], ratings))
        elif before is not None or now is not None:
            self._ratings = replace(self._ratings, vt_unknown=False)

    def _is_transformed(self, values: Sequence[int | None]) -> bool | None:
        """Whether all voltages are those of a transformer; None without any."""
        told = [self._columns[index].resolution.to_number(values[index] or 0) for index in self._voltages if values]
        return min(filter(None, told)) >= TRANSFORMED_MIN_V if any(told) else None

    def _forgive_dead_phases(self, values: Sequence[int | None], flags: list[int]) -> None:
        """A phase that is not connected reads about 0 V, for good: no flag, while another one has a voltage."""
        alive = any(values[index] is not None and not flags[index] for index in self._voltages)
        for index in self._voltages:
            value, bound = values[index], self._bounds[index]
            is_dead = alive and value is not None and -bound.dead <= value <= bound.dead
            if is_dead:
                flags[index] &= ~OUT_OF_RANGE
            # So that the next reading of a meter with such a phase takes the short way.
            self._lows[index] = -bound.dead if is_dead else bound.low
            self._highs[index] = bound.dead if is_dead else bound.high

    def _hollow(self, values: Sequence[int | None], flags: Sequence[int], words: Sequence[RawBlock]) -> set[int]:
        """The columns of an answer of nothing but zeros in which something is flagged that cannot be 0.

        Meters answer so while their measuring part does not; a current of 0 A in such an answer is not one.
        """
        wrong = [index for index, value in enumerate(values) if value == 0 and flags[index]]
        if not wrong:
            return set()
        blocks = [self._origins.block(index, words) for index in range(len(values))]
        if not any(values) and not any(any(block.data) for block in words):
            return set(range(len(values)))  # also those in answers of their own, of which nothing cannot be 0
        hollow = [block for index in wrong if (block := blocks[index]) is not None and not any(block.data)]
        return {index for index, block in enumerate(blocks) if any(block is one for one in hollow)}

    def _judge_counters(
        self, now_ms: int, values: Sequence[int | None], flags: list[int], hollow: set[int]
    ) -> list[NewEvent]:
        rulings: dict[int, Ruling] = {}
        for index, counter in self._pairs:
            value = values[index]
            if value is None or flags[index]:
                continue
            if index in hollow:
                # What such an answer says is no level to be believed one day, and nothing to begin from.
                flags[index] |= OUT_OF_RANGE if counter.value is None else counter.flag(0) if counter.value else 0
            elif counter.ms != now_ms or counter.value != value:  # else it went on just now
                ruling = counter.judge(value, now_ms)
                flags[index] |= ruling.flag
                rulings[index] = ruling
        if any(ruling.found == "reset" for ruling in rulings.values()):
            for index, ruling in rulings.items():
                also = self._counters[index].reset_with_others(now_ms) if ruling.flag else None
                if also is not None:
                    flags[index], rulings[index] = 0, also
        found = [
            self._events.ruled(now_ms, index, ruling, values[index] or 0)
            for index, ruling in rulings.items()
            if ruling.found is not None
        ]
        return [event for event in found if event is not None]

    def _stale_since_ms(self, now_ms: int, sample: Sample, flags: Sequence[int]) -> int | None:
        """Since when all registers are the same, where that cannot be; for days, they can be at a meter of counters."""
        same = self._same
        same.note(now_ms, sample)
        moving = any(sample.values[index] and not flags[index] for index in self._moving)
        return same.since_ms if moving and same.is_stale(now_ms) else None


def _unit(column: Column) -> str | None:
    known = BY_NAME.get(column.measurand)
    return None if known is None else known.unit


def _moves(column: Column) -> bool:
    """Whether it is measured so finely that it is never the same for long."""
    finest = MOVING_STEP.get(_unit(column) or "")
    return finest is not None and float(column.resolution.step) <= finest

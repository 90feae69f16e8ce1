"""Read several meters once: lines at the same time, the meters of one line one after another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.adapters.system.clock import SystemClock
from agent.adapters.system.status_file import running_status
from agent.cli.shared.judging import Judges
from drivers.building import BuiltMeter, HasOrigin
from drivers.meter import MeterError, RawBlock, Sample
from drivers.profile.model import Register
from wire.document import flag_names
from wire.measurand import BY_NAME
from wire.utc import format_utc

BUDGET_MS = 5_000


@dataclass(frozen=True, slots=True)
class Taken:
    """The result of reading a meter at `utc_ms`: a sample or an error."""

    meter: BuiltMeter
    utc_ms: int
    took_ms: int
    sample: Sample | None = None
    error: MeterError | None = None

    def origins(self) -> Iterator[tuple[str, str]]:
        """The source of each value and what the meter sent there: registers, or codes of a telegram."""
        names = tuple(column.measurand for column in self.meter.columns)
        if isinstance(self.meter, HasOrigin):
            yield from (self.meter.origin(name) for name in names)
            return
        for register in self.meter.profile.select(names):
            words = " ".join(f"{word:04X}" for word in self.words(register))
            yield f"FC{register.function_code} {register.address}", words

    def words(self, register: Register) -> tuple[int, ...]:
        """The registers behind a value, as received."""
        for block in self.sample.words if self.sample is not None else ():
            if block.function_code == register.function_code and _holds(block, register):
                start = register.address - block.address
                return block.words[start : start + register.count]
        return ()


def _holds(block: RawBlock, register: Register) -> bool:
    return block.address <= register.address and register.end <= block.address + len(block.data) // 2


async def take_all(
    meters: Sequence[BuiltMeter], refused: Mapping[str, MeterError], judges: Judges | None = None
) -> list[Taken]:
    """One reading of each, in their order; a failure does not stop the others. `refused`: ports that cannot be used.

    `judges` are those of the previous reading, if there was one.
    """
    judges = judges or Judges()
    lines = list(dict.fromkeys(meter.line for meter in meters))
    taken = await asyncio.gather(
        *(_take_line([m for m in meters if m.line is line], refused.get(line.port), judges) for line in lines)
    )
    by_meter = {id(one.meter): one for of_line in taken for one in of_line}
    return [by_meter[id(meter)] for meter in meters]


async def _take_line(meters: Sequence[BuiltMeter], refused: MeterError | None, judges: Judges) -> list[Taken]:
    taken: list[Taken] = []
    for meter in meters:
        missing = next((t.error for t in taken if t.error is not None and t.error.reason == "line_missing"), None)
        taken.append(await _take(meter, refused or missing, judges))
    await meters[0].line.close()
    return taken


async def _take(meter: BuiltMeter, missing: MeterError | None, judges: Judges) -> Taken:
    """`missing`: the line is known to be missing, so do not wait for it a second time."""
    clock = SystemClock("system")
    began = clock.look()
    try:
        if missing is not None:
            raise missing
        sample = await meter.read(max(BUDGET_MS, meter.read_max_ms))
    except MeterError as error:
        return Taken(meter, began.utc_ms, clock.mono_ms() - began.mono_ms, error=error)
    took_ms = clock.mono_ms() - began.mono_ms
    judged = judges.judged(meter, began.mono_ms, sample)
    # The time of a telegram is when it arrived, not when we began to wait for it.
    age_s = took_ms / 1000 if sample.taken_s is None else asyncio.get_running_loop().time() - sample.taken_s
    waited_ms = took_ms - round(age_s * 1000)
    return Taken(meter, began.utc_ms + waited_ms, took_ms, judged)


def as_document(taken: Taken, *, raw: bool) -> dict[str, Any]:
    """For `--json`; `words` only if asked for, `error` only if there is one."""
    meter = taken.meter
    document: dict[str, Any] = {
        "meter": meter.name,
        "model": meter.profile.model,
        "vendor": meter.profile.vendor,
        "port": meter.line.port,
        "line": meter.line.settings,
        "unit": meter.unit,
        "at": format_utc(taken.utc_ms),
        "took_ms": taken.took_ms,
        "values": {},
        "units": {},
        "quality": {},
    }
    sample = taken.sample
    if sample is not None:
        names = [column.measurand for column in meter.columns]
        steps = zip(meter.columns, sample.values, strict=True)
        document["values"] = {c.measurand: None if n is None else c.resolution.to_number(n) for c, n in steps}
        document["units"] = {name: BY_NAME[name].unit for name in names}
        document["quality"] = {
            name: flag_names(flags) for name, flags in zip(names, sample.flags, strict=False) if flags
        }
        if raw:
            document["words"] = [
                {"function": block.function_code, "address": block.address, "words": list(block.words)}
                for block in sample.words
            ]
        if raw and isinstance(meter, HasOrigin):
            document["sent"] = {
                name: {"code": code, "text": text} for name, (code, text) in zip(names, taken.origins(), strict=True)
            }
        if sample.notices:
            document["notes"] = [notice.text for notice in sample.notices]
    if taken.error is not None:
        document["error"] = {"reason": taken.error.reason, "text": str(taken.error)}
    return document


def notes(taken: Sequence[Taken]) -> Iterator[str]:
    """Notes on readings: why a value is missing, which of several sources was read."""
    for one in taken:
        for notice in one.sample.notices if one.sample is not None else ():
            yield f"{one.meter.name}: {notice.text}"


def failures(taken: Sequence[Taken], status_path: Path) -> Iterator[str]:
    """One line per failure; one that several meters share is given once."""
    errors = {str(one.error): one.error for one in taken if one.error is not None}
    for text, error in errors.items():
        yield _held_by_daemon(error, status_path) or text


def _held_by_daemon(error: MeterError, status_path: Path) -> str | None:
    """Find out from its status that the daemon has the line: an ordinary user cannot see other users' processes."""
    if error.reason != "line_busy" or not error.cause.startswith("held by"):
        return None
    status = running_status(status_path)
    pid = None if status is None else status.pid
    if pid is None and error.cause.startswith("held by wattpost"):
        return f"{error}; if it is a daemon with another configuration, name that with --config to borrow the line"
    if pid is None or ("(pid " in error.cause and f"(pid {pid})" not in error.cause):
        return None
    cause = f"held by the running agent (pid {pid})"
    step = "see its last readings: wattpost status --values; or stop it first: sudo systemctl stop wattpost"
    return f"{error.operation} {error.subject}: {cause}; {step}"

"""Compare a profile with a meter, or with the simulator: each value gets a verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.cli.shared import targets
from agent.cli.shared.borrow import borrowed
from agent.cli.shared.reading import BUDGET_MS, Taken, take_all
from agent.cli.shared.terminal import waiting
from agent.core.texts import count
from drivers.building import BuiltMeter, build_meter
from drivers.meter import MeterError
from drivers.profile.model import IdentityRules, Profile, TextRegister, TextType
from drivers.profile.review import are_all_zero, doubts
from wire.document import flag_names

GOOD = "good"
ALL_ZERO = "all values are 0, which some meters answer to any register; check the model, and that the meter is live"
OTHER_MODEL = "the meter does not identify itself as this model at identity.marks; check the model and the marks"
READINGS_MAX = 10  # a meter that refuses registers needs several until we know which ones
REFUSED = "register_refused"


@dataclass(frozen=True, slots=True)
class ValueVerdict:
    """The result for one measurand. `verdict` is `good`, or says what is wrong."""

    measurand: str
    value: str | None
    place: str
    raw: str
    verdict: str


@dataclass(slots=True)
class Trial:
    """The answers of a meter to a profile."""

    meter: BuiltMeter
    took_ms: int = 0
    verdicts: list[ValueVerdict] = field(default_factory=list)
    says: Mapping[str, str] = field(default_factory=dict)
    marks: list[str] = field(default_factory=list)  # contents of the registers that identify the model
    remarks: list[str] = field(default_factory=list)
    error: MeterError | None = None  # it could not be read at all

    @property
    def is_good(self) -> bool:
        return self.error is None and not self.remarks and all(each.verdict == GOOD for each in self.verdicts)


def try_profile(profile: Profile, line: targets.LineOptions, unit: int | None, status_path: Path) -> Trial:
    """Read all measurands of the profile from the meter at `line`."""
    meter = targets.of_profile(profile, line, unit, profile.measurands)
    what = f"reading {count(len(profile.measurands), 'measurand')}"
    with borrowed([line.port], status_path) as refused, waiting(what):
        return asyncio.run(_try(meter, refused))


async def _try(meter: BuiltMeter, refused: Mapping[str, MeterError]) -> Trial:
    trial = Trial(meter)
    try:
        for _reading in range(READINGS_MAX):
            (taken,) = await take_all([meter], refused)
            trial.took_ms, trial.error = taken.took_ms, taken.error
            if taken.error is None or taken.error.reason != "exception":
                break
        if taken.error is None:
            trial.verdicts = _judge(taken)
            trial.says = await _identify(meter)
            await _look_at_marks(trial)
    finally:
        await meter.line.close()
    values = [float(each.value) for each in trial.verdicts if each.value is not None]
    if values and are_all_zero(values):
        trial.remarks.append(ALL_ZERO)
    return trial


def _judge(taken: Taken) -> list[ValueVerdict]:
    sample, columns = taken.sample, taken.meter.columns
    if sample is None:
        return []
    values = {
        column.measurand: float(steps * column.resolution.step)
        for column, steps in zip(columns, sample.values, strict=True)
        if steps is not None
    }
    verdicts = doubts(taken.meter.profile, values)
    for column, steps, flag in zip(columns, sample.values, sample.flags, strict=False):
        if flag:
            said = ", ".join(flag_names(flag)).replace("_", " ")
            verdicts.setdefault(column.measurand, f"no value: {said}" if steps is None else said)
    for notice in sample.notices:
        if notice.kind == REFUSED:
            verdicts[notice.data["measurand"]] = f"refused by the meter (exception {notice.data['code']})"
    return [
        ValueVerdict(
            column.measurand,
            None if steps is None else f"{steps * column.resolution.step:f}",
            place,
            raw,
            verdicts.get(column.measurand, GOOD),
        )
        for column, steps, (place, raw) in zip(columns, sample.values, taken.origins(), strict=True)
    ]


async def _look_at_marks(trial: Trial) -> None:
    """Whether the meter identifies itself as this model: one matching mark is enough."""
    profile = trial.meter.profile
    matched = False
    for mark in profile.identity.marks:
        kind: TextType = "ascii" if mark.ascii else "uint64"
        place = TextRegister(mark.function_code, mark.address, mark.count, kind)
        asking = replace(profile, identity=IdentityRules(place))
        meter = build_meter(trial.meter.line, trial.meter.unit, asking, profile.model, profile.default)
        said = (await _identify(meter)).get("serial_number", "")
        fits = said.startswith(mark.ascii) if mark.ascii else said in map(str, mark.any_of)
        matched = matched or fits
        where = f"FC{mark.function_code} {mark.address} ({mark.address:#06x})"
        trial.marks.append(f"{where} says {said or 'nothing'}" + (f", as {profile.model}" if fits else ""))
    if trial.marks and not matched:
        trial.remarks.append(OTHER_MODEL)


async def _identify(meter: BuiltMeter) -> Mapping[str, str]:
    try:
        return await meter.identify(BUDGET_MS)
    except MeterError:
        return {}


def as_document(trial: Trial) -> dict[str, Any]:
    """For `--json`."""
    meter = trial.meter
    return {
        "port": meter.line.port,
        "line": meter.line.settings,
        "unit": meter.unit,
        "ok": trial.is_good,
        "took_ms": trial.took_ms,
        "identity": dict(trial.says),
        "marks": trial.marks,
        "remarks": trial.remarks,
        "error": None if trial.error is None else {"reason": trial.error.reason, "text": str(trial.error)},
        "values": [
            {
                "measurand": each.measurand,
                "value": None if each.value is None else float(each.value),
                "from": each.place,
                "raw": each.raw,
                "verdict": each.verdict,
            }
            for each in trial.verdicts
        ],
    }

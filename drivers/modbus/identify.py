"""Which meter is this? What it says of itself decides; where it says nothing, what its registers would mean.

Only reading functions are used: 3, 4 and 43/14. Traps that are minded: meters that answer zeros to any register (a zero
proves nothing), registers that mean the same in several models (they are named as such), and texts of a maker that
built several models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from drivers.modbus.block_plan import Block
from drivers.modbus.evidence import DEVICE_ID_REQUEST, LINE_TO_LINE, Ask, Registers, device_id_objects, judge
from drivers.modbus.nameplate import nameplate_text
from drivers.modbus.sunspec import FoundModel, NotFoundError, common_block, nameplate, placed, search
from drivers.profile.model import DeviceId, Mark, Profile, Register, SunSpec

DISTINGUISHING_MAX = 8
CANDIDATES_MAX = 4
PHASES = ("voltage_l1_n", "voltage_l2_n", "voltage_l3_n")
SURE, SURE_WITHOUT_VOLTAGE, UNSURE_WITHOUT_VOLTAGE = 0.98, 0.9, 0.6  # of models that say who they are


@dataclass(frozen=True, slots=True)
class ModelCandidate:
    """A model, and how sure it is (0 to 1). `decided` says by what."""

    model: str
    vendor: str
    confidence: float
    decided: str


@dataclass(frozen=True, slots=True)
class Identified:
    """`candidates` are the likeliest first, none where nothing fits; `values` are samples in vocabulary units."""

    candidates: tuple[ModelCandidate, ...] = ()
    serial_number: str = ""
    nameplate: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    requests: int = 0

    @property
    def tied(self) -> tuple[str, ...]:
        """The models that cannot be told apart, if there are several in front."""
        best = self.candidates[0].confidence if self.candidates else 0
        front = tuple(each.model for each in self.candidates if each.confidence == best)
        return front if len(front) > 1 else ()


@dataclass(slots=True)
class _Trial:
    """How well a profile fits."""

    profile: Profile
    marked: str = ""  # what the meter said that is this model's mark
    denied: bool = False  # it said something else where this model has its mark
    weighed: bool = False
    asked: int = 0
    good: int = 0
    refused: bool = False
    wrong: bool = False
    shown: list[str] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        return self.good > 0 and not self.wrong and not self.refused

    @property
    def rank(self) -> tuple[bool, int]:
        return not (self.refused or self.wrong), self.good


async def identify(ask: Ask, profiles: Iterable[Profile]) -> Identified:
    """Find out which of `profiles` the meter behind `ask` is, the likeliest of which come first.

    `ask` sends a body (function code and data) and returns the answer's, or None.
    """
    known = [profile for profile in profiles if profile.protocol == "modbus"]
    registers = Registers(ask)
    trials = [_Trial(profile) for profile in known if profile.sunspec is None]
    await _read_marks(registers, trials)
    found = [trial for trial in trials if trial.marked]
    texts = "" if found else await _device_id(registers, trials)
    found = [trial for trial in trials if trial.marked]
    found = [trial for trial in found if trial.fits] or found
    if not found:
        found_by_rule = await _sunspec(registers, [profile for profile in known if profile.sunspec is not None])
        if found_by_rule is not None:
            return found_by_rule
    registers.forgive()
    for trial in found or trials:
        await _weigh(registers, trial)
    front = found or [trial for trial in trials if trial.fits]
    front = [trial for trial in front if not trial.denied] or front
    if len(front) > 1:
        await _distinguish(registers, front)
    ranked = sorted(front, key=lambda trial: trial.rank, reverse=True)
    serial_number = await _serial_number(registers, ranked)
    candidates = tuple(_candidates(ranked))
    values = ranked[0].values if ranked else {}
    return Identified(candidates, serial_number, texts, values, registers.requests)


async def _read_marks(registers: Registers, trials: Sequence[_Trial]) -> None:
    """Until a mark is found on a meter whose values make sense for its model."""
    places: dict[Block, list[tuple[_Trial, Mark]]] = {}
    for trial in trials:
        for mark in trial.profile.identity.marks:
            places.setdefault(Block(mark.function_code, mark.address, mark.count), []).append((trial, mark))
    for block, marks in places.items():
        data = await registers.read(block)
        if data is None or not data.strip(b"\0") or not data.strip(b"\xff"):
            continue
        for trial, mark in marks:
            shown = _matched(mark, data)
            trial.marked = f"register {mark.address} says {shown}" if shown else trial.marked
            trial.denied = not trial.marked
        if await _any_fits(registers, [trial for trial, _ in marks if trial.marked]):
            return


async def _any_fits(registers: Registers, marked: Sequence[_Trial]) -> bool:
    for trial in marked:
        await _weigh(registers, trial)
    return any(trial.fits or not trial.asked for trial in marked)


def _matched(mark: Mark, data: bytes) -> str:
    """What the meter says, if it is the mark."""
    if mark.ascii:
        text = nameplate_text("ascii", "big", data)
        return repr(text) if text.startswith(mark.ascii) else ""
    number = int.from_bytes(data, "big")
    return str(number) if number in mark.any_of else ""


async def _device_id(registers: Registers, trials: Sequence[_Trial]) -> str:
    """FC 43/14; the texts that the meter gives."""
    if not any(trial.profile.identity.device_id for trial in trials):
        return ""
    answer = await registers.ask(DEVICE_ID_REQUEST)
    objects = device_id_objects(answer) if answer is not None else {}
    vendor, product = objects.get(0, ""), objects.get(1, "")
    for trial in trials:
        wanted = trial.profile.identity.device_id
        if wanted is not None and vendor and _is_device(wanted, vendor, product):
            trial.marked = f"device identification says {vendor} {product}"
    return " ".join(text for text in objects.values() if text)


def _is_device(wanted: DeviceId, vendor: str, product: str) -> bool:
    return vendor.startswith(wanted.vendor) and any(product.startswith(each) for each in wanted.products)


async def _weigh(registers: Registers, trial: _Trial) -> None:
    """Whether voltages and the frequency are where this profile has them."""
    profile = trial.profile
    if trial.weighed:
        return
    trial.weighed = True
    by_name = {register.measurand: register for register in profile.registers}
    names = [name for name in (*PHASES, "voltage_ln_avg") if name in by_name]
    names = (names or [name for name in LINE_TO_LINE if name in by_name])[:3]
    for name in [*names, *(["frequency"] if "frequency" in by_name else [])]:
        verdict, value = await judge(registers, profile, by_name[name])
        trial.asked += 1
        trial.refused |= verdict == "refused"
        trial.wrong |= verdict == "wrong" or (name == "frequency" and verdict == "nothing")
        if verdict == "good":
            trial.good += 1
            trial.values[name] = value
            trial.shown.append(f"{value:g} {by_name[name].meaning.unit}")
        if not trial.good:
            return  # without a first voltage it is not worth another request


async def _distinguish(registers: Registers, front: Sequence[_Trial]) -> None:
    """Ask for registers that not all of them have: a model that has what is refused, or makes no sense, is none."""
    keys = [{_key(register): register for register in trial.profile.registers} for trial in front]
    shared = set.intersection(*(set(each) for each in keys))
    for trial, own in zip(front, keys, strict=True):
        telling = [register for key, register in own.items() if key not in shared]
        step = max(len(telling) // DISTINGUISHING_MAX, 1)
        for register in telling[::step][:DISTINGUISHING_MAX]:
            if register.measurand in trial.values:
                continue
            verdict, _ = await judge(registers, trial.profile, register)
            trial.refused |= verdict == "refused"
            trial.wrong |= verdict == "wrong"
            trial.good += verdict == "good"


def _key(register: Register) -> tuple[object, ...]:
    return (
        register.function_code,
        register.address,
        register.data_type,
        register.word_order,
        register.scale,
        register.scale_register,
    )


async def _serial_number(registers: Registers, ranked: Sequence[_Trial]) -> str:
    for trial in ranked[:CANDIDATES_MAX]:
        place = trial.profile.identity.serial_number
        if place is not None:
            data = await registers.read(Block(place.function_code, place.address, place.count))
            text = nameplate_text(place.type, place.word_order, data) if data is not None else ""
            if text:
                return text
    return ""


def _candidates(ranked: Sequence[_Trial]) -> Iterable[ModelCandidate]:
    """The best share the certainty that there is; the others share the rest."""
    front = [trial for trial in ranked if trial.rank == ranked[0].rank]
    if not front:
        return
    sure = _certainty(front[0])
    others = ranked[len(front) : CANDIDATES_MAX]
    names = [trial.profile.model for trial in front]
    for trial in front:
        tie = [name for name in names if name != trial.profile.model]
        said = _decided(trial) + (f"; the same registers as {', '.join(tie)}" if tie else "")
        yield ModelCandidate(trial.profile.model, trial.profile.vendor, round(sure / len(front), 2), said)
    for trial in others:
        rest = round((1 - sure) / (len(others) + 1), 2)
        yield ModelCandidate(trial.profile.model, trial.profile.vendor, rest, _decided(trial))


def _certainty(trial: _Trial) -> float:
    if trial.marked:
        fairly = not trial.asked or (trial.good and not trial.wrong)  # an answer may have been lost
        return SURE if trial.fits else SURE_WITHOUT_VOLTAGE if fairly else UNSURE_WITHOUT_VOLTAGE
    if trial.refused or trial.wrong or trial.denied:
        return 0.3
    return {0: 0.0, 1: 0.4, 2: 0.7, 3: 0.75}.get(trial.good, 0.8)


def _decided(trial: _Trial) -> str:
    measured = f"{', '.join(trial.shown)} where it has them" if trial.shown else ""
    if trial.asked and not trial.shown:
        measured = "no voltage where it has one"
    return "; ".join(text for text in (trial.marked, measured) if text)


async def _sunspec(registers: Registers, profiles: Sequence[Profile]) -> Identified | None:
    """By SunSpec's own rule."""
    specs = [profile.sunspec for profile in profiles if profile.sunspec is not None]
    if not specs:
        return None
    models = tuple(dict.fromkeys(model for spec in specs for model in spec.models))
    bases = tuple(dict.fromkeys(base for spec in specs for base in spec.bases))
    found = await _search(registers, SunSpec(models, bases))
    if found is None:
        return None
    texts: dict[str, str] = {}
    if found.common is not None:
        data = await registers.read(common_block(found.common))
        texts = nameplate(data) if data is not None else {}
    said = " ".join(texts.get(name, "") for name in ("manufacturer", "model", "version")).strip()
    decided = f'SunSpec model {found.model} at {found.address} ("SunS" at {found.base})' + (f": {said}" if said else "")
    fitting = sorted(
        (profile for profile in profiles if profile.sunspec is not None and found.model in profile.sunspec.models),
        key=lambda profile: len(profile.sunspec.models) if profile.sunspec is not None else 0,
    )
    trial = await _weigh_placed(registers, fitting[0], found)
    if trial is not None and trial.shown:
        decided += f"; {', '.join(trial.shown)}"
    rest = (ModelCandidate(each.model, each.vendor, 0.01, "reads any SunSpec meter") for each in fitting[1:])
    best = ModelCandidate(fitting[0].model, fitting[0].vendor, SURE, decided)
    values = trial.values if trial is not None else {}
    return Identified((best, *rest), texts.get("serial_number", ""), said, values, registers.requests)


async def _weigh_placed(registers: Registers, profile: Profile, found: FoundModel) -> _Trial | None:
    try:
        trial = _Trial(placed(profile, profile, found))
    except NotFoundError:
        return None
    await _weigh(registers, trial)
    return trial


async def _search(registers: Registers, spec: SunSpec) -> FoundModel | None:
    steps = search(spec)
    try:
        block = next(steps)
        while True:
            block = steps.send(await registers.read(block))
    except StopIteration as end:
        found: FoundModel = end.value
        return found
    except NotFoundError:
        return None

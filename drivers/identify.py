"""Which meter is this? What it says of itself decides; where it says nothing, what its registers would mean.

Only reading functions are used: 3, 4 and 43/14. Traps that are minded: meters that answer zeros to any register (a zero
proves nothing), registers that mean the same in several models (they are named as such), and texts of a maker that
built several models.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from drivers.decode import decode
from drivers.nameplate import nameplate_text
from drivers.plan import Block, plan_reads
from drivers.profile_model import DeviceId, Limits, Mark, Profile, Register, SunSpec
from drivers.sunspec import Found, NotFoundError, common_block, nameplate, placed, search

Ask = Callable[[bytes], Awaitable[bytes | None]]
Verdict = Literal["good", "nothing", "wrong", "refused"]

REFUSED = 0x80
DEVICE_ID_REQUEST = b"\x2b\x0e\x01\x00"
DEVICE_ID_TEXTS_AT = 7  # function, type, code, conformity, more, next, number of objects
SILENCES_MAX = 4  # a meter that leaves out what it does not know is not asked for everything
DISTINGUISHING_MAX = 8
CANDIDATES_MAX = 4
SQRT_3 = 3**0.5
LINE_TO_LINE = ("voltage_l1_l2", "voltage_l2_l3", "voltage_l3_l1", "voltage_ll_avg")
PHASES = ("voltage_l1_n", "voltage_l2_n", "voltage_l3_n")
SURE, SURE_WITHOUT_VOLTAGE, UNSURE_WITHOUT_VOLTAGE = 0.98, 0.9, 0.6  # of models that say who they are
PLAUSIBLE_MAX = {"A": 1e5, "W": 1e8, "var": 1e8, "VA": 1e8, "Wh": 1e13, "varh": 1e13, "VAh": 1e13, "1": 1.01}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model, and how sure it is (0 to 1). `decided` says by what."""

    model: str
    vendor: str
    confidence: float
    decided: str


@dataclass(frozen=True, slots=True)
class Identified:
    """`candidates` are the likeliest first, none where nothing fits; `values` are samples in vocabulary units."""

    candidates: tuple[Candidate, ...] = ()
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


class _Registers:
    """Reads each place once, and remembers what it said."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: dict[Block, bytes | None] = {}
        self._silences = 0
        self.requests = 0

    async def read(self, block: Block) -> bytes | None:
        """The registers, None where the meter refuses them or says nothing."""
        if block not in self._known:
            self._known[block] = await self._read(block)
        return self._known[block]

    async def _read(self, block: Block) -> bytes | None:
        body = bytes((block.function_code,)) + block.address.to_bytes(2, "big") + block.count.to_bytes(2, "big")
        answer = await self.ask(body)
        if answer is None or answer[0] != block.function_code or len(answer) != 2 + 2 * block.count:
            return None
        return answer[2:]

    async def ask(self, body: bytes) -> bytes | None:
        if self._silences >= SILENCES_MAX:
            return None
        self.requests += 1
        answer = await self._ask(body)
        self._silences = self._silences + 1 if answer is None else 0
        return answer

    def forgive(self) -> None:
        """What comes next is worth asking, however silent it was about what came before."""
        self._silences = 0


async def identify(ask: Ask, profiles: Iterable[Profile]) -> Identified:
    """Find out which of `profiles` the meter behind `ask` is. `ask` sends a body and returns the answer's, or None."""
    known = [profile for profile in profiles if profile.protocol == "modbus"]
    registers = _Registers(ask)
    trials = [_Trial(profile) for profile in known if profile.sunspec is None]
    texts = await _device_id(registers, trials)
    await _read_marks(registers, trials)
    found = [trial for trial in trials if trial.marked]
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


async def _read_marks(registers: _Registers, trials: Sequence[_Trial]) -> None:
    marks = [(trial, mark) for trial in trials for mark in trial.profile.identity.marks]
    for trial, mark in marks:
        data = await registers.read(Block(mark.function_code, mark.address, mark.count))
        if data is None or not data.strip(b"\0") or not data.strip(b"\xff"):
            continue
        shown = _matched(mark, data)
        if shown:
            trial.marked = f"register {mark.address} says {shown}"
        else:
            trial.denied = True
    for trial in trials:
        trial.denied = trial.denied and not trial.marked


def _matched(mark: Mark, data: bytes) -> str:
    """What the meter says, if it is the mark."""
    if mark.ascii:
        text = nameplate_text("ascii", "big", data)
        return repr(text) if text.startswith(mark.ascii) else ""
    number = int.from_bytes(data, "big")
    return str(number) if number in mark.any_of else ""


async def _device_id(registers: _Registers, trials: Sequence[_Trial]) -> str:
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


def device_id_objects(answer: bytes) -> dict[int, str]:
    """The texts of an answer to FC 43/14 by object number; empty for anything else."""
    objects: dict[int, str] = {}
    if answer[:2] != DEVICE_ID_REQUEST[:2]:
        return objects
    at = DEVICE_ID_TEXTS_AT
    while at + 1 < len(answer):
        text = answer[at + 2 : at + 2 + answer[at + 1]].decode("ascii", "replace")
        objects[answer[at]] = "".join(letter for letter in text if letter.isprintable()).strip()
        at += 2 + answer[at + 1]
    return objects


async def _weigh(registers: _Registers, trial: _Trial) -> None:
    """Whether voltages and the frequency are where this profile has them."""
    profile = trial.profile
    by_name = {register.measurand: register for register in profile.registers}
    names = [name for name in (*PHASES, "voltage_ln_avg") if name in by_name]
    names = (names or [name for name in LINE_TO_LINE if name in by_name])[:3]
    for name in [*names, *(["frequency"] if "frequency" in by_name else [])]:
        verdict, value = await _judge(registers, profile, by_name[name])
        trial.asked += 1
        trial.refused |= verdict == "refused"
        trial.wrong |= verdict == "wrong" or (name == "frequency" and verdict == "nothing")
        if verdict == "good":
            trial.good += 1
            trial.values[name] = value
            trial.shown.append(f"{value:g} {by_name[name].meaning.unit}")
        if not trial.good:
            return  # without a first voltage it is not worth another request


async def _judge(registers: _Registers, profile: Profile, register: Register) -> tuple[Verdict, float]:
    """What the register says, and whether a meter may say so."""
    steps: int | None = None
    flags: tuple[int, ...] = ()
    for limits in (profile.limits, replace(profile.limits, gaps=False)):
        data = await _answers(registers, register, limits)
        if data is not None:
            (steps,), flags = decode([register], *data)
            break
    else:
        return "refused", 0.0
    value = 0.0 if steps is None else float(steps * register.resolution.step)
    if not value:
        return ("nothing" if not any(flags) or steps is None else "wrong"), value
    return ("good" if is_plausible(profile, register, value) else "wrong"), value


async def _answers(
    registers: _Registers, register: Register, limits: Limits
) -> tuple[tuple[Block, ...], list[bytes]] | None:
    blocks = plan_reads([register], limits)
    answers: list[bytes] = []
    for block in blocks:
        data = await registers.read(block)
        if data is None:
            return None
        answers.append(data)
    return blocks, answers


def is_plausible(profile: Profile, register: Register, value: float) -> bool:
    """Whether a meter of this rating, in any grid, may say so."""
    unit = register.meaning.unit
    if unit == "V":
        low, high = profile.rating.voltage_range_v
        factor = SQRT_3 if register.measurand in LINE_TO_LINE else 1
        return low * factor <= value <= high * factor
    if unit == "Hz":
        low, high = profile.rating.frequency_range_hz
        return low <= value <= high
    limit = profile.rating.current_max_a if unit == "A" else None
    return abs(value) <= (limit or PLAUSIBLE_MAX.get(unit, 1e13))


async def _distinguish(registers: _Registers, front: Sequence[_Trial]) -> None:
    """Ask for registers that not all of them have: a model that has what is refused, or makes no sense, is none."""
    keys = [{_key(register): register for register in trial.profile.registers} for trial in front]
    shared = set.intersection(*(set(each) for each in keys))
    for trial, own in zip(front, keys, strict=True):
        telling = [register for key, register in own.items() if key not in shared]
        step = max(len(telling) // DISTINGUISHING_MAX, 1)
        for register in telling[::step][:DISTINGUISHING_MAX]:
            if register.measurand in trial.values:
                continue
            verdict, _ = await _judge(registers, trial.profile, register)
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


async def _serial_number(registers: _Registers, ranked: Sequence[_Trial]) -> str:
    for trial in ranked[:CANDIDATES_MAX]:
        place = trial.profile.identity.serial_number
        if place is not None:
            data = await registers.read(Block(place.function_code, place.address, place.count))
            text = nameplate_text(place.type, place.word_order, data) if data is not None else ""
            if text:
                return text
    return ""


def _candidates(ranked: Sequence[_Trial]) -> Iterable[Candidate]:
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
        yield Candidate(trial.profile.model, trial.profile.vendor, round(sure / len(front), 2), said)
    for trial in others:
        rest = round((1 - sure) / (len(others) + 1), 2)
        yield Candidate(trial.profile.model, trial.profile.vendor, rest, _decided(trial))


def _certainty(trial: _Trial) -> float:
    if trial.marked:
        return SURE if trial.fits else SURE_WITHOUT_VOLTAGE if not trial.asked else UNSURE_WITHOUT_VOLTAGE
    if trial.refused or trial.wrong or trial.denied:
        return 0.3
    return {0: 0.0, 1: 0.4, 2: 0.7, 3: 0.75}.get(trial.good, 0.8)


def _decided(trial: _Trial) -> str:
    measured = f"{' and '.join(trial.shown)} where it has them" if trial.shown else ""
    if trial.asked and not trial.shown:
        measured = "no voltage where it has one"
    return "; ".join(text for text in (trial.marked, measured) if text)


async def _sunspec(registers: _Registers, profiles: Sequence[Profile]) -> Identified | None:
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
        decided += f"; {' and '.join(trial.shown)}"
    rest = (Candidate(each.model, each.vendor, 0.01, "reads any SunSpec meter") for each in fitting[1:])
    best = Candidate(fitting[0].model, fitting[0].vendor, SURE, decided)
    values = trial.values if trial is not None else {}
    return Identified((best, *rest), texts.get("serial_number", ""), said, values, registers.requests)


async def _weigh_placed(registers: _Registers, profile: Profile, found: Found) -> _Trial | None:
    try:
        trial = _Trial(placed(profile, profile, found))
    except NotFoundError:
        return None
    await _weigh(registers, trial)
    return trial


async def _search(registers: _Registers, spec: SunSpec) -> Found | None:
    steps = search(spec)
    try:
        block = next(steps)
        while True:
            block = steps.send(await registers.read(block))
    except StopIteration as end:
        found: Found = end.value
        return found
    except NotFoundError:
        return None

"""What is doubtful about a profile that can be used, and about values that were read with it. Pure.

A mistake makes a profile unusable and is found by `parse_profile`; a remark is something to look at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor, inf, log10, sqrt

from drivers.profile.model import Profile, Register
from wire.measurand import BY_NAME

TOTALS = ("energy_active_import_total", "energy_active_sum_total", "volume_total", "energy_heat_total")
POWERS = ("power_active_total", "power_active_import")
DEFAULT_MAX = 24
WRAPS_EARLY_WH = 1_000_000
# What is coarser says less than meters measure; what is finer has digits that mean nothing.
COARSEST = {"V": "1", "A": "0.1", "W": "10", "var": "10", "VA": "10", "1": "0.01", "Hz": "0.1"}
FINEST = {"V": "0.001", "A": "0.0001", "W": "0.001", "var": "0.001", "VA": "0.001", "1": "0.0001", "Hz": "0.001"}
POWER_SLACK_W = 20
SHARE_SLACK = 0.1


@dataclass(frozen=True, slots=True)
class ProfileRemark:
    """One doubtful thing: where (key path), what, and what to do. A hint is something that would be good to know."""

    path: str
    problem: str
    advice: str
    is_hint: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.advice}"


def remarks(profile: Profile) -> tuple[ProfileRemark, ...]:
    """All that is doubtful about `profile`, warnings before hints."""
    found = [*_default(profile), *_registers(profile), *_phases(profile), *_timing(profile), *_unknown(profile)]
    return tuple(sorted(found, key=lambda remark: remark.is_hint))


def _default(profile: Profile) -> Iterator[ProfileRemark]:
    known = profile.measurands
    missing = [name for name in TOTALS if name in known]
    if missing and not any(name in profile.default for name in missing):
        yield ProfileRemark("default", f"{missing[0]} is not in it", "add it: it is what a bill is made of")
    powers = [name for name in POWERS if name in known]
    if powers and not any(name in profile.default for name in powers):
        yield ProfileRemark("default", f"{powers[0]} is not in it", "add it, unless nobody wants to see the power")
    if len(profile.default) > DEFAULT_MAX:
        advice = f"name the {DEFAULT_MAX} or fewer that most people need; others can be asked for by name"
        yield ProfileRemark("default", f"it reads {len(profile.default)} values each time", advice)


def _registers(profile: Profile) -> Iterator[ProfileRemark]:
    for register in profile.registers:
        path = f"registers.{register.measurand}"
        step, unit = Fraction(register.resolution.step), register.meaning.unit
        own = abs(register.scale) if "int" in register.data_type and register.scale_register is None else None
        if own is not None and step > own:
            yield ProfileRemark(
                f"{path}.resolution", f"{step} {unit} is coarser than the meter's own step", f"use {own}"
            )
        elif own is not None and step < usual_step(register):
            text = f"{float(step)} {unit} is finer than the meter's own step, {float(own)}"
            yield ProfileRemark(f"{path}.resolution", text, "use the meter's, or check the scale")
        elif own is None and step > Fraction(COARSEST.get(unit, "1000")):
            yield ProfileRemark(f"{path}.resolution", f"{float(step)} {unit} is coarse", "use a finer step")
        elif own is None and step < Fraction(FINEST.get(unit, "0.001")):
            yield ProfileRemark(
                f"{path}.resolution", f"{float(step)} {unit} is finer than meters measure", "use a coarser step"
            )
        if unit == "Wh" and register.rollover is not None and register.rollover < WRAPS_EARLY_WH:
            text = f"it begins anew at {float(register.rollover):,.0f} Wh"
            yield ProfileRemark(f"{path}.type", text, "check type and scale, or say where with rollover")
    wide = {register.word_order for register in profile.registers if register.count > 1}
    if len(wide) > 1:
        yield ProfileRemark(
            "registers", "some values have the low word first and some the high word", "check word_order"
        )


def _phases(profile: Profile) -> Iterator[ProfileRemark]:
    known = profile.measurands
    stems = {match[1]: match[2] for name in known if (match := re.fullmatch(r"((?!voltage_l._l).*_l)[123](_n)?", name))}
    for stem, tail in stems.items():
        there = [phase for phase in (1, 2, 3) if f"{stem}{phase}{tail or ''}" in known]
        if there not in ([1], [1, 2], [1, 2, 3]):
            names = ", ".join(f"{stem}{phase}{tail or ''}" for phase in there)
            yield ProfileRemark(
                f"registers.{stem}{there[0]}{tail or ''}", f"there is only {names}", "add the other phases"
            )


def _timing(profile: Profile) -> Iterator[ProfileRemark]:
    timing = profile.timing
    if timing.answer_timeout_ms <= timing.answer_typical_ms:
        text = f"{timing.answer_timeout_ms} ms is not above answer_typical_ms, {timing.answer_typical_ms}"
        yield ProfileRemark("timing.answer_timeout_ms", text, "use several times the usual answer time")


def _unknown(profile: Profile) -> Iterator[ProfileRemark]:
    if profile.vendor == "unknown":
        yield ProfileRemark("vendor", "nobody is named", "say who makes the meter")
    if profile.protocol != "modbus" or profile.sunspec is not None:
        return
    identity = profile.identity
    if profile.rating.current_max_a is None and profile.ct == "none":
        advice = "say it, and counters that jump farther than it allows are flagged"
        yield ProfileRemark("rating.current_max_a", "not known", advice, is_hint=True)
    if not identity.marks and identity.device_id is None:
        advice = "say identity.marks, and a scan recognises the meter"
        yield ProfileRemark("identity.marks", "not known how it says its model", advice, is_hint=True)
    if identity.serial_number is None:
        advice = "say identity.serial_number, and an exchanged meter is noticed"
        yield ProfileRemark("identity.serial_number", "not known", advice, is_hint=True)


def doubts(profile: Profile, values: Mapping[str, float]) -> dict[str, str]:
    """Measurand -> what is implausible about its value; `values` are those that the meter had."""
    found: dict[str, str] = {}
    for name, value in values.items():
        text = _range_doubt(profile, name, value)
        if text:
            found[name] = text
    for name, text in (*_power_doubts(values), *_sum_doubts(values)):
        found.setdefault(name, text)
    return found


def are_all_zero(values: Iterable[float]) -> bool:
    """Whether there is nothing but zeros, which some meters answer to any register."""
    return not any(values)


def _range_doubt(profile: Profile, name: str, value: float) -> str:
    rating = profile.rating
    low, high = rating.voltage_range_v
    amperes = inf if rating.current_max_a is None else rating.current_max_a
    ranges: tuple[tuple[str, float, float, str], ...] = (
        (r"voltage_(l\d_n|ln_avg)", low, high, "V"),
        (r"voltage_.*", low * sqrt(3), high * sqrt(3), "V"),
        (r"frequency", *rating.frequency_range_hz, "Hz"),
        (r"power_factor_.*", -1, 1, ""),
        (r"current_l\d", -amperes, amperes, "A"),
        (r"energy_(?!active_net).*", 0, inf, BY_NAME[name].unit),
    )
    found = next((entry[1:] for entry in ranges if re.fullmatch(entry[0], name)), None)
    return "" if found is None else _outside(value, *found)


def _outside(value: float, low: float, high: float, unit: str) -> str:
    if high == inf and value < low:
        return f"below {low:.4g} {unit}"
    return "" if low <= value <= high else f"outside of {low:.4g} to {high:.4g} {unit}".rstrip()


def _power_doubts(values: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """A power that voltage, current and power factor do not make: mostly a scale that is wrong by tens."""
    names = [("l1", "power_active_l1", "power_factor_l1"), ("l2", "power_active_l2", "power_factor_l2")]
    names.append(("l3", "power_active_l3", "power_factor_l3"))
    if "current_l2" not in values:
        names.append(("l1", "power_active_total", "power_factor_total"))
    for phase, name, factor_name in names:
        power, volts = values.get(name), values.get(f"voltage_{phase}_n")
        amperes, factor = values.get(f"current_{phase}"), values.get(factor_name, 0.0)
        if power is None or volts is None or amperes is None:
            continue
        apparent = abs(volts * amperes)
        if abs(power) > apparent * (1 + SHARE_SLACK) + POWER_SLACK_W:
            yield name, f"more than voltage times current, {apparent:.0f} VA"
        elif abs(power) < SHARE_SLACK * apparent * abs(factor) - POWER_SLACK_W:
            yield name, f"far less than voltage, current and power factor make, {apparent * abs(factor):.0f} W"


def _sum_doubts(values: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    phases = [values[name] for name in ("power_active_l1", "power_active_l2", "power_active_l3") if name in values]
    total = values.get("power_active_total")
    if total is None or len(phases) != 3:  # noqa: PLR2004 - phases
        return
    if abs(total - sum(phases)) > SHARE_SLACK * sum(map(abs, phases)) + POWER_SLACK_W:
        yield "power_active_total", f"not the sum of its phases, {sum(phases):.0f} W"


def usual_step(register: Register) -> Fraction:
    """The step that a value is kept in where nobody says one: the meter's own, or what floats are worth."""
    if "int" in register.data_type:
        own = abs(register.scale)
        return own if is_decimal(own) else _power_of_ten_below(own)
    usual = {"V": "0.1", "A": "0.001", "1": "0.001", "Hz": "0.01", "Wh": "1", "varh": "1", "VAh": "1", "m3": "0.001"}
    return Fraction(usual.get(register.meaning.unit, "0.1"))


def is_decimal(number: Fraction) -> bool:
    """Whether some decimal is exactly `number`."""
    left = number.denominator
    for factor in (2, 5):
        while left % factor == 0:
            left //= factor
    return left == 1


def _power_of_ten_below(number: Fraction) -> Fraction:
    power = Fraction(10) ** floor(log10(number))
    return power if power <= number else power / 10

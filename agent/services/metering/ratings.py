"""What a profile and the configuration say of a meter, as `agent.core.truth.plausibility` wants it."""

from __future__ import annotations

from fractions import Fraction

from agent.core.truth.bounds import Ratings
from drivers.profile.model import Profile

SINGLE = frozenset({"voltage_l1_n", "current_l1", "power_active_l1"})
OTHER_PHASES = ("_l2", "_l3", "_l2_n", "_l3_n", "_l2_l3")


def ratings(profile: Profile, ct_ratio: float = 1, vt_ratio: float = 1) -> Ratings:
    """On the primary side. The ratios are the configured ones, and count where the box applies them.

    Where the meter applies a ratio of its own, nobody told us which.
    """
    ct = ct_ratio if profile.ct == "box" else 1
    vt = vt_ratio if profile.vt == "box" else 1
    low_v, high_v = profile.rating.voltage_range_v
    current_a = profile.rating.current_max_a
    return Ratings(
        None if current_a is None else current_a * ct,
        (low_v * vt, high_v * vt),
        profile.rating.frequency_range_hz,
        1 if _is_single_phase(profile) else 3,
        ct * vt,
        _rollovers(profile, ct, vt),
        vt_unknown=profile.vt == "meter",
    )


def _is_single_phase(profile: Profile) -> bool:
    """Whether the profile has values of L1 and none of another phase: with totals alone, there may be three."""
    names = set(profile.measurands)
    return bool(names & SINGLE) and not any(name.endswith(OTHER_PHASES) for name in names)


def _rollovers(profile: Profile, ct: float, vt: float) -> dict[str, Fraction]:
    ends = {
        register.measurand: register.rollover
        * (Fraction(str(ct)) if register.scales_with_ct else 1)
        * (Fraction(str(vt)) if register.scales_with_vt else 1)
        for register in profile.registers
        if register.rollover is not None
    }
    return ends | {field.measurand: field.rollover for field in profile.fields if field.rollover is not None}

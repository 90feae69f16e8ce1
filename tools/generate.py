"""Write the files that are made from code, or with `--check` say which of them are not current."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from agent.settings.model import AgentFile
from drivers.profile.files import find_profile, shipped_profiles
from drivers.profile.parse import Profile
from drivers.profile.schema import json_schema as profile_schema
from wire.document_reader import DEFAULT_RESOLUTIONS, FINEST
from wire.measurand import VOCABULARY

ROOT = Path(__file__).parent.parent


def agent_schema() -> dict[str, object]:
    """The JSON schema of agent.toml, for editors (Even Better TOML, taplo); `check-config` checks more."""
    schema = msgspec.json.schema(AgentFile)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "wattpost agent.toml", **schema}


MEASURANDS_INTRO = """\
# Measurands

This is the list of the quantities that Wattpost knows. A batch refers to them by number
([wire-format.md](wire-format.md)). Any other name (1 to 64 of `a-z 0-9 _`) is written into the batch as text. Numbers
are never reused. `make generate` writes this file from `wire/measurand.py`.

- **Sign.** Import, energy that comes from the grid, is positive. `power_active_*` below zero is export. Export counters
  count up. `energy_*_sum_*` is import plus export; `energy_active_net_total` is import minus export.
- **Kind.** A *counter* only goes up, until it rolls over or the meter is replaced; the difference of two readings is
  what was consumed or produced between them. An *instant* is the value at the time of the reading.
- **Names.** A `*_resettable` counter can be set to 0 at the meter. A `*_f32` counter is the same counter as a float32,
  whose step becomes coarser beyond 16.7 MWh. `power_active_import` and `power_active_export` are never below 0.
  `power_active_demand` is the mean over the meter's own period. `l1`, `l2`, `l3` are the phases, `n` is neutral.
- **Unit.** Water, heat and gas use m3, m3/h and degC. The unit 1 is a plain number.
- **Step.** `wattpost encode` uses this resolution if neither a profile nor the sender gives one.
- **OBIS.** The code of IEC 62056-61, if there is one.

| number | name | unit | kind | step | OBIS |
|---:|---|---|---|---|---|
"""


def measurands() -> str:
    """docs/measurands.md."""
    lines = []
    for m in VOCABULARY:
        step = DEFAULT_RESOLUTIONS.get(m.unit, FINEST).step
        lines.append(f"| {m.number} | `{m.name}` | {m.unit} | {m.kind} | {step} | {m.obis or ''} |\n")
    return MEASURANDS_INTRO + "".join(lines)


METERS_INTRO = """\
# Supported meters

These models come with Wattpost. Write the name in the first column as `model` of a `[[meter]]`.
`wattpost check-profile MODEL` lists what the model measures, with caveats and sources. If your meter is
not in the list, you can add it in ten minutes: [a meter of your own](tutorial-own-meter.md). `make generate` writes
this file from `drivers/profiles/`.

- **Values.** How many measurands the profile has, and in brackets how many of them Wattpost reads by default.
- **Line.** The factory settings of the meter. If they are not known, the caveats of the profile say so.
- **Ratio.** Who multiplies by the ratio of current transformers: nobody (*direct*), the *meter*, or the *box*.
- **Recognised by.** How `wattpost scan` recognises the model. *serial* means that Wattpost notices a replaced meter by
  its serial number.
"""


def meters() -> str:
    """docs/meters.md."""
    profiles = [find_profile(model) for model in sorted(shipped_profiles())]
    parts = [METERS_INTRO]
    for title, is_here in (
        ("Modbus RTU and TCP", lambda profile: profile.protocol == "modbus"),
        ("Other protocols", lambda profile: profile.protocol != "modbus"),
    ):
        rows = [meter_row(profile) for profile in profiles if is_here(profile)]
        head = (
            "| model | vendor | what it is | values | line | ratio | recognised by |\n|---|---|---|---|---|---|---|\n"
        )
        if rows:
            parts.append(f"\n## {title}\n\n{head}{''.join(rows)}")
    return "".join(parts)


def meter_row(profile: Profile) -> str:
    serial = profile.serial
    line = f"{serial.baudrate} {serial.databits}{serial.parity}{serial.stopbits}"
    if profile.protocol == "modbus":
        line += f", unit {serial.unit}"
    else:
        line += f", {profile.protocol}"
    values = f"{len(profile.measurands)} ({len(profile.default)})"
    ratio = {"none": "direct", "meter": "meter", "box": "box"}[profile.ct]
    cells = (f"`{profile.model}`", profile.vendor, profile.description, values, line, ratio, recognition(profile))
    return f"| {' | '.join(cells)} |\n"


def recognition(profile: Profile) -> str:
    """What a profile says of how its meter says who it is."""
    identity = profile.identity
    known = {
        "SunSpec's chain": profile.sunspec is not None,
        "registers": bool(identity.marks),
        "function 43": identity.device_id is not None,
        "serial": identity.serial_number is not None or profile.sunspec is not None,
    }
    found = ", ".join(name for name, is_known in known.items() if is_known)
    return found or ("its telegram" if profile.protocol != "modbus" else "plausible values")


def as_text(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


CONTENT_BY_FILE: dict[str, Callable[[], str]] = {
    "config/agent.schema.json": lambda: as_text(agent_schema()),
    "config/profile.schema.json": lambda: as_text(profile_schema()),
    "docs/measurands.md": measurands,
    "docs/meters.md": meters,
}


def main() -> None:
    stale = [name for name, content in CONTENT_BY_FILE.items() if read(ROOT / name) != content()]
    if "--check" in sys.argv[1:]:
        if stale:
            raise SystemExit(f"not current: {', '.join(stale)}; run: make generate")
        print(f"{len(CONTENT_BY_FILE)} generated files are current")
        return
    for name in stale:
        (ROOT / name).write_text(CONTENT_BY_FILE[name]())
        print(f"{name}: written")


def read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


if __name__ == "__main__":
    main()

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

The vocabulary of Wattpost: what a column of a batch can be. A batch names these by number
([wire-format.md](wire-format.md)); any other name of `a-z 0-9 _` (1 to 64) travels as text. Numbers are never reused.
This file is made from `wire/measurand.py` by `make generate`.

- **Sign.** Import is positive: energy that comes from the grid. `power_active_*` below zero is export. A counter of
  export counts up. `energy_*_sum_*` is import plus export, `energy_active_net_total` is import less export.
- **Kind.** A *counter* only ever goes up, until it wraps or the meter is replaced; differences of it mean something. An
  *instant* is what the meter measured when it was read.
- **Others.** `*_resettable` counters can be set to 0 at the meter. `*_f32` are copies of counters as float32, whose
  step grows beyond 16.7 MWh. `power_active_import` and `_export` are never below 0, `power_active_demand` is a mean
  over the meter's period. Water, heat and gas have m3, m3/h and degC.
- **Step** is what `wattpost encode` takes where neither a profile nor the sender says the resolution.
- **OBIS** is the code of IEC 62056-61, where there is one. `l1`, `l2`, `l3` are the phases, `n` is neutral; unit 1 is a
  plain number.

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

The models that come with Wattpost: what stands in `model` of a `[[meter]]`. `wattpost check-profile MODEL` lists what
one measures, with caveats and sources; a meter that is not here takes ten minutes: [a meter of your
own](tutorial-own-meter.md). This file is made from `drivers/profiles/` by `make generate`.

- **Values** is how many measurands the profile knows, and how many of them it reads unless you name others.
- **Line** is how the meter leaves the factory, as far as that is known: the profile's caveats say where it is not.
- **Ratio** says who multiplies by the ratio of current transformers: nobody (direct), the meter, or the box.
- **Recognised by** is what a scan goes by; *serial* says that an exchanged meter is noticed by its serial number.
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

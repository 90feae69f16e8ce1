"""The options of the simulator, and its help."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers.profile.files import find_profile, shipped_profiles
from drivers.profile.parse import Profile
from meter_sim.faults.schedule import DEFAULT_TIME_S, LINE, METER, UNIT_MAX, WIRE, check_unit
from meter_sim.telegrams.telegram_meter import telegram_models
from meter_sim.world.scenarios import SCENARIOS

LEAST, MOST = 0.001, 86_400  # of seconds between new values, and of how much faster time passes
DELAY_MAX_MS = 60_000
ADDRESS_MAX = 0xFFFF
SERIAL_UNITS = range(1, 248)  # 0 is a broadcast, and 248 to 255 are reserved (Modbus over serial line, 2.2)
TCP_UNITS = range(UNIT_MAX + 1)  # 0 and 255 are the device itself


def _table(kinds: Mapping[str, str]) -> str:
    return "\n".join(f"  {kind:<11} {text}" for kind, text in kinds.items())


EPILOG = f"""examples:
  two meters on a serial line, at the speed of the wire
    python hardware-sim --pty /tmp/meters --meter eastron-sdm630:1 --meter eastron-sdm120:2:pv --baud-pace
  a gateway, with a log of what was served
    python hardware-sim --tcp 127.0.0.1:5020 --meter schneider-iem3155:1 --seed 7 --served served.jsonl
  a bad line, and unit 2 dead
    python hardware-sim --pty /tmp/meters --meter eastron-sdm630:1 --meter eastron-sdm630:2 \\
        --fault "crc=2%, lead=5%, late=0.5%" --fault silence@2
  the customer port of a smart meter, which sends a telegram each second; a heat meter on an M-Bus
    python hardware-sim --pty /tmp/p1 --meter dsmr-p1:pv
    python hardware-sim --pty /tmp/mbus --meter mbus-heat:7
  faults switched by hand: type `fault crc=5%`, `unplug 3s`, `swap 1`, `help`
    python hardware-sim --pty /tmp/meters --control

faults are KIND[=SHARE][:TIME][@UNIT], separated by commas: SHARE of all answers (default 100%), TIME for those that
last ({", ".join(DEFAULT_TIME_S)}), UNIT for one meter alone; several may hit one answer
of the wire:
{_table(WIRE)}
of the meter:
{_table(METER)}
of the adapter:
{_table(LINE)}

Prints one line, `ready WHERE`, once masters can read. Ends on SIGTERM or Ctrl-C. docs/simulator.md tells more."""


def parser() -> argparse.ArgumentParser:
    """What `--help` prints."""
    parser = argparse.ArgumentParser(
        prog="hardware-sim",
        description="Simulated meters: Modbus RTU (pseudo-terminal) and TCP, P1, SML, IEC 62056-21, HAN port, M-Bus.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument_group("where").add_argument
    add("--pty", type=Path, metavar="LINK", help="serve on a pseudo-terminal and let LINK point to it")
    add("--tcp", metavar="HOST:PORT", help="serve Modbus TCP there; port 0 takes a free one")
    add = parser.add_argument_group("meters").add_argument
    models = ", ".join(shipped_profiles())
    add(
        "--meter",
        action="append",
        metavar="MODEL[:UNIT][:SCENARIO]",
        help=f"a meter on the line, may be repeated ({models})",
    )
    add("--profiles", type=Path, action="append", default=[], metavar="DIR", help="a folder with more profiles")
    add("--scenario", choices=SCENARIOS, default="household", help="what hangs behind the meters (default household)")
    add("--load", type=Path, metavar="FILE.csv", help="play this recorded household instead of a made-up one")
    add("--seed", default="1", help="same seed, same values and serial numbers (default 1)")
    add("--refresh", type=float, default=1.0, metavar="S", help="how often the meters take new values (default 1)")
    add("--speed", type=float, default=1.0, metavar="FACTOR", help="let time behind the meters pass faster")
    add(
        "--telegram-interval",
        type=float,
        metavar="S",
        help="of meters that send by themselves (default: as the real one, 1 to 10 s)",
    )
    add("--sunspec-base", type=int, metavar="ADDRESS", help="where SunSpec maps begin (default: the profile's first)")
    add("--lenient", action="store_true", help="registers that do not exist read 0, as on some real meters")
    add = parser.add_argument_group("wire").add_argument
    add(
        "--answer-delay-ms",
        action="append",
        default=[],
        metavar="MS[@UNIT]",
        help="how long meters, or one of them, take to answer; may be repeated",
    )
    add("--baud-pace", action="store_true", help="serial: let every character take its time on the wire")
    add("--baud", type=int, help="for --baud-pace (default: the first meter's)")
    add("--parity", choices=("N", "E", "O"), help="for --baud-pace (default: the first meter's)")
    add("--stopbits", type=int, choices=(1, 2), help="for --baud-pace (default: the first meter's)")
    add("--deaf", action="store_true", help="serial: understand no master at other speeds or stop bits than these")
    add = parser.add_argument_group("faults").add_argument
    add("--fault", action="append", default=[], metavar="FAULTS", help="see below; may be repeated")
    add("--fault-seed", default="1", metavar="SEED", help="same seed and requests, same faults (default 1)")
    add("--control", action="store_true", help="take commands on standard input, reply on standard output")
    add = parser.add_argument_group("log").add_argument
    add(
        "--served",
        type=Path,
        metavar="FILE.jsonl",
        help="append a line per answer: when, what, which values and faults",
    )
    return parser


@dataclass(frozen=True, slots=True)
class Wanted:
    """One meter of the command line."""

    profile: Profile
    scenario: str


def wanted_meters(
    texts: Sequence[str] | None, folders: Sequence[Path], scenario: str, units: range = SERIAL_UNITS
) -> dict[int, Wanted]:
    """Unit -> meter; `ValueError` and `ProfileError` name what is wrong."""
    meters: dict[int, Wanted] = {}
    for text in texts or ["eastron-sdm630:1"]:
        model, *rest = text.split(":")
        profile = find_profile(model, folders)
        unit = rest.pop(0) if rest and (rest[0].isdecimal() or has_unit(profile)) else "" if has_unit(profile) else "1"
        if not unit.isdecimal() or int(unit) not in units or len(rest) > 1:
            known = f"{SERIAL_UNITS[0]}..{SERIAL_UNITS[-1]}, and {TCP_UNITS[0]}..{TCP_UNITS[-1]} with --tcp alone"
            raise ValueError(f"--meter {text}: expected MODEL:UNIT[:SCENARIO] with a unit of {known}")
        if int(unit) in meters:
            raise ValueError(f"--meter {text}: unit {unit} is taken by {meters[int(unit)].profile.model}")
        own = rest[0] if rest else scenario
        if own not in SCENARIOS:
            raise ValueError(f"--meter {text}: no scenario {own!r}; there are {', '.join(SCENARIOS)}")
        meters[int(unit)] = Wanted(profile, own)
    _check_company(meters)
    return meters


def has_unit(profile: Profile) -> bool:
    """Whether several meters of this kind can share a line and are told apart by a number."""
    return profile.protocol in ("modbus", "mbus")


def _check_company(meters: Mapping[int, Wanted]) -> None:
    profiles = [meter.profile for meter in meters.values()]
    first = profiles[0]
    if first.protocol != "modbus" and first.model not in telegram_models():
        raise ValueError(f"--meter {first.model}: there are telegrams of {', '.join(telegram_models())} only")
    for other in profiles[1:]:
        if other.protocol != first.protocol or not has_unit(other):
            raise ValueError(
                f"--meter {other.model}: cannot share a line with {first.model}; start a simulator for each"
            )


def answer_delays(texts: Sequence[str], units: Collection[int]) -> dict[int | None, float]:
    """Unit (None: all others) -> seconds; `ValueError` names what is wrong."""
    delays: dict[int | None, float] = {}
    for text in texts:
        number, _, unit = text.partition("@")
        try:
            delay_ms = float(number)
        except ValueError:
            delay_ms = -1
        if not 0 <= delay_ms <= DELAY_MAX_MS or (unit and not unit.isdecimal()):
            raise ValueError(f"--answer-delay-ms {text}: expected MS[@UNIT] with 0..{DELAY_MAX_MS} ms")
        if unit:
            check_unit(f"--answer-delay-ms {text}", int(unit), units)
        delays[int(unit) if unit else None] = delay_ms / 1000
    return delays


def check(options: argparse.Namespace) -> None:
    """The numbers that argparse cannot check; `ValueError` names the first wrong one."""
    if not all(LEAST <= number <= MOST for number in (options.refresh, options.speed)):
        raise ValueError(f"--refresh and --speed must be in {LEAST}..{MOST}")
    if options.telegram_interval is not None and not LEAST <= options.telegram_interval <= MOST:
        raise ValueError(f"--telegram-interval must be in {LEAST}..{MOST}")
    if options.baud is not None and options.baud <= 0:
        raise ValueError("--baud must be above 0")
    if options.sunspec_base is not None and not 0 <= options.sunspec_base <= ADDRESS_MAX:
        raise ValueError(f"--sunspec-base must be in 0..{ADDRESS_MAX}")

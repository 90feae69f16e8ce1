"""The command line of the simulator."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import TextIO

from drivers.profile import Profile, ProfileError, find_profile, shipped_profiles
from meter_sim.household import Household, Load, RecordedLoad
from meter_sim.instrument import Instrument
from meter_sim.line import Line, SimulatedMeter
from meter_sim.ports import Pace, serve_pty, serve_tcp
from meter_sim.registers import RegisterMap

USAGE_ERROR = 64
CANNOT_SERVE = 69
UNIT_MAX = 247
PORT_MAX = 65_535
LEAST, MOST = 0.001, 86_400  # of seconds between new values, and of how much faster time passes
EPILOG = """examples:
  python hardware-sim --pty /tmp/meters --meter eastron-sdm630:1 --meter eastron-sdm120:2 --baud-pace
  python hardware-sim --tcp 127.0.0.1:5020 --meter schneider-iem3155:1 --seed 7 --served served.jsonl

Prints one line, `ready WHERE`, once masters can read. Ends on SIGTERM or Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        profiles = _meters(options.meter, options.profiles)
        with ExitStack() as stack:
            served = stack.enter_context(options.served.open("a", buffering=1)) if options.served else None
            line = _line(profiles, options, served)
            return asyncio.run(_serve(line, options, _pace(next(iter(profiles.values())), options)))
    except (ProfileError, ValueError) as error:
        sys.stderr.write(f"hardware-sim: {error}\n")
        return USAGE_ERROR
    except OSError as error:
        sys.stderr.write(f"hardware-sim: cannot serve: {error}\n")
        return CANNOT_SERVE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hardware-sim",
        description="Simulated electricity meters over Modbus RTU (pseudo-terminal) or Modbus TCP.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--pty", type=Path, metavar="LINK", help="serve RTU on a pseudo-terminal and let LINK point to it")
    add("--tcp", metavar="HOST:PORT", help="serve Modbus TCP there; port 0 takes a free one")
    models = ", ".join(shipped_profiles())
    add("--meter", action="append", metavar="MODEL:UNIT", help=f"a meter on the line, may be repeated ({models})")
    add("--profiles", type=Path, action="append", default=[], metavar="DIR", help="a folder with more profiles")
    add("--seed", default="1", help="same seed, same household (default 1)")
    add("--load", type=Path, metavar="FILE.csv", help="play this recorded household instead of a made-up one")
    add("--refresh", type=float, default=1.0, metavar="S", help="how often the meters take new values (default 1)")
    add("--speed", type=float, default=1.0, metavar="FACTOR", help="let time in the household pass faster")
    add("--answer-delay-ms", type=float, default=0, metavar="MS", help="how long a meter takes to answer")
    add("--baud-pace", action="store_true", help="RTU: let every character take its time on the wire")
    add("--baud", type=int, help="for --baud-pace (default: the first meter's)")
    add("--parity", choices=("N", "E", "O"), help="for --baud-pace (default: the first meter's)")
    add("--stopbits", type=int, choices=(1, 2), help="for --baud-pace (default: the first meter's)")
    add("--served", type=Path, metavar="FILE.jsonl", help="append one line for each answer: when, what, which values")
    return parser


def _meters(texts: Sequence[str] | None, folders: Sequence[Path]) -> dict[int, Profile]:
    meters: dict[int, Profile] = {}
    for text in texts or ["eastron-sdm630:1"]:
        model, _, unit = text.partition(":")
        if not unit.isdecimal() or not 1 <= int(unit) <= UNIT_MAX:
            raise ValueError(f"--meter {text}: expected MODEL:UNIT with a unit of 1..{UNIT_MAX}")
        if int(unit) in meters:
            raise ValueError(f"--meter {text}: unit {unit} is taken by {meters[int(unit)].model}")
        meters[int(unit)] = find_profile(model, folders)
    return meters


def _line(profiles: dict[int, Profile], options: argparse.Namespace, served: TextIO | None) -> Line:
    if not all(LEAST <= number <= MOST for number in (options.refresh, options.speed)):
        raise ValueError(f"--refresh and --speed must be in {LEAST}..{MOST}")
    if options.baud is not None and options.baud <= 0:
        raise ValueError("--baud must be above 0")
    meters = {}
    for unit, profile in profiles.items():
        seed = f"{options.seed}:{unit}"
        phases = 3 if any(register.measurand == "voltage_l3_n" for register in profile.registers) else 1
        load: Load = RecordedLoad(options.load, seed, phases) if options.load else Household(seed, phases)
        meters[unit] = SimulatedMeter(RegisterMap(profile), Instrument(load, seed, options.refresh))
    started = time.monotonic()
    return Line(
        meters,
        elapsed_s=lambda: (time.monotonic() - started) * options.speed,
        unix_ms=lambda: time.time() * 1000,
        served=served,
    )


def _pace(first: Profile, options: argparse.Namespace) -> Pace:
    baudrate = options.baud or first.serial.baudrate
    parity = options.parity or first.serial.parity
    bits = 9 + (parity != "N") + (options.stopbits or first.serial.stopbits)
    return Pace(bits / baudrate if options.baud_pace else 0, options.answer_delay_ms / 1000)


async def _serve(line: Line, options: argparse.Namespace, pace: Pace) -> int:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    places = []
    async with AsyncExitStack() as stack:
        if options.pty:
            places.append(await stack.enter_async_context(serve_pty(line, options.pty, pace)))
        if options.tcp:
            host, _, port = options.tcp.rpartition(":")
            if not port.isdecimal() or int(port) > PORT_MAX:
                raise ValueError(f"--tcp {options.tcp}: expected HOST:PORT")
            places.append(await stack.enter_async_context(serve_tcp(line, host, int(port), pace)))
        if not places:
            raise ValueError("say where to serve: --pty LINK or --tcp HOST:PORT")
        sys.stdout.write(f"ready {' '.join(places)}\n")
        sys.stdout.flush()
        await ended.wait()
    return 0

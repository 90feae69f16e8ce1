"""The command line of the simulator."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, suppress
from typing import TextIO

from drivers.profile.parse import Profile, ProfileError
from meter_sim.control import Control, Lines, Unpluggable
from meter_sim.faults.condition import Condition
from meter_sim.faults.schedule import Dice, parse_faults_of
from meter_sim.modbus.gateway import serve_tcp
from meter_sim.modbus.line import Line, SimulatedMeter
from meter_sim.modbus.registers import RegisterMap
from meter_sim.options import SERIAL_UNITS, TCP_UNITS, Wanted, answer_delays, check, parser, wanted_meters
from meter_sim.ports import Pace, serve_pty
from meter_sim.telegrams.telegram_meter import TelegramLine, TelegramMeter, interval_of
from meter_sim.telegrams.telegram_ports import TelegramPort, serve_telegrams
from meter_sim.world.household import Load, RecordedLoad
from meter_sim.world.instrument import Instrument
from meter_sim.world.scenarios import SCENARIOS

USAGE_ERROR = 64
CANNOT_SERVE = 69
PORT_MAX = 65_535
THREE_PHASES = frozenset({"voltage_l3_n", "current_l3", "power_active_l3", "voltage_l2_l3"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        check(options)
        units = TCP_UNITS if options.tcp and not options.pty else SERIAL_UNITS
        meters = wanted_meters(options.meter, options.profiles, options.scenario, units)
        with ExitStack() as stack:
            served = stack.enter_context(options.served.open("a", buffering=1)) if options.served else None
            first = next(iter(meters.values())).profile
            make = make_line if first.protocol == "modbus" else make_telegram_line
            line = make(meters, options, served)
            return asyncio.run(_serve(line, options, _pace(first, options, meters)))
    except (ProfileError, ValueError) as error:
        sys.stderr.write(f"hardware-sim: {error}\n")
        return USAGE_ERROR
    except OSError as error:
        sys.stderr.write(f"hardware-sim: cannot serve: {error}\n")
        return CANNOT_SERVE


def make_line(wanted: Mapping[int, Wanted], options: argparse.Namespace, served: TextIO | None) -> Line:
    """The line of the command line."""
    delays = answer_delays(options.answer_delay_ms, wanted)
    meters = {}
    for unit, one in wanted.items():
        meters[unit] = make_meter(one, f"{options.seed}:{unit}", options)
        meters[unit].delay_s = delays.get(unit)
    return Line(meters, _clock(options), lambda: time.time() * 1000, served, _dice(options, meters))


def make_telegram_line(
    wanted: Mapping[int, Wanted], options: argparse.Namespace, served: TextIO | None
) -> TelegramLine:
    """The same for meters with telegrams."""
    delays = answer_delays(options.answer_delay_ms, wanted)
    meters = {}
    for unit, one in wanted.items():
        seed = f"{options.seed}:{unit}"
        wraps = {each.measurand: float(each.rollover) for each in one.profile.fields if each.rollover is not None}
        meters[unit] = TelegramMeter(one.profile, unit, make_instrument(one, seed, options), Condition(seed, wraps))
        meters[unit].delay_s = delays.get(unit)
    return TelegramLine(meters, _clock(options), lambda: time.time() * 1000, served, _dice(options, meters))


def _clock(options: argparse.Namespace) -> Callable[[], float]:
    started = time.monotonic()
    return lambda: (time.monotonic() - started) * options.speed


def _dice(options: argparse.Namespace, units: Collection[int]) -> Dice:
    return Dice([fault for text in options.fault for fault in parse_faults_of(text, units)], options.fault_seed)


def make_meter(wanted: Wanted, seed: str, options: argparse.Namespace) -> SimulatedMeter:
    """One meter with its load; everything about it follows from `seed`."""
    registers = RegisterMap(wanted.profile, base=options.sunspec_base, lenient=options.lenient)
    condition = Condition(seed, registers.wraps)
    registers.name_it(condition.serial_number)
    return SimulatedMeter(registers, make_instrument(wanted, seed, options), condition)


def make_instrument(wanted: Wanted, seed: str, options: argparse.Namespace) -> Instrument:
    """What the meter measures."""
    phases = phases_of(wanted.profile)
    load: Load = RecordedLoad(options.load, seed, phases) if options.load else SCENARIOS[wanted.scenario](seed, phases)
    return Instrument(load, seed, options.refresh)


def phases_of(profile: Profile) -> int:
    """How many phases the meter has: what SunSpec's model says, or what it measures."""
    if profile.sunspec is not None:
        return min(profile.sunspec.models[0] % 10, 3)  # 201 and 211 one, 202 and 212 two, the others three
    return 1 if THREE_PHASES.isdisjoint(profile.measurands) else 3


def _pace(first: Profile, options: argparse.Namespace, units: Collection[int]) -> Pace:
    baudrate = options.baud or first.serial.baudrate
    parity = options.parity or first.serial.parity
    stopbits = options.stopbits or first.serial.stopbits
    bits = 9 + (parity != "N") + stopbits
    delay_s = answer_delays(options.answer_delay_ms, units).get(None, 0.0)
    return Pace(bits / baudrate if options.baud_pace else 0, delay_s, (baudrate, stopbits) if options.deaf else None)


async def _serve(line: Line | TelegramLine, options: argparse.Namespace, pace: Pace) -> int:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    ports: list[Unpluggable] = []
    places = []
    async with AsyncExitStack() as stack:
        if options.pty:
            way = (
                _telegrams(line, options, pace)
                if isinstance(line, TelegramLine)
                else serve_pty(line, options.pty, pace)
            )
            ports.append(await stack.enter_async_context(way))
            places.append(str(options.pty))
        if options.tcp:
            if isinstance(line, TelegramLine):
                raise ValueError("--tcp is for Modbus meters; serve telegrams on --pty LINK")
            host, _, port = options.tcp.rpartition(":")
            if not port.isdecimal() or int(port) > PORT_MAX:
                raise ValueError(f"--tcp {options.tcp}: expected HOST:PORT")
            gateway = await stack.enter_async_context(serve_tcp(line, host, int(port), pace))
            ports.append(gateway)
            places.append(gateway.url)
        if not places:
            raise ValueError("say where to serve: --pty LINK or --tcp HOST:PORT")
        _say(f"ready {' '.join(places)}")
        control = (
            asyncio.create_task(Lines(sys.stdin.fileno(), Control(line, ports), _say).run())
            if options.control
            else None
        )
        await ended.wait()
        if control is not None:
            control.cancel()
            with suppress(asyncio.CancelledError):
                await control
    return 0


def _telegrams(
    line: TelegramLine, options: argparse.Namespace, pace: Pace
) -> AbstractAsyncContextManager[TelegramPort]:
    own = interval_of(next(iter(line.meters.values())).profile.model)
    interval_s = own if not own or options.telegram_interval is None else options.telegram_interval
    return serve_telegrams(line, options.pty, pace, interval_s)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()

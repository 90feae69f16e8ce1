"""What a reading costs in CPU time on a serial line: our driver beside pyserial with bare hands and beside pymodbus.

    python bench/rtu.py [--readings 150]

Each reads the 16 default values of a simulated SDM630, paced at 9600 baud, in the same two requests, one reading after
the other, in a process of its own; the scheduler says what it used. 150 readings take half a minute each.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import serial  # type: ignore[import-untyped]
from accounts import account_of
from pymodbus.client import AsyncModbusSerialClient

from drivers.modbus.line import ModbusLine
from drivers.modbus.meter import ModbusMeter
from drivers.profile.files import find_profile

UNIT = 1
BLOCKS = ((0, 18), (52, 26))  # what the planner makes of the 16 values at 9600 baud
PLACES = ((0, 2, 4, 6, 8, 10, 12, 14, 16), (0, 8, 10, 18, 20, 22, 24))  # registers within the blocks
BAUDRATE = 9600
SILENCE_S = 3.5 * 10 / BAUDRATE
WARM_UP = 10
Read = Callable[[], Coroutine[Any, Any, tuple[float, ...]]]
READERS = {
    "wattpost": "wattpost: retries, exact lengths, late answers, flags",
    "pymodbus": "pymodbus 3.16 alone, AsyncModbusSerialClient",
    "pyserial": "pyserial alone: bytes written by hand, struct, no check at all",
}


def crc16(data: bytes) -> bytes:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return struct.pack("<H", crc)


async def ours(port: str, readings: int) -> float:
    """As the daemon's polling calls it."""
    line = ModbusLine("bench", port, BAUDRATE)
    meter = ModbusMeter(line, UNIT, find_profile("eastron-sdm630"), "main")
    assert tuple((block.address, block.count) for block in meter.blocks) == BLOCKS

    async def read() -> tuple[float, ...]:
        values = (await meter.read(1000)).values
        return tuple(value or 0 for value in values)

    used = await measure(read, readings)
    await line.close()
    return used


async def pymodbus_alone(port: str, readings: int) -> float:
    """The client as its documentation shows it."""
    client = AsyncModbusSerialClient(port, baudrate=BAUDRATE)
    await client.connect()

    async def read() -> tuple[float, ...]:
        values: list[float] = []
        for (address, count), places in zip(BLOCKS, PLACES, strict=True):
            answer = await client.read_input_registers(address, count=count, device_id=UNIT)
            for place in places:
                words = answer.registers[place : place + 2]
                values.append(client.convert_from_registers(words, client.DATATYPE.FLOAT32))  # type: ignore[arg-type]
            await asyncio.sleep(SILENCE_S)
        return tuple(values)

    used = await measure(read, readings)
    client.close()
    return used


async def pyserial_alone(port: str, readings: int) -> float:
    """The least that Python can do: requests made beforehand, blocking reads, no checksum looked at."""
    device = serial.Serial(port, BAUDRATE, timeout=1)
    requests = []
    for address, count in BLOCKS:
        body = struct.pack(">BBHH", UNIT, 4, address, count)
        requests.append((body + crc16(body), 5 + 2 * count, struct.Struct(f">3x{count}H2x")))

    async def read() -> tuple[float, ...]:
        values: list[float] = []
        for (request, size, layout), places in zip(requests, PLACES, strict=True):
            device.write(request)
            words = layout.unpack(device.read(size))
            for place in places:
                values += struct.unpack(">f", struct.pack(">HH", *words[place : place + 2]))
            time.sleep(SILENCE_S)  # noqa: ASYNC251 - nothing else runs, and it is the cheapest
        return tuple(values)

    used = await measure(read, readings)
    device.close()
    return used


async def measure(read: Read, readings: int) -> float:
    """CPU milliseconds per reading, by the scheduler's clock."""
    for _ in range(WARM_UP):
        assert len(await read()) == 16
    before = account_of(os.getpid())
    for _ in range(readings):
        await read()
    return (account_of(os.getpid()) - before).cpu_s * 1000 / readings


@contextmanager
def simulator(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "meter_sim", "--pty", str(folder / "line"), "--meter", f"eastron-sdm630:{UNIT}"]
    command += ["--baud-pace", "--answer-delay-ms", "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if not process.stdout.readline().startswith("ready"):
            raise RuntimeError("the simulator does not start")
        try:
            yield str(folder / "line")
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readings", type=int, default=150)
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--port", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reader:
        reader = {"wattpost": ours, "pymodbus": pymodbus_alone, "pyserial": pyserial_alone}[options.reader]
        print(asyncio.run(reader(options.port, options.readings)))
        return
    used = {}
    with tempfile.TemporaryDirectory(prefix="wattpost-bench-") as folder, simulator(Path(folder)) as port:
        for name in READERS:
            command = [sys.executable, __file__, "--reader", name, "--port", port, "--readings", str(options.readings)]
            output = subprocess.run(
                command, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
            )
            used[name] = float(output.stdout)
            print(f"{name}: {used[name]:.3f} ms", flush=True)
    print(table(used))


def table(used: dict[str, float]) -> str:
    rows = [("16 values, RTU paced at 9600 baud", "CPU ms/reading"), ("---", "---:")]
    rows += [(text, f"{used[name]:.2f}") for name, text in READERS.items()]
    return "\n" + "\n".join(f"| {what:<62} | {cost:>14} |" for what, cost in rows)


if __name__ == "__main__":
    main()

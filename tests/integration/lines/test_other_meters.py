"""Meters of the other protocols on real terminals: pushed, read out, asked; with the command, and unplugged."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from agent.cli.main import main
from drivers.building import BuiltMeter, build_line, build_meter
from drivers.meter import MeterError
from drivers.profile.files import find_profile, shipped_profiles
from drivers.telegrams.stream_line import StreamLine
from meter_sim.telegrams.encoders import (
    aidon,
    hdlc,
    kaifa,
    kamstrup,
    mbus,
    mbus_answer,
    mbus_record,
    mode_c,
    mode_d,
    p1,
    sml,
)

Say = Callable[[bytes], list[bytes]]
SERVER = bytes.fromhex("0a01454d480000a1b2c3")
P1 = p1(["0-0:96.1.1(1SAG)", "1-0:1.8.1(000004.426*kWh)", "1-0:1.8.2(000002.399*kWh)", "1-0:1.7.0(00.244*kW)",
         "1-0:2.7.0(00.300*kW)"])  # fmt: skip
P1_V3 = p1(["1-0:1.8.1(00004.426*kWh)", "1-0:1.8.2(00002.399*kWh)", "1-0:1.7.0(0000.24*kW)", "1-0:2.7.0(0000.30*kW)"],
           check=False)  # fmt: skip
SML = sml(SERVER, [("1-0:1.8.0", 30, -4, 29416461614, 8), ("1-0:16.7.0", 27, -2, -5600, 4)])
MODE_D = mode_d(["1-0:1.8.0*255(00052185.7825309*kWh)", "1-0:1.7.0*255(002124.86*W)"])
AIDON = hdlc(aidon([("1-0:1.7.0", 244, 0, 27, 6), ("1-0:2.7.0", 0, 0, 27, 6), ("1-0:1.8.0", 682, 1, 30, 6)]))
KAIFA = hdlc(kaifa(["KFM_001", "6970631402614476", "MA304H3E", 625, 0, 0, 131, 1201, 1905, 1990, 2387, 0, 2389]))
KAMSTRUP = hdlc(kamstrup("Kamstrup_V0001", [("1-1:1.7.0", 1468, 6), ("1-1:2.7.0", 0, 6), ("1-1:32.7.0", 232, 18)]))
READOUT = mode_c(["C.1.0(13647123)", "1.8.0(061561.289*kWh)"], "LGZ4ZMF100AC.M26")
HEAT = mbus(1, mbus_answer("12345678", "KAM", 4, mbus_record("04", "06", 56789, 4) + mbus_record("04", "14", 1234, 4)))


def read_out(request: bytes) -> list[bytes]:
    return [READOUT[0]] if request == b"/?!\r\n" else [READOUT[1]]


def m_bus(request: bytes) -> list[bytes]:
    return [b"\xe5"] if request[1] == 0x40 else [HEAT]


@contextmanager
def terminal(pushes: bytes = b"", answers: Say | None = None) -> Iterator[str]:
    """A meter on a terminal, on a thread of its own: it sends `pushes` all the time, or answers."""
    meters_end, masters_end = os.openpty()
    tty.setraw(masters_end)
    over = threading.Event()

    def serve() -> None:
        at = 0
        while not over.wait(0.002):
            if answers is None:
                piece = pushes[at : at + 64]
                at = at + 64 if at + 64 < len(pushes) else 0
                os.write(meters_end, piece)
            elif select.select([meters_end], [], [], 0.02)[0]:
                for answer in answers(os.read(meters_end, 100)):
                    os.write(meters_end, answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield os.ttyname(masters_end)
    finally:
        over.set()
        thread.join()
        os.close(meters_end)
        os.close(masters_end)


def built(model: str, port: str, measurands: Sequence[str] | None = None) -> BuiltMeter:
    profile = find_profile(model)
    return build_meter(build_line(profile, "line", port), profile.serial.unit, profile, "main", measurands)


@pytest.mark.parametrize(
    ("model", "served", "values"),
    [
        ("dsmr-p1", P1, {"energy_active_import_total": 6825, "power_active_total": -56}),
        ("dsmr-p1-v3", P1_V3, {"energy_active_import_total": 6825, "power_active_total": -60}),
        ("sml", SML, {"energy_active_import_total": 29416461614, "power_active_total": -5600}),
        ("iec62056-21-push", MODE_D, {"energy_active_import_total": 521857825309, "power_active_total": 212486}),
        ("iec62056-21", read_out, {"energy_active_import_total": 615612890000}),
        ("han-aidon", AIDON, {"energy_active_import_total": 6820, "power_active_total": 244}),
        ("han-kaifa", KAIFA, {"power_active_total": 625, "current_l2": 1905, "voltage_l1_n": 2387}),
        ("han-kamstrup", KAMSTRUP, {"power_active_total": 1468, "voltage_l1_n": 232}),
        ("mbus-heat", m_bus, {"energy_heat_total": 56_789_000, "volume_total": 123_400}),
    ],
)
def test_every_protocol_on_a_terminal(model: str, served: bytes | Say, values: dict[str, int]) -> None:
    async def take(port: str) -> None:
        meter = built(model, port, tuple(values))
        sample = await meter.read(20_000)
        assert dict(zip(values, sample.values, strict=True)) == values
        assert sample.flags == ()
        await meter.line.close()

    with terminal(served) if isinstance(served, bytes) else terminal(answers=served) as port:
        asyncio.run(take(port))


@pytest.fixture
def read(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["read", *(str(argument) for argument in arguments)])
        assert isinstance(caught.value.code, int)
        return (caught.value.code, *capsys.readouterr())

    return run


def test_the_command_reads_a_customer_port(read: Any) -> None:
    with terminal(P1) as port:
        code, out, err = read("--port", port, "--model", "dsmr-p1", "--json", "--raw", "-m", "power_active_total")
    assert (code, err) == (0, "")
    (document,) = json.loads(out)
    assert document["values"] == {"power_active_total": -56}
    assert document["line"] == "115200 8N1"
    assert document["sent"] == {"power_active_total": {"code": "1-0:1.7.0 - 1-0:2.7.0", "text": "00.244*kW  00.300*kW"}}


def test_the_command_says_what_may_be_a_missing_value(read: Any) -> None:
    alone = p1(["1-0:1.8.0(000004.426*kWh)", "1-0:1.7.0(00.244*kW)"])
    wanted = ("-m", "power_active_total")
    with terminal(alone) as port:
        code, _out, err = read("--port", port, "--model", "dsmr-p1", *wanted)
        assert code == 0
        assert "Note: dsmr-p1: power_active_total: the telegram has no 1-0:16.7.0" in err
        assert "1-0:1.7.0 = 244 W" in err
        _code, out, err = read("--port", port, "--model", "dsmr-p1", "--json", *wanted)
    assert err == ""
    assert "1-0:1.7.0 = 244 W" in json.loads(out)[0]["notes"][0]


def test_the_command_shows_a_table_of_what_was_sent(read: Any) -> None:
    with terminal(answers=m_bus) as port:
        code, out, err = read("--port", port, "--model", "mbus-heat", "--raw", "--unit", "1", "-m", "energy_heat_total")
    assert (code, err) == (0, "")
    assert "unit 1 on " in out
    assert "56789000" in out
    assert " energy " in out
    assert "0000ddd5" in out


def test_the_command_says_what_to_look_at(read: Any, tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    text = shipped_profiles()["sml"].read_text().replace('model = "sml"', 'model = "hasty"')
    text = re.sub(r"telegram_interval_ms = \d+", "telegram_interval_ms = 200", text)
    (tmp_path / "profiles/hasty.toml").write_text(text)
    with terminal(b"\x00\xff\x13") as port:
        code, _out, err = read("--config", tmp_path / "agent.toml", "--port", port, "--model", "hasty")
    assert code == 69
    assert "no telegram within" in err
    assert "check the port's settings" in err


def test_a_meter_of_the_configuration(read: Any, tmp_path: Path) -> None:
    with terminal(P1) as port:
        (tmp_path / "agent.toml").write_text(
            f'[box]\nid = "apt-1"\n[[bus]]\nname = "p1"\nport = "{port}"\n'
            '[[meter]]\nname = "grid"\nbus = "p1"\nmodel = "dsmr-p1"\n[uplink]\nendpoint = "broker.example"\n'
        )
        code, out, err = read("--config", tmp_path / "agent.toml", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)[0]["values"]["energy_active_import_total"] == 6825


def test_an_adapter_that_is_unplugged_and_comes_back(tmp_path: Path) -> None:
    link = tmp_path / "adapter"

    async def take() -> None:
        meter = built("dsmr-p1", str(link), ("power_active_total",))
        with terminal(P1) as port:
            link.symlink_to(port)
            await meter.read(5_000)
        reasons = []
        for _ in range(20):
            try:
                await meter.read(200)
            except MeterError as error:
                reasons.append(error.reason)
        assert "line_lost" in reasons or "line_missing" in reasons
        link.unlink()
        with terminal(P1) as port:
            link.symlink_to(port)
            assert (await meter.read(5_000)).values == (-56,)
        await meter.line.close()

    asyncio.run(take())


def test_through_a_gateway_that_passes_the_bytes_on() -> None:
    async def take() -> None:
        served = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(P1[50:] + P1)
            with suppress(ConnectionError):
                await reader.read()  # until the other end closes
            writer.close()
            served.set()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            meter = built("dsmr-p1", port, ("power_active_total",))
            assert (await meter.read(5_000)).values == (-56,)
            assert meter.line.settings == "TCP"
            await meter.line.close()
            await served.wait()
        with pytest.raises(MeterError, match="connection refused; check the port number, and that a raw stream is"):
            await meter.read(1_000)

    asyncio.run(take())


def test_lines_with_seven_bits_mark_wrong_parity_and_change_their_speed() -> None:
    async def take(path: str) -> None:
        line = build_line(find_profile("iec62056-21"), "head", path)
        assert isinstance(line, StreamLine)
        await line.open()
        descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
        for baudrate, speed in ((300, termios.B300), (9600, termios.B9600), (300, termios.B300)):
            line.set_baudrate(baudrate)
            input_flags, _, _, _, input_speed, output_speed, _ = termios.tcgetattr(descriptor)
            assert (input_speed, output_speed) == (speed, speed)
            assert input_flags & termios.INPCK
            assert not input_flags & (termios.IGNPAR | termios.PARMRK)
        os.close(descriptor)
        await line.close()

    with terminal(answers=read_out) as path:
        asyncio.run(take(path))


LOADED = """
import sys
from pathlib import Path
import agent.app
from agent.settings import load
from agent.services.metering.meters import build_lines
build_lines(load(Path(sys.argv[1])))
print(*sorted(name for name in sys.modules if name.startswith(("drivers", "pymodbus"))))
"""
TELEGRAMS = {
    "drivers.telegrams.push",
    "drivers.telegrams.telegram",
    "drivers.telegrams.protocols",
    "drivers.telegrams.stream_line",
    "drivers.telegrams.fields",
}


@pytest.mark.parametrize(
    ("model", "with_it", "without"),
    [
        (
            "eastron-sdm630",
            {"drivers.modbus.line", "pymodbus"},
            TELEGRAMS | {"drivers.telegrams.obis_text", "drivers.telegrams.sml"},
        ),
        (
            "dsmr-p1",
            TELEGRAMS | {"drivers.telegrams.obis_text"},
            {"drivers.modbus.line", "pymodbus", "drivers.telegrams.sml", "drivers.telegrams.mbus"},
        ),
        (
            "sml",
            {"drivers.telegrams.sml"},
            {"pymodbus", "drivers.telegrams.obis_text", "drivers.telegrams.hdlc", "drivers.telegrams.mbus_meter"},
        ),
        (
            "mbus",
            {"drivers.telegrams.mbus_meter"},
            {"pymodbus", "drivers.telegrams.obis_text", "drivers.telegrams.sml"},
        ),
    ],
)
def test_the_daemon_loads_no_protocol_that_no_meter_speaks(
    model: str, with_it: set[str], without: set[str], tmp_path: Path
) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(
        '[box]\nid = "apt-1"\n[[bus]]\nname = "line"\nport = "/dev/nothing"\n'
        f'[[meter]]\nname = "main"\nbus = "line"\nmodel = "{model}"\n[uplink]\nendpoint = "broker.example"\n'
    )
    result = subprocess.run(
        [sys.executable, "-c", LOADED, str(path)], capture_output=True, text=True, timeout=50, check=True
    )
    loaded = set(result.stdout.split())
    assert with_it <= loaded
    assert not loaded & without

"""`wattpost scan` on lines where somebody talks without being asked: telegrams on a terminal, at one speed only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.telegrams.crc import crc_arc

TELEGRAMS = Path(__file__).parents[3].parent / "shared" / "meters" / "telegrams"
BAUDRATES = {2400: termios.B2400, 9600: termios.B9600, 115200: termios.B115200}
P1 = b"""/XYZ5\\253833635_A\r
\r
0-0:96.1.1(4B384547303034303436333935353037)\r
1-0:1.8.1(123456.789*kWh)\r
1-0:1.8.2(000456.789*kWh)\r
1-0:2.8.1(000000.000*kWh)\r
1-0:2.8.2(000000.000*kWh)\r
1-0:1.7.0(01.193*kW)\r
1-0:2.7.0(00.000*kW)\r
1-0:32.7.0(230.1*V)\r
!"""


def p1() -> bytes:
    return P1 + f"{crc_arc(P1):04X}\r\n".encode()


@contextmanager
def talker(telegram: bytes, baudrate: int, link: Path, period_s: float = 0.3) -> Iterator[str]:
    """Sends the telegram again and again; whoever listens at another speed hears rubbish."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    link.symlink_to(os.ttyname(theirs))
    ended = threading.Event()

    def talk() -> None:
        while not ended.wait(period_s):
            right = termios.tcgetattr(theirs)[4] == BAUDRATES[baudrate]
            data = telegram if right else bytes(byte ^ 0xA5 for byte in telegram[::7])
            try:
                os.write(ours, data)
            except BlockingIOError:
                termios.tcflush(theirs, termios.TCIFLUSH)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield str(link)
    finally:
        ended.set()
        thread.join()
        os.close(ours)
        os.close(theirs)


def scan(port: str, *arguments: str | Path) -> tuple[dict[str, Any], str]:
    command = [sys.executable, "-m", "agent", "scan", "--port", port, "--quick", *map(str, arguments)]
    result = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=58, check=False)
    assert result.returncode == 0, result.stderr
    (line,) = json.loads(result.stdout)["lines"]
    (found,) = line["found"]
    return found, result.stderr


def test_a_p1_meter_is_recognised_by_a_whole_telegram_and_written(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text('[box]\nid = "apt-1"\n[uplink]\nendpoint = "broker.example"\n')
    with talker(p1(), 115200, tmp_path / "port") as port:
        found, _ = scan(port, "--write", "--config", config)
    assert found["sends"]
    assert found["candidates"][0]["model"] == "dsmr-p1"
    assert found["line"]["baudrate"] == 115200
    assert found["values"]["voltage_l1_n"] == 230.1
    text = config.read_text()
    assert f'[[bus]]\nname = "customer-port"\nport = "{port}"\n\n' in text, text
    assert 'model = "dsmr-p1"' in text


@pytest.mark.parametrize(
    ("name", "protocol", "baudrate", "models"),
    [
        ("sml/EasyMeter_Q3A_A1064V1009.bin", "sml", 9600, {"sml"}),
        # A pseudo-terminal has no parity: Aidon's settings differ from the others' by nothing else.
        ("dlms_hdlc/kamstrup_real_229B.hex", "dlms-hdlc", 2400, {"han-kamstrup", "han-kaifa", "han-aidon"}),
    ],
)
@pytest.mark.timeout(90)
def test_real_telegrams(name: str, protocol: str, baudrate: int, models: set[str], tmp_path: Path) -> None:
    path = TELEGRAMS / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    telegram = bytes.fromhex(path.read_text()) if path.suffix == ".hex" else path.read_bytes()[:2000]
    with talker(telegram, baudrate, tmp_path / "port", 0.6) as port:
        found, _ = scan(port)
    assert found["sends"]
    assert found["candidates"][0]["model"] in models

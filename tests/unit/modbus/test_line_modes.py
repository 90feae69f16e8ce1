"""RS485 direction and low latency: what the kernel is told, by an ioctl that only remembers; and a real terminal."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from array import array
from pathlib import Path

import pytest
from modbus_peers import rtu_good, scripted_terminal

from drivers.line_modes import (
    ASYNC_LOW_LATENCY,
    FLAGS_AT,
    RS485,
    RS485_CHOICES,
    TIOCGRS485,
    TIOCGSERIAL,
    TIOCSRS485,
    TIOCSSERIAL,
    Rs485,
    set_low_latency,
    set_rs485,
)
from drivers.modbus.line import ModbusLine


class Device:
    """The kernel's side: fills in what it has, remembers what it is told, fails where `fails` says so."""

    def __init__(self, rs485: tuple[int, ...] = (0,) * 8, flags: int = 0, fails: dict[int, int] | None = None) -> None:
        self.rs485 = rs485
        self.flags = flags
        self.fails = fails or {}
        self.asked: list[int] = []

    def ioctl(self, descriptor: int, request: int, state: bytearray | array[int]) -> None:
        assert descriptor == 7
        self.asked.append(request)
        if request in self.fails:
            raise OSError(self.fails[request], os.strerror(self.fails[request]))
        if isinstance(state, bytearray):
            if request == TIOCGRS485:
                RS485.pack_into(state, 0, *self.rs485)
            self.rs485 = RS485.unpack(state)
        else:
            if request == TIOCGSERIAL:
                state[FLAGS_AT] = self.flags
            self.flags = state[FLAGS_AT]


@pytest.mark.parametrize(
    ("mode", "before", "after"),
    [
        ("off", 0b00111, 0b00000),
        ("rts", 0b00000, 0b00011),
        ("rts", 0b00101, 0b00011),
        ("rts-inverted", 0b00011, 0b00101),
        ("rts", 0b10000, 0b10011),  # what else is set, such as receiving what is sent, stays
    ],
)
def test_the_direction_is_switched_by_the_kernel(mode: Rs485, before: int, after: int) -> None:
    device = Device((before, 3, 4, 0, 0, 0, 0, 0))
    assert set_rs485(7, mode, device.ioctl) == ""
    assert device.rs485 == (after, 3, 4, 0, 0, 0, 0, 0)
    assert device.asked == [TIOCGRS485, TIOCSRS485]


def test_auto_leaves_the_device_as_it_is() -> None:
    device = Device()
    assert set_rs485(7, "auto", device.ioctl) == ""
    assert device.asked == []


@pytest.mark.parametrize("request_", [TIOCGRS485, TIOCSRS485])
@pytest.mark.parametrize(
    ("code", "says"),
    [(errno.ENOTTY, "no RS485 mode"), (errno.EINVAL, "no RS485 mode"), (errno.EPERM, "Operation not permitted")],
)
def test_a_device_that_knows_no_rs485_says_so(request_: int, code: int, says: str) -> None:
    assert says in set_rs485(7, "rts", Device(fails={request_: code}).ioctl)


def test_low_latency_is_asked_for_once() -> None:
    device = Device(flags=0x10)
    assert set_low_latency(7, "/dev/ttyUSB9", device.ioctl)
    assert device.flags == 0x10 | ASYNC_LOW_LATENCY
    device.asked.clear()
    assert set_low_latency(7, "/dev/ttyUSB9", device.ioctl)
    assert device.asked == [TIOCGSERIAL]


def test_low_latency_is_written_to_the_adapters_timer_where_the_call_is_unknown(tmp_path: Path) -> None:
    device = Device(fails={TIOCSSERIAL: errno.EPERM})
    timer = tmp_path / "ttyUSB9" / "device" / "latency_timer"
    timer.parent.mkdir(parents=True)
    timer.write_text("16\n")
    link = tmp_path / "by-id"
    link.symlink_to(tmp_path / "ttyUSB9")
    assert set_low_latency(7, str(link), device.ioctl, tmp_path)
    assert timer.read_text() == "1"


def test_no_device_no_timer_no_harm(tmp_path: Path) -> None:
    assert not set_low_latency(7, "/dev/ttyS0", Device(fails={TIOCGSERIAL: errno.ENOTTY}).ioctl, tmp_path)


@pytest.mark.parametrize("mode", RS485_CHOICES)
def test_a_terminal_knows_neither_and_is_used_all_the_same(mode: Rs485, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        with scripted_terminal(rtu_good) as terminal:
            line = ModbusLine("rs485", terminal.path, rs485=mode)
            for _ in range(3):
                await line.open()
                assert line.is_open
                await line.close()

    with caplog.at_level(logging.INFO, "drivers.port"):
        asyncio.run(scenario())
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (mode != "auto"), said
    assert all("rs485 = " in text and "no RS485 mode" in text for text in said)

"""What a serial device can be told beyond speed and parity: who switches RS485's direction, and not to save up bytes.

Linux only (tty_ioctl(2), serial-rs485 in the kernel's documentation). Where a driver knows nothing of it, nothing
happens. The RS485 mode is the kernel's own, since a program toggles RTS too late at 9600 baud and above.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from array import array
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

Rs485 = Literal["auto", "off", "rts", "rts-inverted"]
RS485_CHOICES: tuple[Rs485, ...] = get_args(Rs485)

TIOCGRS485, TIOCSRS485 = 0x542E, 0x542F  # struct serial_rs485: flags, delay before, delay after, five spare
TIOCGSERIAL, TIOCSSERIAL = 0x541E, 0x541F  # struct serial_struct: type, line, port, irq, flags ...
RS485 = struct.Struct("=8I")
ENABLED, RTS_ON_SEND, RTS_AFTER_SEND = 1, 2, 4
RTS_FLAGS: dict[Rs485, int] = {
    "off": 0,
    "rts": ENABLED | RTS_ON_SEND,
    "rts-inverted": ENABLED | RTS_AFTER_SEND,
}
ASYNC_LOW_LATENCY = 1 << 13
SERIAL_STRUCT_WORDS, FLAGS_AT = 32, 4  # more than the struct has on any machine
UNKNOWN = {errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}
TTY_CLASS = Path("/sys/class/tty")

Ioctl = Callable[[int, int, Any], Any]


def set_rs485(descriptor: int, mode: Rs485, ioctl: Ioctl = fcntl.ioctl) -> str:
    """Have the kernel switch the direction as `mode` says; returns why it does not, or nothing.

    "auto" leaves the device as the device tree or the adapter has it: most adapters switch by themselves.
    """
    if mode == "auto":
        return ""
    state = bytearray(RS485.size)
    try:
        ioctl(descriptor, TIOCGRS485, state)
        flags, *rest = RS485.unpack(state)
        kept = flags & ~(ENABLED | RTS_ON_SEND | RTS_AFTER_SEND)
        RS485.pack_into(state, 0, kept | RTS_FLAGS[mode], *rest)
        ioctl(descriptor, TIOCSRS485, state)
    except OSError as error:
        if error.errno in UNKNOWN:
            return "its driver has no RS485 mode, so the adapter must switch the direction itself"
        return f"its driver refuses the RS485 mode ({error.strerror})"
    return ""


def set_low_latency(descriptor: int, path: str, ioctl: Ioctl = fcntl.ioctl, tty_class: Path = TTY_CLASS) -> bool:
    """Have the device hand over bytes at once, where FTDI's save them up for 16 ms; whether that could be said."""
    state = array("i", [0] * SERIAL_STRUCT_WORDS)
    with suppress(OSError):
        ioctl(descriptor, TIOCGSERIAL, state)
        if not state[FLAGS_AT] & ASYNC_LOW_LATENCY:
            state[FLAGS_AT] |= ASYNC_LOW_LATENCY
            ioctl(descriptor, TIOCSSERIAL, state)
        return True
    with suppress(OSError):
        timer = tty_class / Path(os.path.realpath(path)).name / "device" / "latency_timer"
        if timer.exists():
            timer.write_text("1")
            return True
    return False

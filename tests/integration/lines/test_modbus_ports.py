"""Serial ports that are missing, busy, forbidden or no ports at all."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modbus_peers import (
    failure,
    opened,
    rtu_good,
    scripted_terminal,
    works,
)


def test_a_missing_port() -> None:
    async def scenario() -> None:
        async with opened("/dev/serial/by-id/usb-nothing") as meter:
            error = await failure(meter)
            assert error.reason == "line_missing"
            assert "no such device" in error.cause
            assert "ls /dev/serial/by-id/" in error.next_step

    asyncio.run(scenario())


def test_systems_without_all_keep_alive_options_read_meters_too() -> None:
    """macOS has no TCP_USER_TIMEOUT."""
    code = "import socket; del socket.TCP_USER_TIMEOUT; from drivers.port import TCP_OPTIONS; print(len(TCP_OPTIONS))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("4\n", "")


def test_a_port_that_is_no_serial_port(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "file").write_text("")
        async with opened(str(tmp_path / "file")) as meter:
            error = await failure(meter)
            assert (error.reason, error.cause) == ("line_missing", "not a serial port")
        async with opened(str(tmp_path)) as meter:
            assert (await failure(meter)).reason == "line_missing"

    asyncio.run(scenario())


@contextmanager
def holder_of(path: str) -> Iterator[int]:
    """Another process that has locked `path`; yields its pid."""
    code = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    command = [sys.executable, "-c", code, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.communicate("\n")


@contextmanager
def not_for_us(path: str) -> Iterator[None]:
    """Nobody but root may open `path`, and we are not root."""
    Path(path).chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_busy_port_says_who_holds_it() -> None:
    async def scenario() -> None:
        with scripted_terminal(rtu_good) as terminal:
            async with opened(terminal.path) as meter:
                with holder_of(terminal.path) as pid:
                    error = await failure(meter)
                assert error.reason == "line_busy"
                assert f"(pid {pid})" in error.cause
                await works(meter)

    asyncio.run(scenario())


def test_a_port_that_this_user_may_not_open() -> None:
    async def scenario() -> None:
        with scripted_terminal(rtu_good) as terminal:
            async with opened(terminal.path) as meter:
                with not_for_us(terminal.path):
                    error = await failure(meter)
        assert (error.reason, error.cause) == ("line_busy", "permission denied")
        assert "dialout" in error.next_step

    asyncio.run(scenario())


def test_a_second_line_on_the_same_port_is_refused() -> None:
    async def scenario() -> None:
        with scripted_terminal(rtu_good) as terminal:
            async with opened(terminal.path) as first, opened(terminal.path) as second:
                await works(first)
                error = await failure(second)
                assert error.reason == "line_busy"
                assert "another program" in error.cause

    asyncio.run(scenario())

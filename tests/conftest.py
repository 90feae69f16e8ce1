"""For all tests: what the way in which they are run would otherwise change."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings
from machine import localhost_fault

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A job in the background ignores Ctrl-C and so would every program that a test starts and ends by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.pop("COLUMNS", None)  # set where tests run side by side; what is no terminal has no width
for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC"):
    os.environ.pop(name, None)  # set where a systemd unit runs the tests; its manager is not the agent's

# How long an example takes says how busy the machine is, and no more.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_configure() -> None:
    fault = localhost_fault()
    if fault is not None:
        pytest.exit(fault, returncode=pytest.ExitCode.USAGE_ERROR)

"""What was probably meant by a port that is none."""

from __future__ import annotations

import pytest

from agent.settings.ports import port_expected


@pytest.mark.parametrize(
    ("port", "meant"),
    [
        ("192.168.1.5", "tcp://192.168.1.5:502"),
        ("192.168.1.5:1502", "tcp://192.168.1.5:1502"),
        ("gateway:502", "tcp://gateway:502"),
        ("gateway.local", "tcp://gateway.local:502"),
        ("localhost", "tcp://localhost:502"),
        ("tcp:192.168.1.5", "tcp://192.168.1.5:502"),
        ("TCP://192.168.1.5:502", "tcp://192.168.1.5:502"),
        ("http://192.168.1.5/", "tcp://192.168.1.5:502"),
        ("modbus://gateway", "tcp://gateway:502"),
        ("fe80::1%eth0", "tcp://[fe80::1%eth0]:502"),
        ("[2001:db8::1]:503", "tcp://[2001:db8::1]:503"),
        ("ttyUSB0", "/dev/ttyUSB0"),
        ("dev/serial0", "/dev/serial0"),
    ],
)
def test_addresses_and_names_of_devices_are_recognised(port: str, meant: str) -> None:
    assert port_expected(port).endswith(f'or "tcp://host:port"; did you mean "{meant}"?')


@pytest.mark.parametrize(
    "port", ["", "COM3", "gateway", "192.168.1.5:0", "192.168.1.5:70000", "a:b:c", "1:" + "9" * 5_000]
)
def test_nothing_is_suggested_for_what_may_be_anything(port: str) -> None:
    assert port_expected(port) == 'expected a device path that begins with "/", or "tcp://host:port"'

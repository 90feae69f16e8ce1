"""What a port may be, and what was probably meant by one that is neither a device nor a Modbus TCP address. Pure."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

from agent.core.metering.addresses import TCP_PORT

PORT_MAX = 0xFFFF
EXPECTED = 'expected a device path that begins with "/", or "tcp://host:port"'
SCHEME = re.compile(r"[a-z+]+:/+|tcp:", re.IGNORECASE)
SERIAL = re.compile(r"(dev/)?(?P<name>(tty|serial|cu\.)[\w.-]*)")
HOST = re.compile(r"(?P<host>\[[0-9a-f:.%\w]+\]|[a-z0-9_-]+(\.[a-z0-9_-]+)*)(:(?P<port>[0-9]{1,5}))?/?", re.IGNORECASE)


def port_expected(port: str) -> str:
    """What a port has to be, and which one `port` may mean."""
    meant = _meant(port.strip())
    return EXPECTED if meant is None else f'{EXPECTED}; did you mean "{meant}"?'


def _meant(port: str) -> str | None:
    serial = SERIAL.fullmatch(port)
    if serial is not None:
        return f"/dev/{serial['name']}"
    if _is_ipv6(port):
        return f"tcp://[{port}]:{TCP_PORT}"
    scheme = SCHEME.match(port)
    address = HOST.fullmatch(port[scheme.end() :] if scheme else port)
    if address is None:
        return None
    host, number = address["host"], address["port"] or str(TCP_PORT)
    # A word alone may be anything; a dot, brackets, a port number or a scheme makes it an address.
    is_address = set(host) & set(".[") or address["port"] or scheme or host.lower() == "localhost"
    return f"tcp://{host}:{number}" if is_address and is_tcp_port(number) else None


def is_tcp_port(text: str) -> bool:
    """Whether it is the number of a port, 1 to 65535."""
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 1 <= int(text) <= PORT_MAX


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True

"""What the tests need of the machine, asked once before the first of them."""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"  # where the tests' broker listens
NEXT_STEP = f"add the line `{LOOPBACK} localhost` to /etc/hosts (as root), and run the tests again"


def localhost_fault() -> str | None:
    """What is wrong with the name `localhost`, and the next step; None where it leads to this machine."""
    try:
        found = socket.getaddrinfo("localhost", None, socket.AF_INET)
    except socket.gaierror as error:
        return f"cannot resolve the name localhost ({error.strerror}), which the tests connect to; {NEXT_STEP}"
    addresses = sorted({str(address[0]) for *_, address in found})
    if LOOPBACK not in addresses:
        return f"the name localhost is {', '.join(addresses)} here, and the tests need {LOOPBACK}; {NEXT_STEP}"
    return None

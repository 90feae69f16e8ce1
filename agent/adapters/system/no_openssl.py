"""Keeps Python's OpenSSL out of the daemon (docs/decisions/0005)."""

from __future__ import annotations

import sys


def leave_out_openssl() -> None:
    """Keep Python's OpenSSL out of this process: 5 MB of 38.

    asyncio and hashlib use it if it is there and do without it otherwise; the agent's TLS is that of awscrt. Call
    before anything imports asyncio. Changes nothing in a process that has it already.
    """
    for module in ("ssl", "_hashlib"):
        if module not in sys.modules:
            sys.modules[module] = None  # type: ignore[assignment] # the import system's own mark for "not to be had"

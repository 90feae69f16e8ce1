"""What the daemon does not load: memory on a small box (docs/decisions/0005 and 0018)."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from agent.adapters.system.no_openssl import leave_out_openssl
leave_out_openssl()
import agent.cli.run, agent.app
print(*(name for name, module in sys.modules.items() if module is not None))
"""


def test_the_daemon_loads_neither_openssl_nor_what_only_commands_need() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, timeout=60)
    loaded = set(run.stdout.split())
    assert {"asyncio", "awscrt", "click", "sqlite3"} <= loaded
    assert not loaded & {"ssl", "_ssl", "_hashlib", "sqlite_utils", "rich", "importlib.metadata"}

"""Children of the demonstration end with it, also when it is killed."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

PARENT = """
import asyncio, sys
from pathlib import Path
from demo.processes import Child

async def main():
    # Says its process id, and notes that it was told to end, also where that comes before it waits.
    script = "trap 'echo told > told; exit 0' TERM; echo ready $$; sleep 60 & wait"
    child = Child("child", ["sh", "-c", script], Path("child.log"))
    await child.start()
    print(await child.ready(), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_killed_demo_leaves_no_process(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as parent:
        assert parent.stdout is not None
        handle = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            assert select.select([handle], [], [], 20)[0], "the child outlived its parent by 20 s"
        finally:
            os.close(handle)
    assert (tmp_path / "told").read_text() == "told\n"


def test_a_child_whose_parent_is_gone_already_is_not_started(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "demo.tied", "1", "touch", str(tmp_path / "ran")]
    assert subprocess.run(command, check=False, timeout=20).returncode == 0
    assert not (tmp_path / "ran").exists()

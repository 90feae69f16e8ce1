"""The meter simulator as a program that takes commands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Say = Callable[[str], str]


@contextmanager
def simulator(*arguments: str) -> Iterator[tuple[str, Say]]:
    """Yields where it serves, and a way to give it commands."""
    command = [sys.executable, "-m", "meter_sim", *arguments, "--control"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        talk, listen = process.stdin, process.stdout

        def say(text: str) -> str:
            talk.write(text + "\n")
            return listen.readline().strip()

        line = listen.readline()
        try:
            assert line.startswith("ready "), line
            yield line.split()[1], say
        finally:
            process.terminate()
            assert process.wait(timeout=5) == 0

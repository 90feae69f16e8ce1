"""Borrow lines from a running daemon for as long as a command needs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click

from agent.adapters.system.lending_fifo import Lender, LendError, find_lender
from agent.cli.shared.terminal import waiting
from agent.settings import DEFAULT_STATUS_PATH, SettingsError, load
from drivers.meter import MeterError

BORROW_S = 15.0  # the daemon finishes the reading under way first


@contextmanager
def borrowed(ports: Iterable[str], status_path: Path, *, quiet: bool = False) -> Iterator[Mapping[str, MeterError]]:
    """Borrow those of `ports` that a daemon has, until the block ends, however it ends; yields refusals by port."""
    lenders: list[Lender] = []
    refused: dict[str, MeterError] = {}
    try:
        for port in dict.fromkeys(ports):
            lender = find_lender(status_path, port)
            if lender is None:
                continue
            try:
                with nullcontext() if quiet else waiting(f"waiting for the daemon to lend line {lender.line}"):
                    lender.borrow(BORROW_S)
            except LendError as error:
                refused[port] = _refused(lender, port, error)
            else:
                lenders.append(lender)
                if not quiet:
                    click.echo(
                        f"the daemon (pid {lender.pid}) lends line {lender.line} and reads on afterwards", err=True
                    )
        yield refused
    finally:
        for lender in lenders:
            lender.give_back()


def _refused(lender: Lender, port: str, error: LendError) -> MeterError:
    cause = f"the running agent (pid {lender.pid}) has it: {error.cause}"
    subject = f"line {lender.line} ({port})"
    return MeterError("line_busy", operation="borrow", subject=subject, cause=cause, next_step=error.next_step)


def status_path(config: Path) -> Path:
    """Where the daemon of `config` writes its status; the default path if that file cannot be used."""
    try:
        return load(config).status_path
    except SettingsError:
        return DEFAULT_STATUS_PATH

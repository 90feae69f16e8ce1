"""Exit codes that sysexits (`os.EX_...`) do not have, and errors with an exit code."""

from __future__ import annotations

import os

import click

ATTENTION = 1  # it works, but needs attention: a finding, a silent meter, a doubtful value
INTERRUPTED = 130  # by Ctrl-C, as in a shell


class DataError(click.ClickException):
    """The input is not valid."""

    exit_code = os.EX_DATAERR


class NoInput(click.ClickException):
    """The input cannot be read."""

    exit_code = os.EX_NOINPUT


class CannotCreate(click.ClickException):
    """The output cannot be written."""

    exit_code = os.EX_CANTCREAT

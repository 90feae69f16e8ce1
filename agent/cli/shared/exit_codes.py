"""How commands end where sysexits (`os.EX_...`) have no code, and the errors that carry one."""

from __future__ import annotations

import os

import click

ATTENTION = 1  # it works, and somebody should look: a finding, a silent meter, a doubtful value
INTERRUPTED = 130  # by Ctrl-C, as a shell says it


class DataError(click.ClickException):
    """What was read says nothing valid."""

    exit_code = os.EX_DATAERR


class NoInput(click.ClickException):
    """What should be read cannot be."""

    exit_code = os.EX_NOINPUT


class CannotCreate(click.ClickException):
    """What should be written cannot be."""

    exit_code = os.EX_CANTCREAT

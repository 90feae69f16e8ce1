"""The type of options that name a file which the command itself reads."""

from __future__ import annotations

from pathlib import Path

import click

# Not click's own look at whether it may be read: whoever reads it says what to do then, too.
A_FILE = click.Path(path_type=Path, readable=False)

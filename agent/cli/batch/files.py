"""Shared by `decode` and `encode`: input from a file or standard input, and errors as one line."""

from __future__ import annotations

import base64
import binascii
import sys
from collections.abc import Callable
from pathlib import Path

from agent.cli.shared.exit_codes import DataError, NoInput
from wire.errors import WireError

STDIN = "-"
INPUT_BYTES_MAX = 64 << 20
_HEX_START = b"575001"  # the first bytes of a batch, as text
_BASE64_START = b"V1AB"


def name_of(file: str) -> str:
    """The name of the input in messages."""
    return "standard input" if file == STDIN else file


def read_input(file: str) -> bytes:
    """All bytes of a file or of standard input; exit code 66 if it cannot be read."""
    try:
        if file == STDIN:
            data = sys.stdin.buffer.read(INPUT_BYTES_MAX + 1)
        else:
            with Path(file).open("rb") as source:
                data = source.read(INPUT_BYTES_MAX + 1)
    except OSError as error:
        raise NoInput(f"cannot read {name_of(file)}: {error.strerror}; check the path") from error
    if len(data) > INPUT_BYTES_MAX:
        raise DataError(f"{name_of(file)} is over {INPUT_BYTES_MAX >> 20} MiB: too large for a batch")
    return data


def data_error(file: str, error: WireError, next_step: str) -> DataError:
    """The error for invalid input; exit code 65."""
    return DataError(f"{name_of(file)}: {error}; {next_step}")


def batch_bytes(data: bytes) -> bytes:
    """The bytes of a batch that is given as bytes, or as hexadecimal or base64 text (from a log or an IoT rule)."""
    if data.startswith(_HEX_START):
        return _from_text(data, binascii.unhexlify, "hexadecimal")
    if data.startswith(_BASE64_START):
        return _from_text(data, lambda text: base64.b64decode(text, validate=True), "base64")
    return data


def _from_text(data: bytes, convert: Callable[[bytes], bytes], what: str) -> bytes:
    try:
        return convert(b"".join(data.split()))
    except binascii.Error as error:
        raise WireError(f"starts like a batch in {what}, but the rest is not {what}: {error}") from error

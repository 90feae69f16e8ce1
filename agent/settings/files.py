"""The files that the configuration names: there, readable, PEM, and the key readable by nobody else."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agent.settings.keys import CREDENTIAL_PREFIX, KeyReferenceError, key_file
from agent.settings.lines import line_of, scan
from agent.settings.mistake import Mistake
from agent.settings.settings import Settings

PEM_BEGIN = b"-----BEGIN "
PEM_BYTES_MAX = 100_000
OTHERS = stat.S_IRWXO
GROUP_WRITE = stat.S_IWGRP


Look = Callable[[Path | None, Path | None, Path | None], tuple[Sequence[Mistake], Sequence[Mistake]]]


def check_files(
    settings: Settings, config: Path, environment: Mapping[str, str], look_inside: Look
) -> tuple[Sequence[Mistake], Sequence[Mistake]]:
    """Mistakes and warnings about certificate files, key and serial ports, seen as the user who runs this.

    `look_inside` gets those of `(ca, cert, key)` that are there, readable and PEM.
    """
    lines = scan(config.read_text("utf-8-sig"))
    uplink = settings.uplink
    key: Path | None = None
    mistakes = [
        *_pem_mistakes("ca", uplink.ca, "CERTIFICATE"),
        *_pem_mistakes("cert", uplink.cert, "CERTIFICATE"),
    ]
    warnings: list[Mistake] = []
    try:
        key = key_file(uplink.key, environment.get("CREDENTIALS_DIRECTORY"))
    except KeyReferenceError as error:
        warnings.append(Mistake("uplink.key", None, "was not looked at", str(error)))
    else:
        mistakes += _pem_mistakes("key", key, "PRIVATE KEY")
    unreadable = {mistake.path for mistake in mistakes}
    files = {"uplink.ca": uplink.ca, "uplink.cert": uplink.cert, "uplink.key": key}
    inside, soon = look_inside(*(None if path in unreadable else file for path, file in files.items()))
    mistakes += inside
    warnings += soon
    if key is not None:
        mistakes += _key_mode_mistakes(key, uplink.key)
    warnings += [
        Mistake(
            f"bus[{index}].port",
            None,
            f'"{bus.port}" is not there',
            "plug the adapter in, or see: ls /dev/serial/by-id",
        )
        for index, bus in enumerate(settings.buses)
        if bus.port.startswith("/") and not Path(bus.port).exists()
    ]
    return [_with_line(lines, m) for m in mistakes], [_with_line(lines, w) for w in warnings]


def _pem_mistakes(key: str, path: Path, wanted: str) -> list[Mistake]:
    where = f"uplink.{key}"
    try:
        with path.open("rb") as file:
            data = file.read(PEM_BYTES_MAX)
    except OSError as error:
        problem = f'"{path}" cannot be read: {error.strerror or error}'
        return [Mistake(where, None, problem, f"put the PEM file there, readable: ls -l {path}")]
    if PEM_BEGIN not in data or f"{wanted}-----".encode() not in data:
        return [Mistake(where, None, f'"{path}" is not a PEM file with a {wanted}', "see: head -1 of the file")]
    return []


def _key_mode_mistakes(path: Path, reference: str) -> list[Mistake]:
    if reference.startswith(CREDENTIAL_PREFIX):
        return []  # systemd sets the mode of credentials
    try:
        mode = path.stat().st_mode
    except OSError:
        return []  # reported as unreadable
    if mode & (OTHERS | GROUP_WRITE):
        problem = f'"{path}" has mode {stat.S_IMODE(mode):04o}, so that other users can use this key'
        return [Mistake("uplink.key", None, problem, f"chmod 600 {path}")]
    return []


def _with_line(lines: Mapping[tuple[str | int, ...], int], mistake: Mistake) -> Mistake:
    table, _, key = mistake.path.rpartition(".")
    name, _, index = table.rstrip("]").partition("[")
    path = (name, int(index), key) if index else (name, key)
    return Mistake(mistake.path, line_of(lines, path), mistake.problem, mistake.expected)

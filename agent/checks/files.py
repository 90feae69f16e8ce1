"""The files that the configuration names: there, readable, PEM, and the key readable by nobody else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agent.checks.key_file import key_file_access
from agent.settings.key_positions import line_of, scan
from agent.settings.keys import KeyReferenceError, key_file
from agent.settings.mistake import Mistake, Named

PEM_BEGIN = b"-----BEGIN "
PEM_BYTES_MAX = 100_000
MADE_BY_SYSTEMD = {Path("/var/lib/wattpost"), Path("/run/wattpost")}  # StateDirectory, RuntimeDirectory


Look = Callable[[Path | None, Path | None, Path | None], tuple[Sequence[Mistake], Sequence[Mistake]]]


def check_files(
    named: Named, config: Path, environment: Mapping[str, str], look_inside: Look
) -> tuple[Sequence[Mistake], Sequence[Mistake]]:
    """Mistakes and warnings about certificate files, key and serial ports, seen as the user who runs this.

    `look_inside` gets those of `(ca, cert, key)` that are there, readable and PEM.
    """
    lines = scan(config.read_text("utf-8-sig"))
    mistakes = [
        *_pem_mistakes("ca", named.ca, "CERTIFICATE"),
        *_pem_mistakes("cert", named.cert, "CERTIFICATE"),
    ]
    key, warnings = _key_named(named, environment)
    mistakes += _pem_mistakes("key", key, "PRIVATE KEY")
    unreadable = {mistake.path for mistake in mistakes}
    files = {"uplink.ca": named.ca, "uplink.cert": named.cert, "uplink.key": key}
    inside, soon = look_inside(*(None if path in unreadable else file for path, file in files.items()))
    mistakes += inside
    warnings += soon
    for finding in key_file_access(key):
        found = mistakes if finding.severity == "error" else warnings
        found.append(Mistake(finding.subject, None, finding.cause, finding.next_step))
    warnings += [
        Mistake(
            f"bus[{index}].port",
            None,
            f'"{port}" is not there',
            "plug the adapter in, or see: ls /dev/serial/by-id",
        )
        for index, port in enumerate(named.ports)
        if port is not None and port.startswith("/") and not Path(port).exists()
    ]
    warnings += [
        Mistake(key, None, f'there is no folder "{path.parent}"', f"create it: mkdir -p {path.parent}")
        for key, path in named.written.items()
        if path.parent not in MADE_BY_SYSTEMD and not path.parent.is_dir()
    ]
    return [_with_line(lines, m) for m in mistakes], [_with_line(lines, w) for w in warnings]


def _key_named(named: Named, environment: Mapping[str, str]) -> tuple[Path | None, list[Mistake]]:
    if named.key is None:
        return None, []
    try:
        return key_file(named.key, environment.get("CREDENTIALS_DIRECTORY")), []
    except KeyReferenceError as error:
        return None, [Mistake("uplink.key", None, "was not looked at", str(error))]


def _pem_mistakes(key: str, path: Path | None, wanted: str) -> list[Mistake]:
    if path is None:
        return []
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


def _with_line(lines: Mapping[tuple[str | int, ...], int], mistake: Mistake) -> Mistake:
    table, _, key = mistake.path.rpartition(".")
    name, _, index = table.rstrip("]").partition("[")
    path = (name, int(index), key) if index else (name, key)
    return Mistake(mistake.path, line_of(lines, path), mistake.problem, mistake.expected)

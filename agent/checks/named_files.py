"""The files that a configuration names, as far as they can be found and read: what the checks of files look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.adapters.system.key_access import credentials_directory
from agent.core.system.finding import Finding
from agent.core.system.timekeeper import ClockReading
from agent.settings.keys import KeyReferenceError, key_file
from agent.settings.mistake import Named

PEM_BEGIN = b"-----BEGIN "
PEM_BYTES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class PemFile:
    """`path` None: not named properly. `problem` is why it cannot be used, if so."""

    path: Path | None
    problem: Finding | None = None

    @property
    def usable(self) -> Path | None:
        """The path of a file that is there, readable, and PEM."""
        return self.path if self.problem is None else None


@dataclass(frozen=True, slots=True)
class NamedFiles:
    """Certificates and key, and what else the configuration names; `now` is for judging dates."""

    ca: PemFile
    cert: PemFile
    key: PemFile
    named: Named
    now: ClockReading


def look_at_files(named: Named, now: ClockReading) -> NamedFiles:
    """What is there now, seen as the user who runs this."""
    ca, cert = _pem_file("ca", named.ca, "CERTIFICATE"), _pem_file("cert", named.cert, "CERTIFICATE")
    return NamedFiles(ca, cert, _key(named.key), named, now)


def _key(reference: str | None) -> PemFile:
    if reference is None:
        return PemFile(None)
    try:
        return _pem_file("key", key_file(reference, credentials_directory()), "PRIVATE KEY")
    except KeyReferenceError as error:
        return PemFile(None, Finding("warning", "uplink.key", "was not checked", str(error)))


def _pem_file(key: str, path: Path | None, wanted: str) -> PemFile:
    if path is None:
        return PemFile(None)
    try:
        with path.open("rb") as file:
            data = file.read(PEM_BYTES_MAX)
    except OSError as error:
        cause = f'"{path}" cannot be read: {error.strerror or error}'
        step = f"put the PEM file there and make it readable; see: ls -l {path}"
        return PemFile(path, Finding("error", f"uplink.{key}", cause, step))
    if PEM_BEGIN not in data or f"{wanted}-----".encode() not in data:
        cause = f'"{path}" is not a PEM file with a {wanted}'
        return PemFile(path, Finding("error", f"uplink.{key}", cause, f"see: head -1 {path}"))
    return PemFile(path)

"""Certificates and key as OpenSSL sees them. Only commands ask it: the daemon has none (decision 0005)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from agent.checks.named_files import NamedFiles
from agent.core.system.certificate_validity import CertificateError, Validity, validities
from agent.core.system.finding import Finding
from agent.core.system.timekeeper import ClockReading
from agent.core.texts import count
from agent.settings.keys import without_password
from wire.utc import format_utc

if TYPE_CHECKING:
    import ssl

S_PER_DAY = 86_400
SOON_S = 30 * S_PER_DAY
MISMATCH = "KEY_VALUES_MISMATCH"
AGAIN = "copy it again, as it was issued"
ISSUED_TOGETHER = "use the certificate and the key that were issued together for this box"
RENEW = {"ca": "use the broker's current root certificate", "cert": "have a new one issued for this box, with its key"}
_WEAK = {
    "EE_KEY_TOO_SMALL": "its key is too short for TLS here",
    "CA_KEY_TOO_SMALL": "its key is too short for TLS here",
    "CA_MD_TOO_WEAK": "its signature is too weak for TLS here",
}


class _EncryptedError(Exception):
    """Raised where OpenSSL would ask for a password."""


def root_certificate(files: NamedFiles) -> Iterator[Finding]:
    """A root that is damaged, out of its time, or none."""
    path = files.ca.usable
    if path is None:
        return
    context = _context_with(path)
    if context is None:
        yield _damaged("ca", path)
        return
    if not context.cert_store_stats()["x509_ca"]:
        cause = f'"{path}" is not a root certificate: it may not sign others'
        yield Finding("warning", "uplink.ca", cause, "use the root certificate that the broker's was signed with")
    yield from _dates("ca", path, files.now)


def box_certificate(files: NamedFiles) -> Iterator[Finding]:
    """A certificate that is damaged or out of its time."""
    path = files.cert.usable
    if path is None:
        return
    if _context_with(path) is None:
        yield _damaged("cert", path)
    else:
        yield from _dates("cert", path, files.now)


def key_pair(files: NamedFiles) -> Iterator[Finding]:
    """A key that cannot be used with the certificate."""
    cert, key = files.cert.usable, files.key.usable
    if cert is not None and key is not None and _context_with(cert) is not None:
        yield from _pair(cert, key)


def _dates(what: str, path: Path, now: ClockReading) -> Iterator[Finding]:
    """Of the certificate, or of that root which is valid for longest."""
    try:
        found = validities(path.read_bytes())
    except CertificateError:
        yield _damaged(what, path)
        return
    if not found:
        return
    subject, now_s = f"uplink.{what}", now.utc_ms // 1000
    valid = found[0] if what == "cert" else max(found, key=_end)
    if valid.to_s < now_s:
        yield Finding("error", subject, f'"{path}" expired on {_day(valid.to_s)}', RENEW[what])
    elif valid.from_s > now_s:
        cause = f'"{path}" is valid only from {_day(valid.from_s)}, and this clock says {_day(now_s)}'
        # A clock that nothing keeps right is late rather than early, and will be put right.
        yield Finding("error" if now.synchronised else "warning", subject, cause, "set the clock: timedatectl")
    elif valid.to_s < now_s + SOON_S:
        cause = f'"{path}" expires on {_day(valid.to_s)}, in {count((valid.to_s - now_s) // S_PER_DAY, "day")}'
        yield Finding("warning", subject, cause, RENEW[what])


def _end(valid: Validity) -> int:
    return valid.to_s


def _pair(cert: Path, key: Path) -> Iterator[Finding]:
    import ssl  # noqa: PLC0415 - as below

    def refuse() -> NoReturn:
        raise _EncryptedError

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password=refuse)
    except _EncryptedError:
        cause = f'"{key}" is protected by a password, which nobody is there to type'
        yield Finding("error", "uplink.key", cause, without_password(key))
    except ssl.SSLError as error:
        if error.reason == MISMATCH:
            cause = f'"{key}" is not the key of the certificate "{cert}"'
            yield Finding("error", "uplink.key", cause, ISSUED_TOGETHER)
        elif error.reason in _WEAK:
            cause = f'"{cert}" cannot be used: {_WEAK[error.reason]}'
            yield Finding("error", "uplink.cert", cause, RENEW["cert"])
        else:
            yield _damaged("key", key)


def _context_with(path: Path) -> ssl.SSLContext | None:
    """A context that knows the certificates of `path`; None where OpenSSL cannot read them."""
    import ssl  # noqa: PLC0415 - `status` lists these checks and does not run them

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        return None
    return context


def _damaged(what: str, path: Path) -> Finding:
    return Finding("error", f"uplink.{what}", f'"{path}" is damaged', AGAIN)


def _day(utc_s: int) -> str:
    return format_utc(utc_s * 1000)[:10]

"""Certificate, key and CA as OpenSSL sees them. Only `check-config` asks it: the daemon has none (decision 0005)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from agent.core.system.certificate_validity import CertificateError, Validity, validities
from agent.core.system.timekeeper import ClockReading
from agent.core.texts import count
from agent.settings import Mistake
from agent.settings.keys import without_password
from wire.utc import format_utc

SOON_S = 30 * 86_400
MISMATCH = "KEY_VALUES_MISMATCH"
AGAIN = "copy it there again, whole, as it was issued"
ISSUED_TOGETHER = "put the pair there that was issued for this box"
RENEW = {"ca": "put the broker's present root there", "cert": "have a new one issued for this box, with its key"}
_WEAK = {
    "EE_KEY_TOO_SMALL": "its key is too short for TLS here",
    "CA_KEY_TOO_SMALL": "its key is too short for TLS here",
    "CA_MD_TOO_WEAK": "its signature is too weak for TLS here",
}


@dataclass(slots=True)
class Findings:
    """Mistakes make the file unusable; warnings do not, or not yet."""

    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[Mistake] = field(default_factory=list)


class _EncryptedError(Exception):
    """Raised where OpenSSL would ask for a password."""


def check_credentials(ca: Path | None, cert: Path | None, key: Path | None, clock: ClockReading) -> Findings:
    """What is wrong inside these files, which can be read and are PEM; None for one that is not to be looked at."""
    findings = Findings()
    if ca is not None:
        _check_ca(ca, clock, findings)
    if cert is not None:
        context = _context_with(cert)
        if context is None:
            findings.mistakes.append(_damaged("cert", cert))
        else:
            _check_dates("cert", cert, clock, findings)
            if key is not None:
                findings.mistakes += _pair_mistakes(cert, key)
    return findings


def _context_with(path: Path) -> ssl.SSLContext | None:
    """A context that knows the certificates of `path`; None where OpenSSL cannot read them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        return None
    return context


def _check_ca(path: Path, clock: ClockReading, findings: Findings) -> None:
    context = _context_with(path)
    if context is None:
        findings.mistakes.append(_damaged("ca", path))
        return
    if not context.cert_store_stats()["x509_ca"]:
        problem = f'"{path}" has no root: its certificate may not sign others'
        findings.warnings.append(_mistake("ca", problem, "put the root certificate there that the broker's is from"))
    _check_dates("ca", path, clock, findings)


def _check_dates(what: str, path: Path, clock: ClockReading, findings: Findings) -> None:
    """Of the certificate, or of that root which is valid for longest."""
    try:
        found = validities(path.read_bytes())
    except CertificateError:
        findings.mistakes.append(_damaged(what, path))
        return
    if not found:
        return
    valid, now_s = found[0] if what == "cert" else max(found, key=_end), clock.utc_ms // 1000
    if valid.to_s < now_s:
        findings.mistakes.append(_mistake(what, f'"{path}" expired on {_day(valid.to_s)}', RENEW[what]))
    elif valid.from_s > now_s:
        problem = f'"{path}" is valid only from {_day(valid.from_s)}, and this clock says {_day(now_s)}'
        # A clock that nothing keeps right is late rather than early, and will be put right.
        early = findings.mistakes if clock.synchronised else findings.warnings
        early.append(_mistake(what, problem, "set the clock: timedatectl"))
    elif valid.to_s < now_s + SOON_S:
        problem = f'"{path}" expires on {_day(valid.to_s)}, in {count((valid.to_s - now_s) // 86_400, "day")}'
        findings.warnings.append(_mistake(what, problem, RENEW[what]))


def _end(valid: Validity) -> int:
    return valid.to_s


def _pair_mistakes(cert: Path, key: Path) -> list[Mistake]:
    def refuse() -> NoReturn:
        raise _EncryptedError

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password=refuse)
    except _EncryptedError:
        problem = f'"{key}" is protected by a password, which nobody is there to type'
        return [_mistake("key", problem, without_password(key))]
    except ssl.SSLError as error:
        if error.reason == MISMATCH:
            return [_mistake("key", f'"{key}" is not the key of the certificate "{cert}"', ISSUED_TOGETHER)]
        if error.reason in _WEAK:
            return [_mistake("cert", f'"{cert}" cannot be used: {_WEAK[error.reason]}', RENEW["cert"])]
        return [_damaged("key", key)]
    return []


def _damaged(what: str, path: Path) -> Mistake:
    return _mistake(what, f'"{path}" is damaged', AGAIN)


def _mistake(what: str, problem: str, expected: str) -> Mistake:
    return Mistake(f"uplink.{what}", None, problem, expected)


def _day(utc_s: int) -> str:
    return format_utc(utc_s * 1000)[:10]

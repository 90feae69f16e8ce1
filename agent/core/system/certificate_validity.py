"""When the certificates of a PEM file are valid, read from their bytes: the daemon has no OpenSSL to ask. Pure."""

from __future__ import annotations

import base64
import binascii
import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass

SEQUENCE, VERSION, UTC_TIME, GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
LONG_LENGTH = 0x80
LENGTH_BYTES_MAX = 4
_BLOCK = re.compile(rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----(.*?)-----END ", re.DOTALL)
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z")


class CertificateError(Exception):
    """Bytes that are no X.509 certificate."""


@dataclass(frozen=True, slots=True)
class Validity:
    """From and to, in seconds since 1970."""

    from_s: int
    to_s: int


def validities(pem: bytes) -> list[Validity]:
    """Of each certificate in a PEM file, in its order; raises `CertificateError`."""
    return [_of_der(_der(block)) for block in _BLOCK.findall(pem)]


def _der(block: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(block.split()), validate=True)
    except binascii.Error as error:
        raise CertificateError(f"not base64: {error}") from error


def _of_der(der: bytes) -> Validity:
    """RFC 5280: Certificate { tbsCertificate { [0] version?, serial, signature, issuer, validity { from, to } ..."""
    fields = _elements(_inside(_inside(der, SEQUENCE), SEQUENCE))
    tag, content = _next(fields)
    if tag == VERSION:
        _next(fields)
    for _ in ("signature", "issuer"):
        _next(fields)
    tag, content = _next(fields)
    if tag != SEQUENCE:
        raise CertificateError("no validity where it should be")
    times = _elements(content)
    return Validity(_seconds(*_next(times)), _seconds(*_next(times)))


def _inside(data: bytes, wanted: int) -> bytes:
    tag, content = _next(_elements(data))
    if tag != wanted:
        raise CertificateError(f"tag 0x{tag:02x} where 0x{wanted:02x} belongs")
    return content


def _next(elements: Iterator[tuple[int, bytes]]) -> tuple[int, bytes]:
    element = next(elements, None)
    if element is None:
        raise CertificateError("it ends too early")
    return element


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each DER element in `data`."""
    at = 0
    while at + 2 <= len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & LONG_LENGTH:
            count = length & ~LONG_LENGTH
            if not 1 <= count <= LENGTH_BYTES_MAX:
                raise CertificateError(f"a length of {count} bytes")
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + length > len(data):
            raise CertificateError("it ends too early")
        yield tag, data[at : at + length]
        at += length


def _seconds(tag: int, content: bytes) -> int:
    text = content.decode("ascii", "replace")
    if tag == UTC_TIME:  # two digits of the year: 50..99 are of the last century
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != GENERALIZED_TIME:
        raise CertificateError(f"tag 0x{tag:02x} where a time belongs")
    match = _TIME.fullmatch(text)
    if match is None:
        raise CertificateError(f"a time of {text!r}")
    return calendar.timegm(tuple(int(part) for part in match.groups()))

"""The time of a certificate, read from its bytes, against a library that knows them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from broker import Authority, Days
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from agent.core.system.certificate_validity import CertificateError, Validity, validities


@pytest.mark.parametrize("days", [(-0.05, 365.0), (-20_000.0, 20_000.0), (30_000.0, 2_000_000.0)])
def test_it_is_what_another_reader_says(tmp_path: Path, days: Days) -> None:
    """The last ones lie behind 2050, where certificates write the year with four digits."""
    authority = Authority(tmp_path, days=days)
    pem = authority.issue("x", days)[0].read_bytes() + authority.ca.read_bytes()
    assert validities(pem) == [
        Validity(int(one.not_valid_before_utc.timestamp()), int(one.not_valid_after_utc.timestamp()))
        for one in x509.load_pem_x509_certificates(pem)
    ]


def test_every_cut_and_every_changed_byte_gives_a_validity_or_the_one_error(tmp_path: Path) -> None:
    pem = Authority(tmp_path).ca.read_bytes()
    der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    for at in range(len(der)):
        for changed in (der[:at], der[:at] + bytes([der[at] ^ 0xFF]) + der[at + 1 :]):
            body = base64.encodebytes(changed)
            try:
                validities(b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n")
            except CertificateError:
                continue


def test_what_is_no_certificate_has_none() -> None:
    assert validities(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n") == []
    with pytest.raises(CertificateError, match="base64"):
        validities(b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n")

"""Register a box with AWS IoT: thing, certificate from a signing request, policy. Its key never leaves this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cloud.local.errors import LocalCloudError


@dataclass(frozen=True, slots=True)
class Certificate:
    cert: Path
    key: Path


def register(iot: Any, box: str, policy: str, folder: Path) -> Certificate:
    """Make the thing `box` with an active certificate and `policy`. The files are in `folder`."""
    files = Certificate(cert=folder / f"{box}.pem", key=folder / f"{box}.key")
    private_key = ec.generate_private_key(ec.SECP256R1())
    try:
        iot.create_thing(thingName=box)
        answer = iot.create_certificate_from_csr(
            certificateSigningRequest=_signing_request(private_key, box), setAsActive=True
        )
        iot.attach_policy(policyName=policy, target=answer["certificateArn"])
        iot.attach_thing_principal(thingName=box, principal=answer["certificateArn"])
    except (ClientError, BotoCoreError) as error:
        raise LocalCloudError(f"register the box {box}: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    write_private(
        files.key,
        private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    files.cert.write_text(answer["certificatePem"])
    return files


def _signing_request(private_key: ec.EllipticCurvePrivateKey, box: str) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, box)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(private_key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, from the first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)

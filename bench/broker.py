"""A real mosquitto with mutual TLS on a free port, and the authority that signs for it: for benches and torture."""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import subprocess
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

START_S = 10.0


class Authority:
    """A root certificate in `folder`, and what it signs, as PEM files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self._sign("bench root", self._key, x509.BasicConstraints(ca=True, path_length=0)))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key for `name`, good for a server on localhost and for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert_path, key_path = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        cert_path.write_bytes(self._sign(name, key, x509.SubjectAlternativeName([x509.DNSName("localhost")])))
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        key_path.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
        key_path.chmod(0o600)
        return cert_path, key_path

    def _sign(self, name: str, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType) -> bytes:
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench root")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=2))
            .add_extension(extension, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def start_mosquitto(folder: Path, authority: Authority, port: int) -> subprocess.Popen[bytes]:
    """Start it and return when it listens; raises RuntimeError with its log when it does not."""
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    cert, key = authority.issue("broker")
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\ncafile {authority.ca}\ncertfile {cert}\nkeyfile {key}\n"
        "require_certificate true\nuse_identity_as_username true\nmax_queued_messages 0\nuser root\n"
    )
    log = folder / "mosquitto.log"
    with log.open("ab") as output:
        process = subprocess.Popen([program, "-c", str(config)], stdout=output, stderr=output)
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)
    raise RuntimeError(f"mosquitto did not listen on {port}:\n{log.read_text()}")

"""A real mosquitto with mutual TLS and access rules, and the authority that signs for it."""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
START_S = 10.0
Days = tuple[float, float]  # from and to, seen from now
VALID: Days = (-0.05, 365)
# A client is the name in its certificate: a box has its own topics, the receiver all of them.
RULES = """\
pattern write wattpost/%u/batches
pattern read wattpost/%u/receipts
user receiver
topic read wattpost/+/batches
topic write wattpost/+/receipts
user tutorial
topic write tutorial/#
"""


class Authority:
    """A root and the certificates that it signs, as PEM files in `folder`."""

    def __init__(self, folder: Path, name: str = "test root", days: Days = VALID) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.ca = folder / f"{name.replace(' ', '-')}.pem"
        root = self._builder(name, self._key, days).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        self.ca.write_bytes(root.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _builder(self, name: str, key: ec.EllipticCurvePrivateKey, days: Days = VALID) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + dt.timedelta(days[0]))
            .not_valid_after(now + dt.timedelta(days[1]))
        )

    def issue(self, name: str, days: Days = VALID) -> tuple[Path, Path]:
        """Certificate and key of `name`, good for a server on localhost and for a client, `days` from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        certificate = self._builder(name, key, days).add_extension(names, False).sign(self._key, hashes.SHA256())
        cert_path, key_path = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        key_path.chmod(0o600)
        return cert_path, key_path


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass
class Mosquitto:
    """One broker on one port, started and stopped as often as a test likes."""

    folder: Path
    authority: Authority
    rules: str = RULES
    port: int = field(default_factory=free_port)

    def start(self) -> subprocess.Popen[bytes]:
        """Start it and return when it listens; raises RuntimeError with its log when it does not."""
        cert, key = self.authority.issue("broker")
        rules = self.folder / "acl"
        rules.write_text(self.rules)
        config = self.folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\ncafile {self.authority.ca}\ncertfile {cert}\nkeyfile {key}\n"
            f"require_certificate true\nuse_identity_as_username true\nacl_file {rules}\nuser root\n"
            "max_queued_messages 0\n"
        )
        log = self.folder / "mosquitto.log"
        with log.open("ab") as output:
            process = subprocess.Popen([str(PROGRAM), "-c", str(config)], stdout=output, stderr=output)
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return process
            time.sleep(0.05)
        raise RuntimeError(f"mosquitto did not listen on {self.port}:\n{log.read_text()}")

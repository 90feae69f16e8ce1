"""The AWS of the demo and of the end-to-end tests: MiniStack with the committed template and one registered box."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import boto3

from cloud.local import ministack
from cloud.local.deploy import deploy
from cloud.local.errors import LocalCloudError
from cloud.local.launcher import LOOPBACK
from cloud.local.register import register, write_private
from cloud.ports import Stores
from cloud.stores.aws.stores import aws_stores

CONNECTION = "connection.json"


@dataclass(frozen=True, slots=True)
class LocalConnection:
    """What a box and a reader of the stores need. `topic` and `receipts` have `{box}` in place of the box's name."""

    box: str
    endpoint: str
    port: int
    ca: str
    cert: str
    key: str
    topic: str
    receipts: str
    gateway: str
    region: str
    access_key_id: str
    secret_access_key: str
    table: str
    bucket: str
    queue: str
    dead_letters: str
    policy: str
    function: str
    pid: int

    @classmethod
    def load(cls, folder: Path) -> LocalConnection:
        path = folder / CONNECTION
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise LocalCloudError(
                f"read {path}: {error}; is `wattpost cloud local --dir {quote(str(folder))}` running?"
            ) from error

    def session(self) -> boto3.Session:
        return boto3.Session(
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name=self.region,
        )

    def client(self, service: str) -> Any:
        """A boto3 client of this cloud."""
        return self.session().client(service, endpoint_url=self.gateway)

    def stores(self) -> Stores:
        return aws_stores(self.client("dynamodb"), self.table, self.client("s3"), self.bucket)


@dataclass(frozen=True, slots=True)
class LocalCloud:
    connection: LocalConnection
    running: ministack.MiniStack

    def check(self) -> None:
        """Raises `LocalCloudError` if MiniStack has ended."""
        code = self.running.process.poll()
        if code is not None:
            raise LocalCloudError(f"keep MiniStack running: it ended with code {code}; see {self.running.log}")


@contextmanager
def local_cloud(
    folder: Path, box: str, gateway_port: int | None = None, mqtt_port: int | None = None
) -> Iterator[LocalCloud]:
    """Runs while the context is open. `folder` has `connection.json`, the certificates and MiniStack's log."""
    try:
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONNECTION).unlink(missing_ok=True)
        running = ministack.start(folder, gateway_port, mqtt_port)
    except OSError as error:
        raise LocalCloudError(f"make {folder}: {error.strerror}; name a folder that you can write") from error
    try:
        connection = _furnish(running, folder, box)
        write_private(folder / CONNECTION, json.dumps(asdict(connection), indent=2).encode())
        yield LocalCloud(connection, running)
    finally:
        (folder / CONNECTION).unlink(missing_ok=True)
        running.stop()


def _furnish(running: ministack.MiniStack, folder: Path, box: str) -> LocalConnection:
    session = boto3.Session(
        aws_access_key_id=running.credentials.access_key_id,
        aws_secret_access_key=running.credentials.secret_access_key,
        region_name=ministack.REGION,
    )
    outputs = deploy(session, running.gateway_url)
    iot = session.client("iot", endpoint_url=running.gateway_url)
    certificate = register(iot, box, outputs["BoxPolicy"], folder / "certs")
    return LocalConnection(
        box=box,
        endpoint=LOOPBACK,
        port=running.mqtt_port,
        ca=str(_save_ca(running, folder / "certs" / "ca.pem")),
        cert=str(certificate.cert),
        key=str(certificate.key),
        topic=outputs["BatchTopic"],
        receipts=outputs["ReceiptTopic"],
        gateway=running.gateway_url,
        region=ministack.REGION,
        access_key_id=running.credentials.access_key_id,
        secret_access_key=running.credentials.secret_access_key,
        table=outputs["Table"],
        bucket=outputs["Bucket"],
        queue=outputs["QueueUrl"],
        dead_letters=outputs["DeadLetterQueueUrl"],
        policy=outputs["BoxPolicy"],
        function=outputs["Function"],
        pid=running.process.pid,
    )


def _save_ca(running: ministack.MiniStack, path: Path) -> Path:
    """The root certificate that signed the broker's."""
    try:
        with urllib.request.urlopen(f"{running.gateway_url}/_ministack/iot/ca.pem", timeout=5) as answer:  # noqa: S310
            path.write_bytes(answer.read())
    except OSError as error:
        raise LocalCloudError(f"fetch the local root certificate: {error}; see {running.log}") from error
    return path

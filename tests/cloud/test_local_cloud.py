"""End to end on the local AWS: MQTT 5 with a client certificate -> rule -> queue -> Lambda -> stores -> receipt."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cloud.local.bring_up import LocalConnection
from cloud.stores.export import readings
from wire.codec import digest

BOX = "apt-test"


@pytest.fixture
def client(connection: LocalConnection, mqtt_box: Callable[..., Any]) -> Any:
    """Connected as `apt-test`, listening to its receipts."""
    client = mqtt_box(
        host=connection.endpoint,
        port=connection.port,
        ca=connection.ca,
        cert=connection.cert,
        key=connection.key,
        client_id=BOX,
    )
    client.connect()
    assert client.subscribe(f"wattpost/{BOX}/receipts") == 1
    return client


@pytest.fixture
def me(box: Any) -> Any:
    """The registered box, with an epoch of its own for each test."""
    return type(box)(BOX, os.urandom(8))


def topic(connection: LocalConnection) -> str:
    return connection.topic.replace("{box}", BOX)


def seqs(connection: LocalConnection, epoch: bytes) -> list[int]:
    return [one["seq"] for one in readings(connection.stores(), BOX) if one["epoch"] == epoch.hex()]


def test_a_batch_gets_its_receipt(connection: LocalConnection, client: Any, me: Any) -> None:
    data = me.message(1, 5, confirm=True).data
    assert client.publish(topic(connection), data) == 0
    receipt = client.receipt_where(lambda one: one.epoch == me.epoch)
    assert (receipt.through, receipt.digest, receipt.held) == (5, digest(data), ())
    assert seqs(connection, me.epoch) == [1, 2, 3, 4, 5]


def test_a_month_drains_newest_first_and_is_stored_once(connection: LocalConnection, client: Any, me: Any) -> None:
    """60 batches, each sent twice, in reverse."""
    for n in reversed(range(60)):
        data = me.message(10 * n + 1, 10 * n + 10, confirm=n % 20 == 0).data
        for _ in range(2):
            assert client.publish(topic(connection), data) == 0
    client.receipt_where(lambda one: one.epoch == me.epoch and one.through == 600)
    assert seqs(connection, me.epoch) == list(range(1, 601))


def test_poison_is_held_and_the_rest_goes_on(connection: LocalConnection, client: Any, me: Any) -> None:
    conflicting = me.message(1, 2, salt=7).data
    for data in (b"poison", me.message(1, 2).data):
        assert client.publish(topic(connection), data) == 0
    client.publish(topic(connection), me.message(3, 4, confirm=True).data)
    client.receipt_where(lambda one: one.epoch == me.epoch and one.through == 4)
    assert client.publish(topic(connection), conflicting) == 0
    receipt = client.receipt_where(lambda one: one.epoch == me.epoch and bool(one.held))
    assert receipt.held[0][:2] == (1, 2)
    names = {one["Key"] for one in connection.client("s3").list_objects_v2(Bucket=connection.bucket)["Contents"]}
    assert {f"quarantine/{digest(data)}.bin" for data in (b"poison", conflicting)} <= names


def test_a_box_cannot_be_another(connection: LocalConnection, client: Any, box: Any) -> None:
    other = connection.topic.replace("{box}", box.device)
    assert client.publish(other, box.message(1, 2).data) == 0x87
    assert client.subscribe(f"wattpost/{box.device}/receipts") >= 0x80


def test_a_wrong_client_id_is_refused(connection: LocalConnection, mqtt_box: Callable[..., Any]) -> None:
    client = mqtt_box(
        host=connection.endpoint,
        port=connection.port,
        ca=connection.ca,
        cert=connection.cert,
        key=connection.key,
        client_id="someone-else",
    )
    assert client.connect().connack_packet.reason_code == 0x87


def test_batches_of_another_device_under_an_own_topic_are_not_taken(
    connection: LocalConnection, client: Any, me: Any, box: Any
) -> None:
    forged = box.message(1, 2, confirm=True).data
    assert client.publish(topic(connection), forged) == 0
    client.publish(topic(connection), me.message(1, 1, confirm=True).data)
    client.receipt_where(lambda one: one.epoch == me.epoch)
    note = wait_for_object(connection, f"quarantine/{digest(forged)}.json")
    assert note["reason"].startswith("identity: ")
    assert list(readings(connection.stores(), box.device)) == []


def wait_for_object(connection: LocalConnection, key: str) -> Any:
    s3 = connection.client("s3")
    s3.get_waiter("object_exists").wait(Bucket=connection.bucket, Key=key, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    return json.loads(s3.get_object(Bucket=connection.bucket, Key=key)["Body"].read())


def test_nobody_but_the_rule_may_write_to_the_queue(connection: LocalConnection) -> None:
    sqs = connection.client("sqs")
    with pytest.raises(sqs.exceptions.ClientError, match="AccessDenied"):
        sqs.send_message(QueueUrl=connection.queue, MessageBody="{}")


def test_files_with_secrets_are_private(connection: LocalConnection) -> None:
    folder = Path(connection.cert).parents[1]
    for path in (Path(connection.key), folder / "connection.json"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_it_listens_on_the_loopback_interface_only(connection: LocalConnection) -> None:
    """Read from the kernel's table: local address 0100007F is 127.0.0.1."""
    listening = [
        line.split()[1]
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    ]
    ports = {connection.port, int(connection.gateway.rpartition(":")[2])}
    ours = [one for one in listening if int(one.rpartition(":")[2], 16) in ports]
    assert len(ours) == len(ports)
    assert {one.partition(":")[0] for one in ours} == {"0100007F"}


@contextmanager
def command(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    program = [sys.executable, "-c", "from agent.cli.main import main; main()", "cloud", "local", "--dir", str(folder)]
    with subprocess.Popen([*program, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_the_command_comes_up_says_ready_and_ends_with_all_it_started(tmp_path: Path) -> None:
    started = time.monotonic()
    with command(tmp_path) as process:
        assert line_of(process) == f"ready {tmp_path}/connection.json\n"
        assert time.monotonic() - started < 10
        connection = LocalConnection.load(tmp_path)
        socket.create_connection((connection.endpoint, connection.port), timeout=5).close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(connection.pid, 0)
    assert not (tmp_path / "connection.json").exists()


def test_a_killed_command_leaves_nothing_behind(tmp_path: Path) -> None:
    with command(tmp_path, "--json") as process:
        handle = os.pidfd_open(json.loads(line_of(process))["pid"])
        try:
            process.kill()
            assert select.select([handle], [], [], 15)[0], "MiniStack outlived its parent by 15 s"
        finally:
            os.close(handle)

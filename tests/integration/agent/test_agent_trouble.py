"""What can be wrong around a box: each gives one clear line, with the next step, and the daemon goes on reading."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from agent_process import BOX, AgentProcess, meter_tables, until
from broker import RULES, Authority, Mosquitto
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from foreign_cloud import ForeignCloud
from modbus_peers import scripted_server

from meter_sim.modbus.frames import Asked, tcp_frame

Make = Callable[..., AgentProcess]


def goes_on(box: AgentProcess) -> None:
    """Reads and keeps, deletes nothing, and does not repeat itself."""
    box.works()
    until(box.waiting, "keeping a batch")
    assert len(box.log().splitlines()) < 14, box.log()
    assert box.end() == 0
    assert "everything read is in the buffer" in box.log()
    assert "Traceback" not in box.log()


# Credentials


def with_password(key: str) -> str:
    protection = serialization.BestAvailableEncryption(b"secret")
    loaded = serialization.load_pem_private_key(key.encode(), None)
    form = serialization.PrivateFormat.PKCS8
    return loaded.private_bytes(serialization.Encoding.PEM, form, protection).decode()


def test_a_key_that_others_can_read_is_not_used_until_that_is_put_right(
    make_box: Make, broker: Mosquitto, running_broker: object
) -> None:
    box = make_box()
    key = Path(str(box.options["key"]))
    key.chmod(0o644)
    box.start()
    line = box.wait_for_line("ERROR", "uplink:")
    cause = f'"{key}" has mode 0644, so every user of this machine has access to the private key'
    assert line == f"ERROR   uplink: no connection: {cause}; run: chmod 600 {key}; readings are kept"
    box.works()
    key.chmod(0o600)
    box.send(signal.SIGHUP)
    until(lambda: box.lines("uplink: connected"), "connecting with the mended key")
    goes_on(box)


def test_a_key_that_its_group_can_read_is_used_with_a_warning(
    make_box: Make, broker: Mosquitto, running_broker: object
) -> None:
    box = make_box()
    key = Path(str(box.options["key"]))
    key.chmod(0o660)
    box.start()
    assert box.wait_for_line("WARNING", "key file:").startswith(f'WARNING key file: "{key}" has mode 0660, so the file')
    until(lambda: box.lines("uplink: connected"), "connecting with that key")
    goes_on(box)
    assert len(box.lines("key file:")) == 1


def of_another_pair(_key: str) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


TAKE_OFF = "nobody is there to type; take it off: openssl pkey -in {key} -out {key}.plain && mv {key}.plain {key}"


@pytest.mark.parametrize(
    ("file", "damage", "says"),
    [
        ("ca", lambda text: text[: len(text) // 2], "the root CA {ca} has no certificate that can be used"),
        ("cert", lambda text: text[: len(text) // 2], "certificate {cert} and key {key} are damaged or do not belong"),
        ("key", lambda text: text.replace("M", "!"), "certificate {cert} and key {key} are damaged or do not belong"),
        ("key", with_password, f"the private key {{key}} is protected by a password, which {TAKE_OFF}"),
        ("key", of_another_pair, "certificate {cert} and key {key} are damaged or do not belong"),
        ("key", lambda _text: "", "the private key {key} is not in PEM form"),
    ],
    ids=["damaged ca", "damaged certificate", "damaged key", "key with a password", "key of another pair", "empty key"],
)
def test_files_that_go_bad_while_it_runs_are_named_and_used_again_when_they_are_good(
    file: str, damage: Callable[[str], str], says: str, make_box: Make, broker: Mosquitto, running_broker: object
) -> None:
    box = make_box()
    box.start()
    until(lambda: box.lines("uplink: connected"), "connecting")
    path = Path(str(box.options[file]))
    good = path.read_text()
    path.write_text(damage(good))
    box.send(signal.SIGHUP)
    line = box.wait_for_line("ERROR", "uplink:")
    assert line.startswith("ERROR   uplink: no connection: " + says.format(**box.options))
    assert line.endswith("; readings are kept")
    box.works()
    path.write_text(good)
    box.send(signal.SIGHUP)
    until(lambda: len(box.lines("uplink: connected")) == 2, "connecting with the mended file")
    goes_on(box)


def test_a_broker_that_refuses_our_certificate(
    make_box: Make, broker: Mosquitto, running_broker: object, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    cert, key = Authority(tmp_path / "other").issue(BOX)
    box = make_box(cert=cert, key=key)
    box.start()
    line = box.wait_for_line("WARNING", "uplink: not connected to localhost:")
    assert "check that the broker knows our certificate: registered, active, not expired" in line
    assert line.endswith("readings are kept, trying again")
    goes_on(box)


@pytest.mark.timeout(120)
def test_a_broker_whose_certificate_is_of_another_root(
    make_box: Make, broker: Mosquitto, running_broker: object, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    box = make_box(ca=Authority(tmp_path / "other").ca)
    box.start()
    until(lambda: box.lines("INFO", "uplink: connecting to localhost:"), "saying that it takes its time", 15)
    until(lambda: box.lines("WARNING"), "awscrt's word, which it keeps back for up to 30 s", 60)
    line = box.wait_for_line("WARNING", "uplink: not connected to localhost:")
    assert "check that [uplink] ca signed the broker's certificate" in line
    goes_on(box)


def test_a_broker_that_is_not_there(make_box: Make) -> None:
    box = make_box()
    box.start()
    line = box.wait_for_line("WARNING", "uplink: not connected to localhost:")
    assert "check [uplink] endpoint and port" in line
    goes_on(box)


def test_a_broker_that_takes_connections_and_says_nothing(make_box: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        box = make_box(port=server.getsockname()[1])
        box.start()
        goes_on(box)


def test_a_publish_that_the_policy_denies(make_box: Make, broker: Mosquitto, tmp_path: Path) -> None:
    broker.rules = RULES.replace("pattern write wattpost/%u/batches\n", "")
    process = broker.start()
    try:
        box = make_box()
        box.start()
        assert box.wait_for_line("ERROR", "publishing:") == (
            f"ERROR   publishing: the broker denies it (PUBACK 0x87); allow iot:Publish on wattpost/{BOX}/batches in "
            "the policy of this certificate; nothing is lost, it is tried again"
        )
        goes_on(box)
    finally:
        process.terminate()
        process.wait(10)


def test_where_the_brokers_word_is_enough_nothing_waits(make_box: Make, cloud: ForeignCloud) -> None:
    box = make_box(confirm="puback")
    box.start()
    cloud.next_batch()
    until(lambda: len(cloud.batches) >= 3 and box.waiting() == 0, "deleting by PUBACK")
    assert box.end() == 0


# Meters


@contextmanager
def served(script: Callable[[Asked], list[bytes]]) -> Iterator[str]:
    """A Modbus TCP server on a thread of its own; where it is."""
    loop = asyncio.new_event_loop()
    where: list[str] = []
    started, ended = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with scripted_server(script) as server:
            where.append(server.url)
            started.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(10)
    try:
        yield where[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
        loop.close()


@pytest.mark.parametrize(
    ("script", "reason", "says"),
    [
        (lambda _asked: [], "silent", "no answer within"),
        (lambda _asked: [b"HTTP/1.1 400 Bad Request\r\n\r\n"], "garbage", "no Modbus TCP header"),
        (lambda asked: [tcp_frame(asked, b"\x84\x02")], "exception", "exception 2 (illegal data address)"),
    ],
    ids=["silent", "garbage", "exception"],
)
def test_a_meter_that_does_not_answer_as_it_should(
    script: Callable[[Asked], list[bytes]], reason: str, says: str, make_box: Make, meters: str, cloud: ForeignCloud
) -> None:
    with served(script) as where:
        box = make_box(meters=meter_tables(meters) + meter_tables(where, 9, name="bad"))
        box.start()
        line = box.wait_for_line("WARNING", "meter bad9:")
        assert "meter bad9 (unit 9 on bad)" in line
        assert says in line
        assert "; check " in line

        def stated() -> set[str]:
            events = [event for batch in cloud.in_order() for event in batch.events if event.meter == "bad9"]
            assert {event.data["reason"] for event in events if event.kind == "gap"} <= {reason}
            return {event.kind for event in events}

        until(lambda: {"gap", "meter_silent"} <= stated(), "stating the gap")

        def shown() -> bool:
            status = box.status()
            return status is not None and says in (status["meters"]["bad9"]["error"] or "")

        until(shown, "the error in the status")
        goes_on(box)


def test_a_serial_port_that_is_not_there(make_box: Make, meters: str) -> None:
    port = "/dev/serial/by-id/usb-nothing-if00"
    box = make_box(meters=meter_tables(meters) + meter_tables(port, 9, name="rs485"))
    box.start()
    line = box.wait_for_line("WARNING", "line rs485:")
    assert line.startswith(f"WARNING line rs485: open line rs485 ({port}): no such device; plug the adapter in")
    goes_on(box)


def test_a_gateway_that_is_not_there(make_box: Make, meters: str) -> None:
    box = make_box(meters=meter_tables(meters) + meter_tables("tcp://127.0.0.1:1", 9, name="gateway"))
    box.start()
    line = box.wait_for_line("WARNING", "line gateway:")
    assert "connection refused; check the port number" in line
    goes_on(box)


# Files


def run_to_its_end(box: AgentProcess) -> tuple[int, list[str]]:
    box.start()
    code = box.wait(20)
    return code, box.log().splitlines()


def test_a_configuration_with_mistakes_names_each_and_ends_with_78(make_box: Make, meters: str) -> None:
    box = make_box(meters=meter_tables(meters).replace("eastron-sdm630", "nothing-x1"))
    code, lines = run_to_its_end(box)
    assert code == 78
    (line,) = lines
    assert f'{box.config}:12: meter[0].model: "nothing-x1"' in line
    assert "wattpost check-profile" in line, "what names there are"


def test_a_buffer_that_cannot_be_opened_is_named_and_ends_with_74(make_box: Make, tmp_path: Path) -> None:
    box = make_box()
    box.config.write_text(box.config.read_text().replace(f"{tmp_path}/buffer.db", f"{tmp_path}/nowhere/buffer.db"))
    code, lines = run_to_its_end(box)
    assert code == 74
    (line,) = lines
    assert f"cannot open the buffer {tmp_path}/nowhere/buffer.db: there is no folder {tmp_path}/nowhere" in line


def test_a_second_agent_on_the_same_buffer_ends_with_74_and_the_first_goes_on(make_box: Make) -> None:
    first, second = make_box(), make_box()
    first.start()
    until(lambda: first.readings() >= 3, "three readings")
    second.start()
    assert second.wait(20) == 74
    assert len(first.lines("it is in use; another agent has it open: stop that one first")) == 1
    first.works()
    assert first.end() == 0


def test_a_damaged_buffer_is_put_aside_and_reading_goes_on(make_box: Make, tmp_path: Path) -> None:
    (tmp_path / "buffer.db").write_bytes(b"this is no database " * 100)
    box = make_box()
    box.start()
    line = box.wait_for_line("ERROR", "buffer: damaged;")
    assert f"kept as {tmp_path}/buffer.db.damaged-1; 0 batches of it found whole and put into the new one" in line
    goes_on(box)


def test_a_disk_that_fails_is_said_once_and_what_was_read_is_written_when_it_works_again(
    make_box: Make, meters: str
) -> None:
    """Every write of a file beyond some kilobytes fails, as on a broken card; then it is mended."""
    box = make_box()
    box.start()
    until(lambda: box.readings() >= 3, "three readings")
    assert box.process is not None
    limit = ["prlimit", f"--pid={box.process.pid}"]
    subprocess.run([*limit, "--fsize=16384:"], check=True)
    line = box.wait_for_line("ERROR", "buffer:", "disk I/O error")
    assert line.endswith("the disk fails: look at `dmesg`, and replace the card")
    before = box.readings()
    subprocess.run([*limit, "--fsize=unlimited:"], check=True)
    until(lambda: (box.status() or {"troubles": {"buffer": ""}})["troubles"].get("buffer") is None, "writing again")
    assert box.readings() >= before
    goes_on(box)

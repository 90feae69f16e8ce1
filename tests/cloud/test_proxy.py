from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

TIMEOUT_S = 10


class Control:
    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cloud.local.proxy", "--to", f"127.0.0.1:{port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.port = int(self._line().removeprefix("ready "))

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def say(self, command: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        return self._line()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)

    def close(self) -> int:
        self._process.communicate(timeout=TIMEOUT_S)
        return self._process.returncode


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(TIMEOUT_S)
        yield server


@pytest.fixture
def proxy(server: socket.socket) -> Iterator[Control]:
    control = Control(server.getsockname()[1])
    yield control
    assert control.close() == 0


def pair(proxy: Control, server: socket.socket) -> tuple[socket.socket, socket.socket]:
    client = proxy.connect()
    peer, _ = server.accept()
    peer.settimeout(TIMEOUT_S)
    return client, peer


def test_it_forwards_both_ways_and_counts(proxy: Control, server: socket.socket) -> None:
    client, peer = pair(proxy, server)
    with client, peer:
        client.sendall(b"hello")
        assert peer.recv(10) == b"hello"
        peer.sendall(b"hi")
        assert client.recv(10) == b"hi"
        assert json.loads(proxy.say("stats")) == {"up_bytes": 5, "down_bytes": 2, "connections": 1}


def test_silence_swallows_and_pass_resets_what_lost_bytes(proxy: Control, server: socket.socket) -> None:
    client, peer = pair(proxy, server)
    with client, peer:
        assert proxy.say("silent") == "ok silent"
        client.sendall(b"lost")
        peer.settimeout(0.3)
        with pytest.raises(TimeoutError):
            peer.recv(10)
        peer.settimeout(TIMEOUT_S)
        assert proxy.say("pass") == "ok pass"
        with pytest.raises(ConnectionResetError):
            client.recv(10)
        again, other_end = pair(proxy, server)
        with again, other_end:
            again.sendall(b"back")
            assert other_end.recv(10) == b"back"


def test_a_connection_that_lost_nothing_survives_silence(proxy: Control, server: socket.socket) -> None:
    client, peer = pair(proxy, server)
    with client, peer:
        client.sendall(b"1")
        assert peer.recv(10) == b"1"
        proxy.say("silent")
        proxy.say("pass")
        client.sendall(b"2")
        assert peer.recv(10) == b"2"


def test_reset_cuts_now_and_later(proxy: Control, server: socket.socket) -> None:
    client, peer = pair(proxy, server)
    with client, peer:
        client.sendall(b"1")
        assert peer.recv(10) == b"1"
        assert proxy.say("reset") == "ok reset"
        for end in (client, peer):
            with pytest.raises(ConnectionResetError):
                end.recv(10)
        with pytest.raises(ConnectionResetError), proxy.connect() as refused:
            refused.recv(10)


def test_a_server_that_is_not_there_closes_the_connection(server: socket.socket, proxy: Control) -> None:
    server.close()
    with proxy.connect() as client:
        assert client.recv(10) == b""


def test_unknown_commands_are_answered(proxy: Control) -> None:
    assert proxy.say("dance") == "error: 'dance' is not one of pass, silent, reset, stats, quit"

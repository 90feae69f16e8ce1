"""A machine on which `localhost` leads nowhere is named once, before the first test."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from machine import localhost_fault


def resolving_to(*addresses: str) -> Callable[..., list[tuple[object, ...]]]:
    def resolve(*_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    return resolve


def test_localhost_on_this_machine_is_fine() -> None:
    assert localhost_fault() is None


def test_a_missing_hosts_file_is_named_with_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    fault = localhost_fault()
    assert fault is not None
    assert "cannot resolve the name localhost (Name or service not known)" in fault
    assert "add the line `127.0.0.1 localhost` to /etc/hosts" in fault


def test_a_localhost_elsewhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolving_to("192.0.2.1"))
    fault = localhost_fault()
    assert fault is not None
    assert "the name localhost is 192.0.2.1 here" in fault


def test_several_addresses_are_fine_with_ours_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolving_to("127.0.1.1", "127.0.0.1"))
    assert localhost_fault() is None
